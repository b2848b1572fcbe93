"""Which joints there are, and what hangs on what, as the images say.

The motion of free parts suggests too many joints: slender parts turn about themselves unseen.  A
joint goes when the images are explained about as well with it frozen, or with what it carries on
a joint beside it, the rest having adapted a little; and it goes to another parent, or turns about
another line, when they are explained better so.
"""

from collections.abc import Callable, Iterator
import contextlib
import copy
from dataclasses import dataclass
import itertools

import torch

from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Outcome, Trial, Trials


@dataclass(frozen=True)
class SkeletonSearchConfig:
    """How joints are chosen.

    Attributes:
        tolerance: a joint goes when the loss without it is higher by at most this share.
        gain: a joint goes to another parent or line when the loss is then lower by this share.
        rounds: of removing and changing.
        frozen_steps, frozen_rate: that the rest has to adapt to a frozen joint, and its learning
            rates against those of a stage.
        places: other parents that are tried, from those on that fit the motion as it was.
        changed_steps: that all have to adapt to such a change, at full rates.
        last_steps: after them, for the best changes.
        last_places, last_lines: how many those are, with joints elsewhere and about other lines.
        least_likely: joints that are tried before all others are kept, from those on that move
            least.
        hopeless: a change is given up when after a quarter of its steps the loss is higher by
            this share than without it.
        processes: that try changes at once; None for one per core (`Trials`).
    """

    tolerance: float = 0.006
    gain: float = 0.004
    rounds: int = 8
    frozen_steps: int = 40
    frozen_rate: float = 0.3
    places: int = 16
    changed_steps: int = 120
    last_steps: int = 240
    last_places: int = 6
    last_lines: int = 3
    least_likely: int = 8
    hopeless: float = 0.5
    processes: int | None = None


class SkeletonSearch:
    """Removes and changes joints.

    Args:
        trials: what runs them.
        config: how joints are chosen.
        goes_on: asked before every trial; the search ends when it says no, and it may raise.
    """

    def __init__(
        self,
        trials: Trials,
        config: SkeletonSearchConfig,
        goes_on: Callable[[], bool],
    ):
        self._trials, self._config, self._goes_on = trials, config, goes_on

    def run(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks with the joints that the images ask for."""
        for _ in range(self._config.rounds):
            tracks = self._pruned(tracks)
            changed = self._changed(tracks)
            if changed is None:
                return tracks
            tracks = changed
        return self._pruned(tracks)

    def _pruned(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks without joints that are hardly missed, one after the other."""
        while tracks.joints > 1 and self._goes_on():
            same = self._trials.one(self._freezing(copy.deepcopy(tracks)))
            frozen = self._without_one(same)
            if frozen is None:
                return same.tracks
            tracks = frozen
        return tracks

    def _without_one(self, same: Outcome) -> SkeletonTracks | None:
        tracks, most = same.tracks, (1.0 + self._config.tolerance) * same.loss
        frozen = nearest(tracks, [tracks.without(joint) for joint in range(tracks.joints)])
        trials = (self._freezing(one) for one in frozen[: self._config.least_likely])
        with contextlib.closing(self._tried(trials)) as outcomes:
            for outcome in outcomes:
                if outcome.loss <= most:
                    return outcome.tracks
        return None

    def _changed(self, tracks: SkeletonTracks) -> SkeletonTracks | None:
        """Return the tracks with one change that helps; None if none does.

        Lines are tried when no other place helps.
        """
        if not self._goes_on():
            return None
        config = self._config
        first = config.changed_steps // 4
        begun = self._trials.one(Trial(copy.deepcopy(tracks), first))
        hopeless = (1.0 + config.hopeless) * begun.loss
        same = self._trials.one(Trial(begun.tracks, config.changed_steps - first))
        places = nearest(tracks, other_places(tracks))[: config.places]
        for changes, last in (
            (places, config.last_places),
            (other_lines(tracks), config.last_lines),
        ):
            trials = (
                Trial(changed, config.changed_steps, first_steps=first, hopeless=hopeless)
                for changed in changes
            )
            changed = self._better(tracks, same, trials, last)
            if changed is not None:
                return changed
        return None

    def _better(
        self, tracks: SkeletonTracks, same: Outcome, trials: Iterator[Trial], last: int
    ) -> SkeletonTracks | None:
        """Return the first change that helps at once, else the best of those that need longer.

        What is hung on another parent has much to adapt.
        """
        tried = []
        with contextlib.closing(self._tried(trials)) as outcomes:
            for outcome in outcomes:
                if self._helps(outcome, tracks, same):
                    return outcome.tracks
                tried.append(outcome)
        tried.sort(key=lambda outcome: self._cost(outcome, tracks))
        longer = [copy.deepcopy(same.tracks), *(outcome.tracks for outcome in tried[:last])]
        outcomes = list(self._tried(Trial(one, self._config.last_steps) for one in longer))
        if len(outcomes) < 2:
            return None
        best = min(outcomes[1:], key=lambda outcome: self._cost(outcome, tracks))
        return best.tracks if self._helps(best, tracks, outcomes[0]) else None

    def _tried(self, trials: Iterator[Trial]) -> Iterator[Outcome]:
        """Yield what comes of trials that were not given up, as long as there is time."""
        with_time = itertools.takewhile(lambda _: self._goes_on(), trials)
        with contextlib.closing(self._trials.all(with_time)) as outcomes:
            yield from (outcome for outcome in outcomes if outcome is not None)

    def _freezing(self, tracks: SkeletonTracks) -> Trial:
        return Trial(tracks, self._config.frozen_steps, self._config.frozen_rate)

    def _helps(self, outcome: Outcome, before: SkeletonTracks, same: Outcome) -> bool:
        return self._cost(outcome, before) < (1.0 - self._config.gain) * same.loss

    def _cost(self, outcome: Outcome, before: SkeletonTracks) -> float:
        """Return the loss, less the tolerance where there are fewer joints than before."""
        fewer = outcome.tracks.joints < before.joints
        return outcome.loss / (1.0 + self._config.tolerance) if fewer else outcome.loss


def other_places(tracks: SkeletonTracks) -> list[SkeletonTracks]:
    """Return the tracks with one joint on another parent, or in one with a joint beside it."""
    absorbed = [tracks.absorbed(*pair) for pair in joints_beside(tracks)]
    return absorbed + [tracks.rehung(*pair) for pair in other_parents(tracks)]


def other_lines(tracks: SkeletonTracks) -> list[SkeletonTracks]:
    """Return the tracks with one joint about another line, the last joints first."""
    return [
        tracks.turning_about(joint, part, axis)
        for joint, part in turned_parts(tracks)
        for axis in range(3)
    ]


def joints_beside(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return joints with those on the same parent, which could carry what they do."""
    parents = tracks.hierarchy.parents
    return [
        (joint, other)
        for joint, over in enumerate(parents)
        for other, above in enumerate(parents)
        if over == above and other != joint
    ]


def turned_parts(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return the turning joints with the largest part of each, those that carry least first.

    The less is seen of how a joint turns, the sooner it is stuck with a wrong line.
    """
    hierarchy = tracks.hierarchy
    volumes = tracks.log_radii_P3.detach().sum(dim=1).tolist()
    found = []
    for joint, prismatic in enumerate(hierarchy.prismatic):
        parts = [part for part, other in enumerate(hierarchy.joint_of_part) if other == joint]
        if parts and not prismatic:
            found.append((joint, max(parts, key=volumes.__getitem__)))
    return sorted(found, key=lambda pair: sum(hierarchy.carried_by(pair[0])))


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
        if parent not in hierarchy.joint_of_part and beside == [joint]:
            # Nothing would be left on the parent.
            continue
        for other, over in enumerate(hierarchy.parents):
            near = over == parent or over in beside or (above is not None and over == above)
            if near and other != parent and not carried[other]:
                found.append((joint, other))
        if above is not None:
            found.append((joint, above))
    return found


def nearest(tracks: SkeletonTracks, changed: list[SkeletonTracks]) -> list[SkeletonTracks]:
    """Return changed tracks, those that hardly move the parts elsewhere first."""
    return sorted(changed, key=lambda one: distance(tracks, one))


@torch.no_grad()
def distance(tracks: SkeletonTracks, others: SkeletonTracks) -> float:
    """Return how far the surfaces of parts are from where they are in others; scene units."""
    frames = torch.arange(len(tracks.positions_FJ), device=tracks.positions_FJ.device)
    R, t = tracks.poses(frames)
    R_other, t_other = others.poses(frames)
    turned = ((R - R_other) * tracks.radii_P3[:, None, :]).square().sum(dim=(-1, -2))
    moved = (t - t_other).square().sum(dim=-1)
    return float((turned + moved).mean().sqrt())
