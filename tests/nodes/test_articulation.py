"""What the articulation node says of a model, and how it is commanded."""

import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
import yourdfpy

from posefield.data.encodings import decode_image
from posefield.nodes.clouds import points_of_cloud
from posefield.nodes.conversions import pose_from_message, pose_to_message, transform_from_message
from posefield.nodes.transform_buffer import TransformBuffer
from posefield_msgs.srv import Repose
from support.puppet import Puppet, save_balls
from support.two_balls import CAMERA, rig

EYE = rig()[0].T_world_cam


@pytest.fixture
def puppet(graph, tmp_path):
    """The two balls on strings."""
    save_balls(tmp_path / 'balls')

    def start(**parameters):
        parameters = {'state_rate': 20.0, **parameters}
        made = Puppet(graph, {'model': str(tmp_path / 'balls'), **parameters})
        made.start()
        return made

    return start


def info(width=CAMERA.width, focal=CAMERA.fx):
    message = CameraInfo(width=width, height=width, distortion_model='plumb_bob')
    centre = (width - 1) / 2
    message.k = [focal, 0.0, centre, 0.0, focal, centre, 0.0, 0.0, 1.0]
    message.header.frame_id = 'eye_optical_frame'
    return message


def request(names=(), positions=(), **changes):
    made = Repose.Request(joint_names=list(names), joint_positions=list(positions))
    made.camera_info = info()
    made.use_camera_pose = True
    made.camera_pose.header.frame_id = 'world'
    made.camera_pose.pose = pose_to_message(EYE)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def pixels_of(image):
    return decode_image(image.data, image.encoding, image.height, image.width, image.step, False)


def tree_of(transforms):
    buffer = TransformBuffer()
    for message in transforms:
        T = transform_from_message(message.transform, 'tf')
        buffer.set(message.header.frame_id, message.child_frame_id, 0, T, is_static=True)
    return buffer


def test_a_late_subscriber_gets_the_description_and_tf_is_its_kinematics(puppet, graph, tmp_path):
    balls = puppet()
    balls.command(positions=[0.37])
    assert balls.reaches(0.37)
    balls.listen_late()
    assert graph.spin_until(lambda: balls.heard.descriptions)
    text = balls.heard.descriptions[-1].data
    assert ET.fromstring(text).tag == 'robot'
    (tmp_path / 'late.urdf').write_text(text)
    urdf = yourdfpy.URDF.load(str(tmp_path / 'late.urdf'))
    urdf.update_cfg(dict(zip(balls.heard.joints[-1].name, [0.37], strict=True)))
    balls.heard.clear()
    assert graph.spin_until(lambda: len(balls.heard.transforms) >= 4)
    tree = tree_of(balls.heard.transforms)
    for link in urdf.link_map:
        np.testing.assert_allclose(
            tree.lookup(urdf.base_link, link, 0), urdf.get_transform(link), atol=1e-6
        )
    skeleton = balls.heard.skeletons[-1]
    assert skeleton.state == 'command' and skeleton.root == urdf.base_link
    for name, pose in zip(skeleton.links, skeleton.link_poses, strict=True):
        np.testing.assert_allclose(
            tree.lookup('world', name, 0), pose_from_message(pose, name), atol=1e-6
        )


def test_a_model_is_shown_as_learned_until_it_is_commanded(puppet, graph):
    balls = puppet(frame_prefix='ghost/')
    assert balls.reaches(0.0)
    assert graph.spin_until(lambda: balls.heard.markers and balls.heard.clouds)
    assert graph.spin_until(lambda: balls.heard.skeletons)
    skeleton = balls.heard.skeletons[-1]
    assert skeleton.state == 'learned' and skeleton.header.frame_id == 'world'
    (joint,) = skeleton.joints
    assert (joint.name, joint.type, joint.parent, joint.child) == (
        'swing',
        'revolute',
        'body',
        'arm',
    )
    assert (joint.axis.y, joint.lower, joint.upper) == (1.0, -0.8, 0.8)
    assert [part.link for part in skeleton.parts] == ['body', 'arm']
    names = {(m.header.frame_id, m.child_frame_id) for m in balls.heard.transforms}
    assert names == {('world', 'ghost/body'), ('ghost/body', 'ghost/arm')}
    kinds = {marker.ns for array in balls.heard.markers for marker in array.markers}
    assert kinds >= {'parts', 'bones', 'axes'}
    points = points_of_cloud(balls.heard.clouds[-1])
    assert set(points['part']) == {0, 1} and len(points) == 600


def test_commands_that_cannot_be_meant_are_rejected_and_told(puppet, graph):
    balls = puppet()
    balls.command(positions=[0.5])
    assert balls.reaches(0.5)
    for names, positions, words in (
        (['elbow'], [0.1], ["no movable joint named 'elbow'"]),
        (['swing'], [float('nan')], ['must be a finite number', 'nan']),
        (['swing'], [0.1, 0.2], ['1 names and 2 positions']),
    ):
        balls.subject._warnings._told_s.clear()
        balls.command(names, positions)
        assert graph.logged('joint_command was rejected', *words), words
    graph.spin_for(0.2)
    assert balls.position == 0.5


def test_limits_clamp_by_default_and_reject_by_parameter(puppet, graph):
    balls = puppet()
    balls.command(positions=[2.0])
    assert balls.reaches(0.8)
    assert graph.logged('outside its limits -0.8 to 0.8', 'was set to 0.8')
    balls.set('limits', 'reject')
    balls.subject._warnings._told_s.clear()
    balls.command(positions=[-2.0])
    assert graph.logged('joint_command was rejected', 'outside its limits')
    assert balls.position == 0.8
    balls.set('limits', 'ignore')
    balls.command(positions=[-2.0])
    assert balls.reaches(-2.0)


def test_an_empty_command_goes_back_to_the_learned_pose(puppet):
    balls = puppet()
    balls.command(positions=[0.5])
    assert balls.reaches(0.5)
    balls.command([], [])
    assert balls.reaches(0.0)


def test_repose_renders_what_the_library_renders(puppet, graph):
    balls = puppet()
    client = balls.node.create_client(Repose, 'articulation/repose')
    answer = graph.call(client, request(['swing'], [0.5]), timeout_s=30.0)
    assert answer.success and answer.message == ''
    described = balls.subject._described
    model = described.model
    seen = model.render(CAMERA, EYE, model.repose({'swing': 0.5}))
    image = pixels_of(answer.image)
    np.testing.assert_allclose(image, 255 * seen.colours_HW3, atol=0.51)
    depth = np.frombuffer(answer.depth.data, '<f4').reshape(CAMERA.height, CAMERA.width)
    np.testing.assert_array_equal(np.isnan(depth), seen.depths_HW == 0)
    np.testing.assert_allclose(depth[~np.isnan(depth)], seen.depths_HW[seen.depths_HW > 0])
    assert answer.image.header.frame_id == 'eye_optical_frame'
    assert answer.camera_info.k[0] == CAMERA.fx and answer.depth.encoding == '32FC1'
    assert balls.position == 0.0


def test_repose_takes_a_root_pose_and_tells_of_limits(puppet, graph):
    balls = puppet()
    client = balls.node.create_client(Repose, 'articulation/repose')
    moved = request(['swing'], [1.5])
    moved.use_root_pose = True
    moved.root_pose.header.frame_id = 'world'
    T = np.eye(4)
    T[2, 3] = 5.0
    moved.root_pose.pose = pose_to_message(T)
    answer = graph.call(client, moved, timeout_s=30.0)
    assert answer.success and 'was set to 0.8' in answer.message
    assert (pixels_of(answer.image) == 255).all()


def test_repose_refuses_what_it_cannot_render_with_a_sentence(puppet, graph):
    balls = puppet(tf_timeout=0.1)
    client = balls.node.create_client(Repose, 'articulation/repose')
    from_tf = request(use_camera_pose=False)
    lost = request()
    lost.camera_pose.header.frame_id = 'mars'
    huge = request(camera_info=info(width=100_000, focal=100.0))
    for asked, words in (
        (request(['elbow'], [0.1]), ["no movable joint named 'elbow' among swing"]),
        (request(['swing'], [float('nan')]), ['must be a finite number']),
        (request(['swing'], []), ['1 names and 0 positions']),
        (request(camera_info=info(focal=0.0)), ['not calibrated']),
        (from_tf, ['"world" -> "eye_optical_frame"', '0.1 s']),
        (lost, ['"mars"', 'expected "world"']),
        (huge, ['100000x100000']),
    ):
        answer = graph.call(client, asked, timeout_s=20.0)
        assert not answer.success, words
        assert all(word in answer.message for word in words), answer.message


def test_the_render_is_made_for_who_looks_and_not_twice(puppet, graph, monkeypatch):
    balls = puppet(render_rate=20.0, render_short_side=24)
    model = balls.subject._described.model
    calls = []
    original = type(model).render

    def render(self, *arguments):
        calls.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(type(model), 'render', render)
    graph.spin_for(0.3)
    assert not calls
    balls.look()
    assert graph.spin_until(lambda: len(balls.heard.renders) >= 3, 20.0)
    assert len(calls) == 1
    image, calibration = balls.heard.renders[-1], balls.heard.infos[-1]
    assert (image.width, image.height) == (24, 24) == (calibration.width, calibration.height)
    assert image.header.frame_id == 'articulation_side_optical_frame'
    picture = pixels_of(image)
    assert 0.02 < (picture.min(axis=2) < 250).mean() < 0.9
    assert any(
        message.child_frame_id == image.header.frame_id for message in balls.heard.transforms
    )
    balls.command(positions=[0.7])
    assert graph.spin_until(lambda: len(calls) == 2, 20.0)


def test_diagnostics_tell_model_and_state(puppet, graph):
    balls = puppet(diagnostics_period=0.1)

    def told():
        for array in balls.heard.diagnostics:
            for status in array.status:
                if status.name == 'articulation: articulation' and status.message == 'learned':
                    return {value.key: value.value for value in status.values}
        return None

    assert graph.spin_until(told)
    assert told()['joints'] == '1' and told()['units'] == 'metres'


def test_a_node_without_a_model_waits_for_one(graph):
    empty = Puppet(graph, {})
    empty.start()
    empty.command()
    assert graph.logged('joint_command came, but there is no model yet')
    client = empty.node.create_client(Repose, 'articulation/repose')
    answer = graph.call(client, request())
    assert not answer.success and 'no model yet' in answer.message
    assert not empty.heard.joints


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda folder: folder.rename(folder.with_name('moved')), ['balls', 'does not exist']),
        (lambda folder: (folder / 'robot.urdf').unlink(), ['has no robot.urdf']),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_the_node_unconfigured(
    graph, tmp_path, change, words
):
    change(save_balls(tmp_path / 'balls'))
    balls = Puppet(graph, {'model': str(tmp_path / 'balls')})
    assert balls.subject.trigger_configure().name == 'FAILURE'
    assert graph.logged('ERROR', *words)
    shutil.rmtree(tmp_path / 'balls', ignore_errors=True)
    save_balls(tmp_path / 'balls')
    balls.start()
    assert balls.reaches(0.0)


def test_inactive_means_silent_and_cleanup_lets_go(puppet, graph):
    balls = puppet()
    assert balls.reaches(0.0)
    assert balls.subject.trigger_deactivate().name == 'SUCCESS'
    graph.spin_for(0.2)
    balls.heard.clear()
    graph.spin_for(0.3)
    assert not balls.heard.joints and not balls.heard.transforms
    assert balls.subject.trigger_activate().name == 'SUCCESS'
    assert balls.reaches(0.0)
    assert balls.subject.trigger_deactivate().name == 'SUCCESS'
    assert balls.subject.trigger_cleanup().name == 'SUCCESS'
    assert graph.spin_until(lambda: balls.node.count_publishers('joint_states') == 0)
    balls.start()
    assert balls.reaches(0.0)
