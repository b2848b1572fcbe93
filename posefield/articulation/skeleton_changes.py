"""Changes of what hangs on what, and of the lines that joints turn about, worth a trial."""

from dataclasses import dataclass

import torch

from posefield.articulation.hierarchy import ROOT, Hierarchy
from posefield.articulation.skeleton_tracks import SkeletonTracks


@dataclass(frozen=True)
class Turn:
    """Tracks with a joint about another line, whose angles are still to be found."""

    tracks: SkeletonTracks
    joint: int


def other_places(tracks: SkeletonTracks) -> list[SkeletonTracks]:
    """Return the tracks with one joint on another parent, or with its parts elsewhere without it.

    They are then carried by a joint beside it, or by what its parent hangs on.
    """
    pairs = joints_beside(tracks) + joints_that_may_undo(tracks)
    absorbed = [tracks.absorbed(*pair) for pair in pairs]
    return absorbed + [tracks.rehung(*pair) for pair in other_parents(tracks)]


def one_for_two(tracks: SkeletonTracks) -> list[Turn]:
    """Return the tracks with one joint in place of two in a row, about an axis of a part.

    Neither of two needs to be right when what they carry turns about one line.
    """
    found = []
    for joint, parent in reversed(list(enumerate(tracks.hierarchy.parents))):
        if parent == ROOT:
            continue
        found += _about_axes(tracks.without(joint), parent)
        if parent in tracks.hierarchy.joint_of_part or tracks.hierarchy.parents.count(parent) > 1:
            # Else it makes no difference which of the two is left.
            found += _about_axes(tracks.without(parent), joint - 1)
    return found


def _about_axes(tracks: SkeletonTracks, joint: int) -> list[Turn]:
    parts = [part for part, over in enumerate(tracks.hierarchy.joint_of_part) if over == joint]
    if not parts or tracks.hierarchy.prismatic[joint]:
        return []
    volumes = tracks.log_radii_P3.detach().sum(dim=1).tolist()
    largest = max(parts, key=volumes.__getitem__)
    return [Turn(tracks.turning_about(joint, largest, axis), joint) for axis in range(3)]


def more_joints(tracks: SkeletonTracks) -> list[Turn]:
    """Return the tracks with a part of the last links on a joint of its own.

    The last links are those that carry no other: what turns at the end of a chain is seen least,
    and may have been taken for still.
    """
    hierarchy = tracks.hierarchy
    return [
        Turn(tracks.split(part, axis), tracks.joints)
        for part, joint in enumerate(hierarchy.joint_of_part)
        if joint not in (ROOT, *hierarchy.parents) and hierarchy.joint_of_part.count(joint) > 1
        for axis in range(3)
    ]


def other_lines(tracks: SkeletonTracks) -> list[Turn]:
    """Return the tracks with a last joint about an axis of its largest part, not its own.

    What turns at the end of a chain is seen least, so that it may be far from its line.
    """
    parents = tracks.hierarchy.parents
    last = (joint for joint in range(tracks.joints) if joint not in parents)
    return [turn for joint in last for turn in _about_axes(tracks, joint)]


def joints_beside(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return joints with those on the same parent, which could carry what they do."""
    parents = tracks.hierarchy.parents
    return [
        (joint, other)
        for joint, over in enumerate(parents)
        for other, above in enumerate(parents)
        if over == above and other != joint
    ]


def joints_that_may_undo(tracks: SkeletonTracks) -> list[tuple[int, int]]:
    """Return joints with what their parent hangs on, where the parts of one belong that undoes it.

    Free parts that do not turn with a link may be taken for parts on it that turn back.
    """
    hierarchy = tracks.hierarchy
    return [
        (joint, hierarchy.parents[parent])
        for joint, parent in enumerate(hierarchy.parents)
        if parent != ROOT and not _alone_on(hierarchy, parent)
    ]


def in_between(tracks: SkeletonTracks) -> list[SkeletonTracks]:
    """Return the tracks with parts on a link that had none, from a joint on either side of it.

    Two joints in a row with nothing between them are what a chain looks like whose link between
    them was hung on its next one, or beside it.
    """
    parents, prismatic = tracks.hierarchy.parents, tracks.hierarchy.prismatic
    found = []
    for empty, above in enumerate(parents):
        below = [joint for joint, over in enumerate(parents) if over == empty]
        if empty in tracks.hierarchy.joint_of_part or len(below) != 1 or prismatic[below[0]]:
            continue
        for side, over in enumerate(parents):
            if over == below[0] and _alone_on(tracks.hierarchy, over):
                continue
            if side != empty and over in (below[0], above) and not prismatic[side]:
                found.append(_put_between(tracks, empty, below[0], side))
    return found


def _put_between(tracks: SkeletonTracks, empty: int, below: int, side: int) -> SkeletonTracks:
    """Return the tracks with a joint in place of an empty one, and what hung on that on it."""
    above = tracks.hierarchy.parents[empty]
    names = list(range(tracks.joints))
    for joint, parent in ((side, above), (below, side)):
        to = ROOT if parent == ROOT else names.index(parent)
        _, order = tracks.hierarchy.rehung(names.index(joint), to)
        tracks = tracks.rehung(names.index(joint), to)
        names = [names[index] for index in order]
    return tracks.without(names.index(empty))


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
        if _alone_on(hierarchy, parent):
            continue
        for other, over in enumerate(hierarchy.parents):
            near = over == parent or over in beside or (above is not None and over == above)
            if near and other != parent and not carried[other]:
                found.append((joint, other))
        if above is not None:
            found.append((joint, above))
    return found


def _alone_on(hierarchy: Hierarchy, parent: int) -> bool:
    """Whether nothing is left on a joint without the one that hangs on it."""
    return parent not in hierarchy.joint_of_part and hierarchy.parents.count(parent) == 1


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
