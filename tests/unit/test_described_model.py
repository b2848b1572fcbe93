"""A model under the names of its URDF moves as the URDF does."""

import numpy as np
import pytest
import yourdfpy

from posefield.articulation.described_model import DescribedModel, ModelPose, renamed
from posefield.articulation.urdf import urdf_names, write_urdf
from posefield.errors import BundleError
from support.articulated import arm, arm_geometries, pose
from support.ball_model import ball_model


def test_the_renamed_skeleton_has_the_names_and_kinematics_of_the_urdf(tmp_path):
    export = write_urdf(arm(), arm_geometries(), tmp_path / 'arm', name='arm')
    names = urdf_names(arm())
    assert (names.links, names.joints) == (export.links, export.joints)
    skeleton = renamed(arm(), names)
    urdf = yourdfpy.URDF.load(str(export.path), load_meshes=False)
    positions = np.array([0.3, -0.4, 0.5, 1.6, 0.05])
    urdf.update_cfg(dict(zip(skeleton.movable, positions, strict=True)))
    for link, T in zip(skeleton.links, skeleton.forward(positions), strict=True):
        np.testing.assert_allclose(urdf.get_transform(link.name, skeleton.root), T, atol=1e-9)


def test_a_saved_model_is_described(tmp_path):
    saved = ball_model()
    saved.save(tmp_path / 'balls')
    described = DescribedModel.load(tmp_path / 'balls')
    assert described.description.count('file://') >= 2
    assert described.skeleton.movable == ('swing',)
    first = described.learned_pose
    assert first.positions_D == saved.joint_positions(0)
    moved = ModelPose(np.array([0.4]), pose([0, 0, 0.3], [1, 2, 3]))
    np.testing.assert_allclose(
        described.part_poses(moved), saved.repose(moved.positions_D, moved.T_world_root)
    )
    np.testing.assert_allclose(described.link_poses(moved)[0], moved.T_world_root)


def test_a_model_without_its_urdf_is_refused(tmp_path):
    ball_model().save(tmp_path / 'balls')
    (tmp_path / 'balls' / 'robot.urdf').unlink()
    with pytest.raises(BundleError, match=r'balls has no robot\.urdf'):
        DescribedModel.load(tmp_path / 'balls')
