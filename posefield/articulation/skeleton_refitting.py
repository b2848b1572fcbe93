"""What joints take over from one that is frozen, as far as where the parts were tells.

Images draw all joints by what they make wrong now, and lead astray where that is much: of two
joints that share a turn neither can be frozen without it.
"""

import numpy as np

from posefield.articulation.rigid_bodies import rotation_lengths
from posefield.articulation.skeleton_changes import distance, nearest_joints
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.tree_fitting import TreeFit, fit_tree, freezing_costs

# Of a fit that images go on with.
ITERATIONS = 8
# A fit that brings parts no nearer than this share of their distance is left to the images.
NEARER = 0.5
# Parts on joints move without any; one coordinate, scene units.
NOISE = 1e-3


def refitted(tracks: SkeletonTracks, before: SkeletonTracks) -> SkeletonTracks:
    """Return the tracks with parts as near as joints let them to where they were in others.

    They are as they were where that brings them little.
    """
    poses_FP44, lengths_P3 = _seen(before)
    tree = fit_tree(tracks.tree(), poses_FP44, lengths_P3, ITERATIONS).tree
    found = tracks.placed_as(tree)
    nearer = distance(before, found) < NEARER * distance(before, tracks)
    return found if nearer else tracks


def likely_unmissed(tracks: SkeletonTracks) -> list[int]:
    """Return the joints, those that are least missed first, as far as motion tells.

    By turns the one without which parts hardly move elsewhere, and the one without which they
    hardly do once all other joints have adapted (to first order).
    """
    poses_FP44, lengths_P3 = _seen(tracks)
    fit = TreeFit(tracks.tree(), np.zeros(poses_FP44.shape[:2]), 0.0)
    costs_J = freezing_costs(fit, poses_FP44, lengths_P3, NOISE)[1:]
    both = zip(nearest_joints(tracks), np.argsort(costs_J, kind='stable').tolist(), strict=True)
    return list(dict.fromkeys(joint for pair in both for joint in pair))


def _seen(tracks: SkeletonTracks) -> tuple[np.ndarray, np.ndarray]:
    """Return the poses of the parts, and what a radian of each counts."""
    tree = tracks.tree()
    poses_FP44 = tree.poses()[0][:, tree.link_of_part] @ tree.T_link_part_P44
    return poses_FP44, rotation_lengths(tracks.radii_P3.detach().double().cpu().numpy())
