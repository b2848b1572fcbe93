"""Links and joints: forward kinematics as in URDF, and trees that are refused."""

from dataclasses import replace
import json
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.errors import ArticulationError


def _pose(generator: np.random.Generator) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    T[:3, 3] = generator.normal(size=3)
    return T


def _axis(generator: np.random.Generator) -> np.ndarray:
    axis = generator.normal(size=3)
    return axis / np.linalg.norm(axis)


def _skeleton(seed: int = 0) -> Skeleton:
    """A branching tree whose lists are not in the order of the tree."""
    g = np.random.default_rng(seed)
    joints = (
        Joint('slide', 'prismatic', 'arm', 'hand', _pose(g), _axis(g), -0.5, 0.5),
        Joint('turn', 'revolute', 'base', 'arm', _pose(g), _axis(g), -1.0, 2.0),
        Joint('weld', 'fixed', 'base', 'box', _pose(g), _axis(g)),
        Joint('spin', 'continuous', 'box', 'wheel', _pose(g), _axis(g), -4.0, 4.0),
    )
    links = tuple(
        Link(name, parts)
        for name, parts in [
            ('hand', (0,)),
            ('base', (1, 2)),
            ('wheel', ()),
            ('arm', (3,)),
            ('box', (4,)),
        ]
    )
    return Skeleton(links, joints, 'base')


def test_forward_chains_the_motions():
    skeleton = _skeleton()
    assert skeleton.movable == ('slide', 'turn', 'spin')
    slide, turn, weld, spin = skeleton.joints
    T_root = _pose(np.random.default_rng(9))
    T = skeleton.forward({'turn': 0.7, 'slide': 0.2, 'spin': -2.0}, T_root)
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_rotvec(0.7 * turn.axis_3).as_matrix()
    T_arm = T_root @ turn.T_parent_joint @ turned
    slid = np.eye(4)
    slid[:3, 3] = 0.2 * slide.axis_3
    np.testing.assert_allclose(T[skeleton.link_index('base')], T_root)
    np.testing.assert_allclose(T[skeleton.link_index('arm')], T_arm, atol=1e-12)
    np.testing.assert_allclose(
        T[skeleton.link_index('hand')], T_arm @ slide.T_parent_joint @ slid, atol=1e-12
    )
    np.testing.assert_allclose(
        T[skeleton.link_index('box')], T_root @ weld.T_parent_joint, atol=1e-12
    )
    # A point on the axis of a joint is fixed in both links.
    on_axis = np.append(0.3 * spin.axis_3, 1.0)
    seen = T_root @ weld.T_parent_joint @ spin.T_parent_joint @ on_axis
    np.testing.assert_allclose(T[skeleton.link_index('wheel')] @ on_axis, seen, atol=1e-12)


def test_forward_of_many_frames_equals_one_by_one():
    skeleton = _skeleton(1)
    generator = np.random.default_rng(2)
    positions_FD = generator.normal(size=(6, 3))
    T_roots = np.stack([_pose(generator) for _ in range(6)])
    together = skeleton.forward(positions_FD, T_roots)
    assert together.shape == (6, 5, 4, 4)
    for i in range(6):
        np.testing.assert_allclose(together[i], skeleton.forward(positions_FD[i], T_roots[i]))


def test_forward_equals_pybullet(tmp_path):
    pybullet = pytest.importorskip('pybullet')
    skeleton = _skeleton(3)
    path = tmp_path / 'robot.urdf'
    path.write_text(_urdf(skeleton))
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(str(path), useFixedBase=True, physicsClientId=client)
        positions = {'turn': 0.4, 'slide': -0.3, 'spin': 2.5}
        T = skeleton.forward(positions)
        for i in range(pybullet.getNumJoints(body, physicsClientId=client)):
            name = pybullet.getJointInfo(body, i, physicsClientId=client)[1].decode()
            if name in positions:
                pybullet.resetJointState(body, i, positions[name], physicsClientId=client)
        for i in range(pybullet.getNumJoints(body, physicsClientId=client)):
            child = pybullet.getJointInfo(body, i, physicsClientId=client)[12].decode()
            state = pybullet.getLinkState(
                body, i, computeForwardKinematics=True, physicsClientId=client
            )
            seen = T[skeleton.link_index(child)]
            np.testing.assert_allclose(state[4], seen[:3, 3], atol=1e-5)
            R = Rotation.from_quat(state[5]).as_matrix()
            np.testing.assert_allclose(R, seen[:3, :3], atol=1e-5)
    finally:
        pybullet.disconnect(client)


def _urdf(skeleton: Skeleton) -> str:
    mass = (
        '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'
        '</inertial>'
    )
    lines = [f'<link name="{link.name}">{mass}</link>' for link in skeleton.links]
    for joint in skeleton.joints:
        xyz = ' '.join(map(str, joint.T_parent_joint[:3, 3]))
        rpy = Rotation.from_matrix(joint.T_parent_joint[:3, :3]).as_euler('xyz')
        axis = ' '.join(map(str, joint.axis_3))
        lines.append(
            f'<joint name="{joint.name}" type="{joint.kind}"><parent link="{joint.parent}"/>'
            f'<child link="{joint.child}"/><axis xyz="{axis}"/>'
            f'<origin xyz="{xyz}" rpy="{" ".join(map(str, rpy))}"/>'
            f'<limit lower="{joint.lower}" upper="{joint.upper}" effort="1" velocity="1"/></joint>'
        )
    return f'<robot name="r">{"".join(lines)}</robot>'


def test_the_tree_can_be_walked():
    skeleton = _skeleton()
    assert skeleton.subtree('arm') == ('arm', 'hand')
    assert set(skeleton.subtree('base')) == {'hand', 'base', 'wheel', 'arm', 'box'}
    assert skeleton.joint_above('base') is None
    assert skeleton.joint_above('wheel').name == 'spin'
    ordered = [joint.name for joint in skeleton.ordered_joints()]
    assert ordered.index('turn') < ordered.index('slide')
    assert ordered.index('weld') < ordered.index('spin')


def test_dict_round_trip():
    skeleton = _skeleton(4)
    again = Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict())))
    assert again.links == skeleton.links
    positions = np.array([0.1, -0.4, 1.0])
    np.testing.assert_allclose(again.forward(positions), skeleton.forward(positions), atol=1e-12)
    assert [(j.name, j.kind, j.lower, j.upper) for j in again.joints] == [
        (j.name, j.kind, j.lower, j.upper) for j in skeleton.joints
    ]


def test_scaling_scales_all_lengths():
    skeleton = _skeleton(5)
    scaled = skeleton.scaled(2.5)
    T = skeleton.forward({'turn': 0.3, 'slide': 0.2, 'spin': 1.0})
    T_scaled = scaled.forward({'turn': 0.3, 'slide': 0.5, 'spin': 1.0})
    np.testing.assert_allclose(T_scaled[:, :3, 3], 2.5 * T[:, :3, 3], atol=1e-12)
    np.testing.assert_allclose(T_scaled[:, :3, :3], T[:, :3, :3], atol=1e-12)
    assert scaled.joint('slide').upper == pytest.approx(1.25)
    assert scaled.joint('turn').upper == skeleton.joint('turn').upper


@pytest.mark.parametrize(
    ('positions', 'message'),
    [
        ({'elbow': 0.1}, "no movable joint named 'elbow'"),
        ({'weld': 0.1}, "no movable joint named 'weld'"),
        (np.zeros(2), 'must hold 3 numbers'),
        (np.array([0.0, math.nan, 0.0]), 'must be finite'),
    ],
)
def test_wrong_positions_are_refused(positions, message):
    with pytest.raises(ArticulationError, match=message):
        _skeleton().forward(positions)


def test_what_is_no_tree_is_refused():
    skeleton = _skeleton()
    slide, turn, weld, spin = skeleton.joints
    cases = [
        ((slide, turn, weld), "'wheel' that does not"),
        ((slide, turn, weld, spin, replace(spin, name='again')), "another for 'wheel'"),
        ((slide, turn, weld, replace(spin, child='base')), "another for 'base'"),
        ((slide, replace(turn, parent='hand'), weld, spin), 'that does not'),
        ((slide, turn, weld, replace(spin, parent='nobody')), "found 'nobody'"),
        ((slide, turn, weld, replace(spin, name='turn')), "two joints named 'turn'"),
    ]
    for joints, message in cases:
        with pytest.raises(ArticulationError, match=message):
            replace(skeleton, joints=joints)
    with pytest.raises(ArticulationError, match='root must be a link'):
        replace(skeleton, root='sky')


def test_wrong_joints_are_refused():
    joint = _skeleton().joints[1]
    for change, message in [
        ({'kind': 'ball'}, "found 'ball'"),
        ({'axis_3': np.array([0.0, 0.0, 2.0])}, 'unit vector'),
        ({'lower': 3.0}, 'in order'),
        ({'upper': math.inf}, 'finite'),
    ]:
        with pytest.raises(ArticulationError, match=message):
            replace(joint, **change)


def test_a_damaged_dict_is_refused():
    content = _skeleton().to_dict()
    del content['joints'][2]['axis']
    with pytest.raises(ArticulationError, match="'axis'"):
        Skeleton.from_dict(content)
