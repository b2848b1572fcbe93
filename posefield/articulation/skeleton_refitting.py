"""What joints take over from one that is frozen, as far as where the parts were tells.

Images draw all joints by what they make wrong now, and lead astray where that is much: of two
joints that share a turn neither can be frozen without it.
"""

import numpy as np

from posefield.articulation.rigid_bodies import rotation_lengths
from posefield.articulation.skeleton_changes import distance
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.tree_fitting import fit_tree, freezing_costs

# Of a fit that images go on with.
ITERATIONS = 8
# A fit that brings parts no nearer than this share of their distance is left to the images.
NEARER = 0.5
# A joint of which others cannot take over so much, see `freezing`, needs no fit.
MOST_LEFT = 0.1
# Parts on joints move without any; one coordinate, scene units.
NOISE = 1e-3


def refitted(tracks: SkeletonTracks, before: SkeletonTracks) -> SkeletonTracks:
    """Return the tracks with parts as near as joints let them to where they were in others.

    They are as they were where that brings them little.
    """
    was = before.tree().part_poses()
    found = tracks.placed_as(fit_tree(tracks.tree(), was, _lengths(before), ITERATIONS).tree)
    nearer = distance(before, found) < NEARER * distance(before, tracks)
    return found if nearer else tracks


def freezing(tracks: SkeletonTracks) -> tuple[list[int], np.ndarray]:
    """Return which joints may be frozen first, and what others cannot take over from each (J,).

    The joints come by turns from those without which parts hardly move, and from those without
    which they hardly do once all others have adapted.  The latter is known to first order, as a
    share of the squared distances when nothing adapts.
    """
    at_once_J = [distance(tracks, tracks.without(joint)) for joint in range(tracks.joints)]
    tree = tracks.tree()
    costs = freezing_costs(tree, tree.part_poses(), _lengths(tracks), NOISE)
    adapted_J, alone_J = (costs_L[1:] for costs_L in costs)
    orders = [np.argsort(column, kind='stable').tolist() for column in (at_once_J, adapted_J)]
    by_turns = [joint for pair in zip(*orders, strict=True) for joint in pair]
    return list(dict.fromkeys(by_turns)), adapted_J / np.maximum(alone_J, 1e-12)


def _lengths(tracks: SkeletonTracks) -> np.ndarray:
    """Return what a radian of each part counts (P, 3)."""
    return rotation_lengths(tracks.radii_P3.detach().double().cpu().numpy())
