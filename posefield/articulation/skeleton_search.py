"""Which joints there are, and what hangs on what, as the images say.

The motion of free parts suggests too many joints: slender parts turn about themselves unseen.  A
joint goes when the images are explained about as well with it frozen, the rest having adapted a
little; and it goes to another parent, or turns about another line, when they are explained better
so.
"""

from collections.abc import Callable, Iterator
import copy
from dataclasses import dataclass
from functools import partial

import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_fitting_stage import make_adam
from posefield.articulation.skeleton_stage import (
    SkeletonLossConfig,
    loss_of,
    parameter_groups,
    probe,
)
from posefield.articulation.skeleton_tracks import ROOT, SkeletonTracks


@dataclass(frozen=True)
class SkeletonSearchConfig:
    """How joints are chosen.

    Attributes:
        tolerance: a joint goes when the loss without it is higher by at most this share.
        gain: a joint goes to another parent or line when the loss is then lower by this share.
        rounds: of removing and moving.
        frozen_steps, frozen_rate: that the rest has to adapt to a frozen joint, and its learning
            rates against those of a stage.
        moved_steps: that all have to adapt to a joint on another parent or line, at full rates.
        least_likely: joints that are tried before all others are kept, from those on that move
            least.
        hopeless: another parent or line is given up when after a quarter of its steps the loss is
            higher by this share.
    """

    tolerance: float = 0.015
    gain: float = 0.004
    rounds: int = 4
    frozen_steps: int = 40
    frozen_rate: float = 0.3
    moved_steps: int = 120
    least_likely: int = 8
    hopeless: float = 0.5


class SkeletonSearch:
    """Removes and moves joints.

    Args:
        pixels: all images.
        loss: what joints are fitted to.
        config: how they are chosen.
        goes_on: asked before every trial; the search ends when it says no, and it may raise.
    """

    def __init__(
        self,
        pixels: FittingPixels,
        loss: SkeletonLossConfig,
        config: SkeletonSearchConfig,
        goes_on: Callable[[], bool],
    ):
        self._pixels, self._loss, self._config = pixels, loss, config
        self._goes_on = goes_on

    def run(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks with the joints that the images ask for."""
        for _ in range(self._config.rounds):
            tracks = self._pruned(tracks)
            moved = self._moved(tracks)
            if moved is None:
                return tracks
            tracks = moved
        return self._pruned(tracks)

    def _pruned(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks without joints that are hardly missed, one after the other."""
        while tracks.joints > 1 and self._goes_on():
            tracks = self._adapted_to_frozen(copy.deepcopy(tracks))
            frozen = self._without_one(tracks)
            if frozen is None:
                break
            tracks = frozen
        return tracks

    def _without_one(self, tracks: SkeletonTracks) -> SkeletonTracks | None:
        most = (1.0 + self._config.tolerance) * self._probe(tracks)
        order = sorted(range(tracks.joints), key=lambda joint: motion_of_joint(tracks, joint))
        for joint in order[: self._config.least_likely]:
            if not self._goes_on():
                break
            frozen = self._adapted_to_frozen(tracks.without(joint))
            if self._probe(frozen) <= most:
                return frozen
        return None

    def _moved(self, tracks: SkeletonTracks) -> SkeletonTracks | None:
        """Return the tracks with the one joint elsewhere that helps most; None if none does."""
        if not self._goes_on():
            return None
        steps = self._config.moved_steps
        base = self._probe(self._adapted(copy.deepcopy(tracks), steps, 1.0))
        best, least = None, (1.0 - self._config.gain) * base
        for move in other_places(tracks):
            if not self._goes_on():
                break
            moved = self._adapted(move(), steps // 4, 1.0)
            if self._probe(moved) > (1.0 + self._config.hopeless) * base:
                continue
            loss = self._probe(self._adapted(moved, steps - steps // 4, 1.0))
            if loss < least:
                best, least = moved, loss
        return best

    def _probe(self, tracks: SkeletonTracks) -> float:
        return probe(tracks, self._pixels, self._loss)

    def _adapted_to_frozen(self, tracks: SkeletonTracks) -> SkeletonTracks:
        return self._adapted(tracks, self._config.frozen_steps, self._config.frozen_rate)

    def _adapted(self, tracks: SkeletonTracks, steps: int, rate: float) -> SkeletonTracks:
        """Return the tracks after some steps whose rate falls to a tenth."""
        groups = parameter_groups(tracks, self._loss, rate)
        optimizer = make_adam(groups)
        first = [group['lr'] for group in optimizer.param_groups]
        generator = torch.Generator(self._pixels.device).manual_seed(1)
        for step in range(steps):
            for group, lr in zip(optimizer.param_groups, first, strict=True):
                group['lr'] = lr * (1.0 - 0.9 * step / steps)
            loss, *_ = loss_of(tracks, self._pixels, self._loss, self._loss.sharp_px, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return tracks


def other_places(tracks: SkeletonTracks) -> Iterator[Callable[[], SkeletonTracks]]:
    """Yield what makes the tracks with one joint on another parent or about another line."""
    for joint, parent in other_parents(tracks):
        yield partial(tracks.rehung, joint, parent)
    for joint, part in last_parts(tracks):
        for axis in range(3):
            yield partial(tracks.turning_about, joint, part, axis)


def last_parts(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return the turning joints that carry no other one, with the largest part of each.

    Little is seen of how such a joint turns, so that it may be stuck with a wrong line.
    """
    hierarchy = tracks.hierarchy
    volumes = tracks.log_radii_P3.detach().sum(dim=1).tolist()
    found = []
    for joint, prismatic in enumerate(hierarchy.prismatic):
        carried = [part for part, other in enumerate(hierarchy.joint_of_part) if other == joint]
        if carried and not prismatic and joint not in hierarchy.parents:
            found.append((joint, max(carried, key=volumes.__getitem__)))
    return found


def other_parents(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return turning joints with the joints near them on which they could hang as well.

    These are the one above their parent, those on the same parent, on its parent and on those
    beside them.
    """
    hierarchy = tracks.hierarchy
    found = []
    for joint, parent in enumerate(hierarchy.parents):
        if hierarchy.prismatic[joint]:
            continue
        above = hierarchy.parents[parent] if parent != ROOT else None
        beside = [other for other, over in enumerate(hierarchy.parents) if over == parent]
        carried = hierarchy.carried_by(joint)
        for other, over in enumerate(hierarchy.parents):
            near = over == parent or over in beside or (above is not None and over == above)
            if near and other != parent and not carried[other]:
                found.append((joint, other))
        if above is not None:
            found.append((joint, above))
    return found


@torch.no_grad()
def motion_of_joint(tracks: SkeletonTracks, joint: int) -> float:
    """Return how far the surfaces of parts are from where they would be were the joint frozen."""
    frames = torch.arange(len(tracks.positions_FJ), device=tracks.positions_FJ.device)
    R, t = tracks.poses(frames)
    R_frozen, t_frozen = tracks.without(joint).poses(frames)
    turned = ((R - R_frozen) * tracks.radii_P3[:, None, :]).square().sum(dim=(-1, -2))
    moved = (t - t_frozen).square().sum(dim=-1)
    return float((turned + moved).mean().sqrt())
