"""Joints that images cannot tell of: a disc at the end of a chain may turn about its axis.

A flange or a wheel looks the same however it turns, so that no image says whether it is fixed to
the link that holds it.  Such things are made to turn; they get a joint that has not moved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
import math

import roma
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_halves import joined
from posefield.articulation.skeleton_stage import SkeletonLossConfig, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks

# A disc is so much thinner than wide at least, and its width is the same all round to this share.
THINNER = 0.9
ALIKE = 0.8
# Turns about an axis that are tried, a share of a full one.
TURNS = (1 / 8, 1 / 4, 3 / 8, 1 / 2)
# Cosine from which on the axis of a disc is that of the joint it is on, and it turns already.
SAME_AXIS = math.cos(math.radians(25.0))


@dataclass(frozen=True)
class _Disc:
    """A part as round as a disc at the end of a chain.

    Attributes:
        part, joint: which, and what it is on.
        thin: the axis of its ellipsoid about which it is round.
        reach: how far it is from the joint's line; scene units.
    """

    part: int
    joint: int
    thin: int
    reach: float


def with_round_ends(
    halves: SkeletonTracks, pixels: FittingPixels, loss: SkeletonLossConfig, unseen: float
) -> SkeletonTracks:
    """Return tracks of P parts with a joint for every disc that may turn unseen at a chain's end.

    Args:
        halves: 2P parts, see `halved`.
        pixels: what they were fitted to.
        loss: what they were fitted to.
        unseen: share by which the loss is higher at most when what turns is not seen to do so.
            Other turns of the disc must be seen.
    """
    wholes, turning = joined(halves), {}
    for disc in _discs(wholes):
        farther = disc.joint not in turning or disc.reach > turning[disc.joint].reach
        if farther and _turns_unseen(disc, halves, wholes, pixels, loss, unseen):
            turning[disc.joint] = disc
    for disc in turning.values():
        wholes = wholes.split(disc.part, disc.thin)
    return wholes


def _discs(tracks: SkeletonTracks) -> Iterator[_Disc]:
    """Yield the discs that are on the last joint of a chain beside other parts."""
    hierarchy, radii_P3 = tracks.hierarchy, tracks.radii_P3.detach()
    for part, joint in enumerate(hierarchy.joint_of_part):
        is_last = joint >= 0 and joint not in hierarchy.parents
        if not is_last or hierarchy.joint_of_part.count(joint) < 2:
            continue
        thickness, across, width = radii_P3[part].sort().values.tolist()
        if thickness > THINNER * across or across < ALIKE * width:
            continue
        thin = int(radii_P3[part].argmin())
        line = tracks.unit_axes_J3[joint].detach()
        along = float(line @ tracks.rest_rotations_P33[part, :, thin].detach())
        if not hierarchy.prismatic[joint] and abs(along) > SAME_AXIS:
            continue
        offset = tracks.rest_centres_P3[part].detach() - tracks.points_J3[joint].detach()
        reach = float(torch.linalg.cross(line, offset).norm())
        yield _Disc(part, joint, thin, reach)


def _turns_unseen(
    disc: _Disc,
    halves: SkeletonTracks,
    wholes: SkeletonTracks,
    pixels: FittingPixels,
    loss: SkeletonLossConfig,
    unseen: float,
) -> bool:
    """Return whether images stay as they are only when a disc turns about its axis."""
    most = (1.0 + unseen) * probe(halves, pixels, loss)

    def is_seen(axis: int) -> bool:
        turned = (_turned(halves, wholes, disc.part, axis, 2.0 * math.pi * t) for t in TURNS)
        return any(probe(tracks, pixels, loss) > most for tracks in turned)

    return not is_seen(disc.thin) and all(is_seen(k) for k in range(3) if k != disc.thin)


@torch.no_grad()
def _turned(
    halves: SkeletonTracks, wholes: SkeletonTracks, part: int, axis: int, angle: float
) -> SkeletonTracks:
    """Return tracks with both halves of a part turned about an axis of the whole, radians."""
    values = halves.values()
    pair = [part, part + len(wholes.log_radii_P3)]
    centre = wholes.rest_centres_P3[part]
    R = roma.rotvec_to_rotmat(angle * wholes.rest_rotations_P33[part, :, axis])
    values['rest_centres_P3'][pair] = (halves.rest_centres_P3[pair] - centre) @ R.T + centre
    values['rest_quaternions_P4'][pair] = roma.rotmat_to_unitquat(
        R @ halves.rest_rotations_P33[pair]
    )
    return SkeletonTracks(halves.hierarchy, values)
