"""Carrying ellipsoids from one frame through all others (part_fitting, stage 1).

It begins in one frame, where the ellipsoids settle in its visual hull.  Then frames are opened
one after the other, forwards and backwards, each starting from where the parts were heading, and
fitted together with some that are open already.  In the end all frames are fitted alike, with
sharper outlines, and what keeps neighbours together gives way to what the images and the joints
between them say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch

from posefield.articulation.ellipsoid_rendering import ellipses_of, monomials, render_ellipses
from posefield.articulation.ellipsoid_tracks import EllipsoidTracks
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hinge_pull import HingePull
from posefield.learning.stage import Stage

# How often the tree of hinges is chosen anew, in intervals.
TREE_EVERY = 12
# A pixel of the object that nothing covers costs no more than -log of this.
LEAST_COVER = 1e-4
# A pixel of the background costs no more than this.
MOST_COVER = 20.0


@dataclass(frozen=True)
class PartStageConfig:
    """How ellipsoids are carried through the frames.

    Attributes:
        settling, opened: fractions of the budget at which the first frame has settled and all
            frames are open.
        counts: pixels of an image of each kind (`FittingPixels.draw`).
        images: of a step, once all frames are open.
        soft_px, carried_px, sharp_px: width of the outlines at first, while frames open, and in
            the end, pixels.
        depth_blur: `render_ellipses`, scene units.
        colour_weight, smoothness_weight, looseness_weight, hinge_weight: of the losses, against
            1 for the silhouette.
        late_colour_weight, late_looseness_weight: what they become once all frames are open; the
            hinges count from then on only.
        rates: Adam's learning rates of quaternions, centres, log radii, colours, textures, light.
    """

    settling: float = 0.06
    opened: float = 0.7
    counts: tuple[int, int, int, int] = (48, 48, 72, 16)
    images: int = 20
    soft_px: float = 2.0
    carried_px: float = 0.7
    sharp_px: float = 0.5
    depth_blur: float = 0.03
    colour_weight: float = 2.0
    smoothness_weight: float = 20.0
    looseness_weight: float = 1e-3
    late_colour_weight: float = 5.0
    late_looseness_weight: float = 2e-4
    hinge_weight: float = 2.0
    rates: tuple[float, ...] = (0.01, 0.003, 0.01, 0.01, 0.003, 0.003)


@dataclass(frozen=True)
class _OpeningSchedule:
    """The whole rate while frames open, then half a cosine down to a twentieth."""

    opened: float

    def __call__(self, fraction: float) -> float:
        done = max(0.0, fraction - self.opened) / (1.0 - self.opened)
        return 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * done))


class PartFittingStage(Stage):
    """Trains `tracks` on random pixels of the frames that are open."""

    def __init__(
        self,
        name: str,
        tracks: EllipsoidTracks,
        pixels: FittingPixels,
        first_frame: int,
        config: PartStageConfig,
    ):
        self.name = name
        self.tracks = tracks
        self.config = config
        self.schedule = _OpeningSchedule(config.opened)
        self._pixels = pixels
        self._order = frame_order(first_frame, pixels.frames)
        self.intervals = 4 * pixels.frames
        self.skips = 20
        self.hinges = HingePull(tracks.parts).to(pixels.device)
        self._open = 1
        self._intervals = 0
        self._fraction = 0.0

    def modules(self) -> dict[str, torch.nn.Module]:
        """Return the tracks, and what is known of their joints."""
        return {'tracks': self.tracks, 'hinges': self.hinges}

    def parameter_groups(self) -> list[dict]:
        """Return poses, shapes and colours with their own rates."""
        tracks = self.tracks
        parameters = (
            tracks.quaternions_FP4,
            tracks.centres_FP3,
            tracks.log_radii_P3,
            tracks.means_P3,
            tracks.textures_P33,
            tracks.light_3,
        )
        rates = self.config.rates
        return [{'params': [p], 'lr': rate} for p, rate in zip(parameters, rates, strict=True)]

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return Adam with a short memory."""
        return make_adam(groups)

    def on_interval(self, fraction: float) -> bool:
        """Open the frames that are due; later, find the hinges anew."""
        self._fraction = fraction
        self._intervals += 1
        if self._all_alike():
            poses = self.tracks.poses_FP44()
            radii = self.tracks.radii_P3.detach().cpu().double().numpy()
            if self._intervals % TREE_EVERY == 0 or not self.hinges.ready:
                self.hinges.choose_tree(poses, radii)
            else:
                self.hinges.fit(poses, radii)
        config = self.config
        done = (fraction - config.settling) / (config.opened - config.settling)
        due = 1 + math.floor(min(1.0, max(0.0, done)) * (self._pixels.frames - 1) + 1e-9)
        while self._open < due:
            frame = self._order[self._open]
            first, last = self._range()
            known = last if frame > last else first
            before = 2 * known - frame
            self.tracks.extrapolate(frame, known, before if first <= before <= last else None)
            self._open += 1
        return False

    def extra_state(self) -> dict:
        """Return how many frames are open, and how far the run is."""
        return {'open': self._open, 'intervals': self._intervals, 'fraction': self._fraction}

    def load_extra_state(self, state: dict) -> None:
        """Take them back."""
        self._open, self._intervals = int(state['open']), int(state['intervals'])
        self._fraction = float(state['fraction'])

    def step(self, step: int, generator: torch.Generator) -> Mapping[str, torch.Tensor | float]:
        """Render random pixels of some images, and compare."""
        config = self.config
        images = self._choose_images(generator)
        silhouette, colour = compare(
            self.tracks, self._pixels, images, config.counts, self._softness(), config.depth_blur,
            generator,
        )  # fmt: skip
        late = self._all_alike()
        colour_weight = config.late_colour_weight if late else config.colour_weight
        loss = silhouette + colour_weight * colour + self.tracks.shape_losses()
        loss = loss + self._motion_loss(late)
        return {
            'loss': loss,
            'silhouette': silhouette.detach(),
            'colour': colour.detach(),
            'frames': float(self._open),
        }

    def _motion_loss(self, late: bool) -> torch.Tensor | float:
        config, tracks = self.config, self.tracks
        first, last = self._range()
        if last - first < 2:
            return 0.0
        smoothness, looseness = tracks.motion_losses(first, last)
        weight = config.late_looseness_weight if late else config.looseness_weight
        loss = config.smoothness_weight * smoothness + weight * looseness
        if late and self.hinges.ready:
            frames = torch.arange(self._pixels.frames, device=self._pixels.device)
            loss = loss + config.hinge_weight * self.hinges.loss(*tracks.poses(frames))
        return loss

    def _all_alike(self) -> bool:
        """Whether all frames are open and fitted alike."""
        return self._open == self._pixels.frames and self._fraction >= self.config.opened

    def _range(self) -> tuple[int, int]:
        opened = self._order[: self._open]
        return min(opened), max(opened)

    def _softness(self) -> float:
        """Return the width of the outlines on the image plane at z = 1."""
        config = self.config
        if self._all_alike():
            return config.sharp_px * self._pixels.pixel_size
        done = min(1.0, self._fraction / config.settling)
        pixels = config.soft_px + (config.carried_px - config.soft_px) * done
        return pixels * self._pixels.pixel_size

    def _choose_images(self, generator: torch.Generator) -> torch.Tensor:
        """Return numbers of images: all views of the newest frames, and of one older."""
        pixels, device = self._pixels, self._pixels.device
        if self._all_alike():
            count = (self.config.images,)
            return torch.randint(pixels.images, count, generator=generator, device=device)
        newest = self._order[self._open - 1]
        before = self._order[max(0, self._open - 2)]
        older = torch.randint(self._open, (1,), generator=generator, device=device)
        frames = torch.tensor([newest, newest, before, self._order[int(older)]], device=device)
        views = torch.arange(pixels.views, device=device)
        return (views[:, None] * pixels.frames + frames).reshape(-1)


def make_adam(groups: list[dict]) -> torch.optim.Optimizer:
    """Return Adam with a short memory, because every frame is seen now and then only."""
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12)


def frame_order(first: int, frames: int) -> list[int]:
    """Return all frames in the order in which they are opened: onwards, then backwards."""
    return [*range(first, frames), *range(first - 1, -1, -1)]


def compare(
    tracks: EllipsoidTracks,
    pixels: FittingPixels,
    images_B: torch.Tensor,
    counts: tuple[int, int, int, int],
    softness: float,
    depth_blur: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Render random pixels of images.

    Returns:
        the cross-entropy of the silhouette, and the squared error of the colours of the object.
    """
    silhouette, square, is_object = misfits(
        tracks, pixels, images_B, counts, softness, depth_blur, generator
    )
    return silhouette.mean(), square.sum() / is_object.sum().clamp(min=1)


def misfits(
    tracks: EllipsoidTracks,
    pixels: FittingPixels,
    images_B: torch.Tensor,
    counts: tuple[int, int, int, int],
    softness: float,
    depth_blur: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render random pixels of images.

    Returns:
        of every pixel (B, N) the cross-entropy of the silhouette; the squared error of the colour,
        0 where the object is not; and whether it is there.
    """
    places, colours, is_object = pixels.draw(images_B, counts, generator)
    R, centres = tracks.poses(images_B % pixels.frames)
    ellipses = ellipses_of(
        R, centres, tracks.radii_P3, tracks.appearance(), pixels.cameras_of(images_B)
    )
    opaqueness, found, _ = render_ellipses(ellipses, monomials(places), softness, depth_blur)
    cover = -torch.expm1(-opaqueness)
    silhouette = torch.where(
        is_object, -torch.log(cover + LEAST_COVER), opaqueness.clamp(max=MOST_COVER)
    )
    level = pixels.background
    drawn = cover[:, None] * (found - level) + level
    square = (drawn - colours.transpose(1, 2)).square().sum(dim=1)
    return silhouette, square * is_object, is_object
