"""Discs at the end of a chain that may turn unseen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from posefield.articulation.round_ends import with_round_ends
from posefield.articulation.skeleton_fitting import moving_as
from posefield.articulation.skeleton_stage import SkeletonLossConfig
from posefield.articulation.skeleton_tracks import PART_VALUES, SkeletonTracks
from posefield.articulation.structure import ProposedTree, structure_of
from support.rendered_arm import FRAMES, arm_motion, arm_tree, jointed, pictures_of

DISC = 4
UNSEEN = 0.01


def arm_with_an_end(radii, textures=None) -> SkeletonTracks:
    """An arm of two joints with a part of some shape at its end, every part twice in its place.

    The last joint turns about y, the end has its last axis along x.
    """
    tree = jointed([0, 1, 2], (-1, 0, 1), [0, 1, 2, 2, 2])
    tree.T_link_part_P44[DISC, :3, 3] = 0.4, 0.0, 0.05
    tree.T_link_part_P44[DISC, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    values = tracks.values()
    values['log_radii_P3'][DISC] = torch.tensor(radii).log()
    if textures is not None:
        values['textures_P33'][DISC] = torch.tensor(textures)
    for name, value in values.items():
        if name.endswith(('_P3', '_P4', '_P33')):
            values[name] = torch.cat([value, value])
    owners = 2 * tracks.hierarchy.joint_of_part
    return SkeletonTracks(replace(tracks.hierarchy, joint_of_part=owners), values)


def ended(tracks: SkeletonTracks) -> SkeletonTracks:
    return with_round_ends(tracks, pictures_of(tracks), SkeletonLossConfig(), UNSEEN)


def test_a_round_disc_gets_a_joint_about_its_axis_that_has_not_moved():
    tracks = arm_with_an_end([0.12, 0.12, 0.05])
    found = ended(tracks)
    assert found.hierarchy.parents == (-1, 0, 1)
    assert found.hierarchy.joint_of_part == (-1, 0, 1, 1, 2)
    along = found.unit_axes_J3[2] @ tracks.rest_rotations_P33[DISC, :, 2]
    assert float(along.detach().abs()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(found.points_J3[2], tracks.rest_centres_P3[DISC])
    assert not found.positions_FJ[:, 2].any()


def test_its_joint_is_continuous_and_has_no_evidence():
    tracks = arm_with_an_end([0.12, 0.12, 0.05])
    found = ended(tracks)
    motion = moving_as(found, arm_motion(arm_tree()))
    # As poses are that have been fitted to images again.
    jitter = np.random.default_rng(0).normal(scale=0.003, size=(FRAMES * (DISC + 1), 3))
    turns = Rotation.from_rotvec(3.0 * jitter).as_matrix().reshape(FRAMES, DISC + 1, 3, 3)
    motion.T_scene_part_FP44[..., :3, :3] @= turns
    motion.T_scene_part_FP44[..., :3, 3] += jitter.reshape(FRAMES, DISC + 1, 3)
    structure = structure_of(ProposedTree(found.tree(), ()), motion)
    last, report = structure.skeleton.joints[-1], structure.report.joints[-1]
    assert last.kind == 'continuous'
    assert structure.skeleton.links[-1].parts == (DISC,)
    assert report.evidence < 1.0 < min(one.evidence for one in structure.report.joints[:-1])
    T = structure.skeleton.forward(structure.positions_FD, structure.T_scene_root_F44)
    axis_F3 = T[:, structure.skeleton.link_index(last.child), :3, :3] @ last.axis_3
    thin_F3 = motion.T_scene_part_FP44[:, DISC, :3, int(motion.radii_P3[DISC].argmin())]
    np.testing.assert_allclose(np.abs((axis_F3 * thin_F3).sum(axis=1)), 1.0, atol=1e-3)


@pytest.mark.parametrize(
    'radii',
    [
        pytest.param([0.1, 0.1, 0.1], id='a ball, which has no axis'),
        pytest.param([0.05, 0.05, 0.12], id='a rod, which its link ends in'),
        pytest.param([0.13, 0.09, 0.05], id='an oval disc'),
    ],
)
def test_other_ends_stay_as_they_are(radii):
    assert ended(arm_with_an_end(radii)).hierarchy.parents == (-1, 0)


def test_a_disc_whose_turn_would_be_seen_stays_as_it_is():
    red_to_the_side = [[0.6, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    tracks = arm_with_an_end([0.12, 0.12, 0.05], red_to_the_side)
    assert ended(tracks).hierarchy.parents == (-1, 0)


def test_a_disc_that_turns_already_gets_no_other_joint():
    tracks = arm_with_an_end([0.12, 0.12, 0.05])
    with torch.no_grad():
        tracks.axes_J3[1] = tracks.rest_rotations_P33[DISC, :, 2]
    assert ended(tracks).hierarchy.parents == (-1, 0)


def rod_with_a_disc(disc_colour) -> SkeletonTracks:
    """The arm with a blue rod at its end whose second half is a disc at the rod's end."""
    tracks = arm_with_an_end([0.05, 0.05, 0.15])
    rod, disc = DISC, DISC + len(tracks.log_radii_P3) // 2
    with torch.no_grad():
        tracks.log_radii_P3[disc] = torch.tensor([0.12, 0.12, 0.05]).log()
        tracks.rest_centres_P3[disc] += 0.15 * tracks.rest_rotations_P33[disc, :, 2]
        tracks.means_P3[rod] = torch.tensor([0.1, 0.1, 0.9])
        tracks.means_P3[disc] = torch.tensor(disc_colour)
    return tracks


def test_a_disc_of_another_colour_than_the_other_half_becomes_a_part():
    tracks = rod_with_a_disc([0.1, 0.7, 0.1])
    found = ended(tracks)
    assert found.hierarchy.joint_of_part == (-1, 0, 1, 1, 1, 2)
    halves = [DISC, DISC + 5]
    for name in PART_VALUES:
        values, theirs = getattr(found, name)[[DISC, 5]], getattr(tracks, name)[halves]
        torch.testing.assert_close(values, theirs, msg=name)
    # As many parts are made room for when a run is resumed.
    again = tracks.shaped_as(found.hierarchy)
    again.load_state_dict(found.state_dict())
    assert len(again.log_radii_P3) == 6


def test_a_half_of_the_same_colour_is_no_part_of_its_own():
    tracks = rod_with_a_disc([0.1, 0.1, 0.85])
    assert ended(tracks).hierarchy.parents == (-1, 0)


def test_only_the_outermost_of_two_discs_turns():
    tracks = arm_with_an_end([0.12, 0.12, 0.05])
    with torch.no_grad():
        for part in (3, 8):
            tracks.log_radii_P3[part] = torch.tensor([0.13, 0.13, 0.06]).log()
            tracks.rest_quaternions_P4[part] = tracks.rest_quaternions_P4[DISC]
            tracks.means_P3[part] = torch.tensor([0.1, 0.1, 0.6])
    assert ended(tracks).hierarchy.joint_of_part == (-1, 0, 1, 1, 2)
