"""Joints that images cannot tell of: a disc at the end of a chain may turn about its axis.

A flange or a wheel looks the same however it turns, so that no image says whether it is fixed to
the link that holds it.  Such things are made to turn; they get a joint that has not moved.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
import math

import roma
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hierarchy import ROOT
from posefield.articulation.part_halves import joined
from posefield.articulation.skeleton_stage import SkeletonLossConfig, probe
from posefield.articulation.skeleton_tracks import PART_VALUES, SkeletonTracks

# A disc is so much thinner than wide at least, and its width is the same all round to this share.
THINNER = 0.9
ALIKE = 0.8
# Turns about an axis that are tried, as shares of a full one.
TURNS = (1 / 8, 1 / 4, 3 / 8, 1 / 2)
# Cosine from which on the axis of a disc is that of the joint it is on, and it turns already.
SAME_AXIS = math.cos(math.radians(25.0))
# Halves of a part whose colours differ by this much are two things; of RGB in [0, 1].
OTHER_COLOUR = 0.3


@dataclass(frozen=True)
class _Disc:
    """What is as round as a disc at the end of a chain.

    Attributes:
        halves: both of a part, or the only one that is a disc.
        joint: what it is on.
        thin: the axis of its ellipsoid about which it is round.
        rotation_33, centre_3: of the ellipsoid at rest.
        reach: how far it is from the joint's line; scene units.
    """

    halves: tuple[int, ...]
    joint: int
    thin: int
    rotation_33: torch.Tensor
    centre_3: torch.Tensor
    reach: float


@torch.no_grad()
def with_round_ends(
    halves: SkeletonTracks, pixels: FittingPixels, loss: SkeletonLossConfig, unseen: float
) -> SkeletonTracks:
    """Return tracks of P parts with a joint for every disc that may turn unseen at a chain's end.

    A half that is a disc of another colour than the other half comes as a part of its own.

    Args:
        halves: 2P parts, see `halved`.
        pixels: what they were fitted to.
        loss: what they were fitted to.
        unseen: share by which the loss is higher at most when what turns is not seen to do so.
            Other turns of the disc must be seen.
    """
    wholes, turning = joined(halves), {}
    for disc in _discs(halves, wholes):
        farther = disc.joint not in turning or disc.reach > turning[disc.joint].reach
        if farther and _turns_unseen(disc, halves, pixels, loss, unseen):
            turning[disc.joint] = disc
    for disc in turning.values():
        part = disc.halves[0]
        if len(disc.halves) == 1:
            wholes, part = _with_half_apart(wholes, halves, part), len(wholes.log_radii_P3)
        wholes = wholes.split(part, disc.thin)
    return wholes


def _discs(halves: SkeletonTracks, wholes: SkeletonTracks) -> Iterator[_Disc]:
    """Yield the discs that are on the last joint of a chain beside other parts."""
    hierarchy = wholes.hierarchy
    for part, joint in enumerate(hierarchy.joint_of_part):
        if joint == ROOT or joint in hierarchy.parents:
            continue
        pair = (part, part + len(wholes.log_radii_P3))
        bodies = []
        if hierarchy.joint_of_part.count(joint) > 1:
            bodies.append((wholes, part, pair))
        if float((halves.means_P3[pair[0]] - halves.means_P3[pair[1]]).norm()) > OTHER_COLOUR:
            bodies += [(halves, half, (half,)) for half in pair]
        for tracks, body, moving in bodies:
            disc = _as_disc(tracks, body, joint, moving)
            if disc is not None:
                yield disc


def _as_disc(
    tracks: SkeletonTracks, part: int, joint: int, halves: tuple[int, ...]
) -> _Disc | None:
    """Return a part as a disc; None where it is none, or is one that its joint turns already."""
    radii_3 = tracks.radii_P3[part]
    thickness, across, width = radii_3.sort().values.tolist()
    if thickness > THINNER * across or across < ALIKE * width:
        return None
    thin, R_33 = int(radii_3.argmin()), tracks.rest_rotations_P33[part]
    line, centre = tracks.unit_axes_J3[joint], tracks.rest_centres_P3[part]
    if not tracks.hierarchy.prismatic[joint] and abs(float(line @ R_33[:, thin])) > SAME_AXIS:
        return None
    reach = float(torch.linalg.cross(line, centre - tracks.points_J3[joint]).norm())
    return _Disc(halves, joint, thin, R_33, centre, reach)


def _turns_unseen(
    disc: _Disc,
    tracks: SkeletonTracks,
    pixels: FittingPixels,
    loss: SkeletonLossConfig,
    unseen: float,
) -> bool:
    """Return whether images stay as they are only when a disc turns about its axis."""
    most = (1.0 + unseen) * probe(tracks, pixels, loss)

    def is_seen(axis: int) -> bool:
        turned = (_turned(tracks, disc, axis, 2.0 * math.pi * turn) for turn in TURNS)
        return any(probe(one, pixels, loss) > most for one in turned)

    return not is_seen(disc.thin) and all(is_seen(k) for k in range(3) if k != disc.thin)


def _turned(tracks: SkeletonTracks, disc: _Disc, axis: int, angle: float) -> SkeletonTracks:
    """Return tracks with a disc turned about an axis of its ellipsoid, radians."""
    values, moving = tracks.values(), list(disc.halves)
    R = roma.rotvec_to_rotmat(angle * disc.rotation_33[:, axis])
    offsets = tracks.rest_centres_P3[moving] - disc.centre_3
    values['rest_centres_P3'][moving] = offsets @ R.T + disc.centre_3
    values['rest_quaternions_P4'][moving] = roma.rotmat_to_unitquat(
        R @ tracks.rest_rotations_P33[moving]
    )
    return SkeletonTracks(tracks.hierarchy, values)


def _with_half_apart(wholes: SkeletonTracks, halves: SkeletonTracks, half: int) -> SkeletonTracks:
    """Return P + 1 parts: of one of P the other half is left, and this half comes last."""
    parts = len(halves.log_radii_P3) // 2
    other = (half + parts) % len(halves.log_radii_P3)
    values, theirs = wholes.values(), halves.values()
    for name in PART_VALUES:
        values[name][half % parts] = theirs[name][other]
        values[name] = torch.cat([values[name], theirs[name][half][None]])
    owners = wholes.hierarchy.joint_of_part
    hierarchy = replace(wholes.hierarchy, joint_of_part=(*owners, owners[half % parts]))
    return SkeletonTracks(hierarchy, values)
