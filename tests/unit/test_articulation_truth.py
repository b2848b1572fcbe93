"""The file of a simulated object's true motion."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.data.articulation_truth import ArticulationTruth, TrueJoint
from posefield.errors import BundleError, DataError


def pose(rotvec_3, translation_3) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(rotvec_3).as_matrix()
    T[:3, 3] = translation_3
    return T


def made_up(**changes) -> ArticulationTruth:
    """A lever on a base, and something glued to it, in two frames."""
    lever = TrueJoint(
        'lever',
        'revolute',
        'base',
        'arm',
        np.array([0.0, 1, 0]),
        pose([0, 0, 0], [1, 0, 2]),
        -1,
        2,
    )
    glue = TrueJoint('glue', 'fixed', 'arm', 'tip', np.zeros(3), pose([0, 0, 0], [0, 0, 1]))
    base = pose([0, 0, np.pi / 2], [0, 0, 0.5])
    arms = [base @ lever.T_parent_joint @ pose([0, q, 0], [0, 0, 0]) for q in (0.0, 0.3)]
    values = {
        'links': ('base', 'arm', 'tip'),
        'joints': (lever, glue),
        'T_world_link_FL44': np.array([[base, arm, arm @ glue.T_parent_joint] for arm in arms]),
        'positions_FJ': np.array([[0.0], [0.3]]),
        'scene_radius': 1.5,
        'scene_centre': np.array([0.0, 0.1, 0.2]),
    }
    return ArticulationTruth(**{**values, **changes})


def test_a_file_brings_back_everything(tmp_path):
    truth = made_up()
    truth.save(tmp_path / 'truth.json')
    for path in (tmp_path, tmp_path / 'truth.json'):
        loaded = ArticulationTruth.load(path)
        assert loaded.links == truth.links and loaded.num_frames == 2
        np.testing.assert_array_equal(loaded.T_world_link_FL44, truth.T_world_link_FL44)
        np.testing.assert_array_equal(loaded.positions_FJ, truth.positions_FJ)
        np.testing.assert_array_equal(loaded.scene_centre, truth.scene_centre)
        assert loaded.scene_radius == 1.5
        for joint, expected in zip(loaded.joints, truth.joints, strict=True):
            assert (joint.name, joint.kind) == (expected.name, expected.kind)
            assert (joint.parent, joint.child) == (expected.parent, expected.child)
            assert (joint.lower, joint.upper) == (expected.lower, expected.upper)
            np.testing.assert_array_equal(joint.axis_3, expected.axis_3)
            np.testing.assert_allclose(joint.T_parent_joint, expected.T_parent_joint, atol=1e-12)


def test_an_axis_is_a_line_in_the_world():
    truth = made_up()
    (lever,) = truth.movable
    point, direction = truth.axis_line(lever, frame=1)
    np.testing.assert_allclose(point, [0, 1, 2.5], atol=1e-12)
    np.testing.assert_allclose(direction, [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(truth.positions_of(lever), [0, 0.3])
    np.testing.assert_allclose(truth.poses_of('tip')[0][:3, 3], [0, 1, 3.5], atol=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match='positions_FJ'):
        made_up(positions_FJ=np.zeros((2, 2)))
    with pytest.raises(DataError, match='T_world_link_FL44'):
        made_up(links=('base', 'arm'))
    with pytest.raises(DataError, match='unknown link arm'):
        made_up(links=('base', 'limb', 'tip'))
    with pytest.raises(DataError, match='scene_radius'):
        made_up(scene_radius=0.0)
    with pytest.raises(DataError, match='no link .*base, arm, tip'):
        made_up().poses_of('hand')
    with pytest.raises(DataError, match='kind of joint x'):
        TrueJoint('x', 'ball', 'a', 'b', np.array([1.0, 0, 0]), np.eye(4))
    with pytest.raises(DataError, match='must have length 1'):
        TrueJoint('x', 'revolute', 'a', 'b', np.zeros(3), np.eye(4))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / 'truth.json'
    with pytest.raises(BundleError, match='missing'):
        ArticulationTruth.load(path)
    made_up().save(path)
    about = json.loads(path.read_text())
    for key, value, message in (
        ('joints', None, 'wrong type'),
        ('positions', [['a'], ['b']], 'wrong type'),
        ('schema', 2, 'update posefield'),
        ('kind', 'scene', 'expected'),
    ):
        path.write_text(json.dumps({**about, key: value}))
        with pytest.raises(BundleError, match=message):
            ArticulationTruth.load(path)
    path.write_text(json.dumps({key: about[key] for key in about if key != 'links'}))
    with pytest.raises(BundleError, match="no key 'links'"):
        ArticulationTruth.load(path)
