"""Several cameras over DDS: sets, masks, TF, and what is told of cameras that fail."""

from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
import rclpy

from posefield.nodes.camera_topic import InputError
from posefield.nodes.images import rgb_from_message
from posefield.nodes.parameters import ParameterError
from posefield.nodes.rig_input import RigInput
from posefield.nodes.rig_parameters import RigParameters
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.transforms import make_transforms
from support.rig import NAMES, SECOND, START, Rig, frame_of, picture, pose_of

PARAMETERS = RigParameters(cameras=NAMES, lost_after=0.5, sync_timeout=0.4)


class Listener:
    """A node with a RigInput that keeps its sets."""

    def __init__(self, graph, parameters=PARAMETERS, with_masks=False):
        self.sets = []
        self.node = graph.add(rclpy.create_node('listener'))
        self.transforms = make_transforms(self.node)
        self.input = RigInput(
            self.node,
            parameters,
            self.sets.append,
            transforms=self.transforms,
            warnings=ThrottledWarnings(self.node.get_logger(), 0.5),
            with_masks=with_masks,
        )


def connected(graph, parameters=PARAMETERS, masks=False, tf=None, **options):
    """A rig whose calibrations have come, and who listens to it."""
    listener = Listener(graph, parameters, **options)
    rig = Rig(graph, parameters.cameras, masks)
    rig.connect()
    rig.send_infos()
    rig.send_tf(tf)
    feeds = listener.input.feeds.values()
    assert graph.spin_until(lambda: all(feed.topic.info is not None for feed in feeds))
    return rig, listener


def test_sets_have_the_images_their_cameras_and_calibrations(graph):
    rig, listener = connected(graph)
    for index in range(5):
        for offset, name in enumerate(NAMES):
            rig.send_image(name, index * 0.1 + 0.002 * offset, index)
    assert graph.spin_until(lambda: len(listener.sets) == 5)
    for index, found in enumerate(listener.sets):
        assert list(found.views) == list(NAMES)
        assert found.stamp_ns == START + round((index * 0.1 + 0.002) * SECOND)
        assert found.skew_s == pytest.approx(0.004)
        assert found.masks == {}
        for message in found.images.values():
            np.testing.assert_array_equal(rgb_from_message(message), picture(index))
        assert {camera.fx for camera in found.cameras.values()} == {1.2 * 32}
    assert listener.input.camera('top').width == 32
    np.testing.assert_array_equal(
        listener.input.picture('left', listener.sets[0].images['left']), picture(0)
    )


def test_camera_names_may_be_namespaces(graph):
    names = ('front/color', 'back/color')
    rig, listener = connected(graph, replace(PARAMETERS, cameras=names))
    rig.send(0.0)
    assert graph.spin_until(lambda: listener.sets)
    assert list(listener.sets[0].views) == list(names)


def test_images_wait_for_their_masks_where_somebody_publishes_them(graph):
    rig, listener = connected(graph, masks=True, with_masks=True)
    for name in NAMES:
        rig.send_image(name, 0.0)
    for name in NAMES[:2]:
        rig.send_mask(name, 0.0)
    assert graph.spin_until(lambda: listener.sets)
    # The mask of the last camera never came.
    assert list(listener.sets[0].views) == list(NAMES)
    assert list(listener.sets[0].masks) == ['left', 'right']
    rig.send(0.1)
    assert graph.spin_until(lambda: len(listener.sets) == 2)
    assert list(listener.sets[1].masks) == list(NAMES)


def test_masks_nobody_publishes_are_not_waited_for(graph):
    rig, listener = connected(graph, replace(PARAMETERS, sync_timeout=60.0), with_masks=True)
    rig.send(0.0)
    assert graph.spin_until(lambda: listener.sets)


def test_extrinsics_come_from_tf(graph):
    rig, listener = connected(graph)
    rig.send(0.0)
    assert graph.spin_until(lambda: listener.sets)
    poses = {}

    def all_known():
        try:
            poses.update(listener.input.extrinsics('world'))
        except InputError:
            return False
        return True

    assert graph.spin_until(all_known)
    assert list(poses) == list(NAMES)
    for index, name in enumerate(NAMES):
        np.testing.assert_allclose(poses[name], pose_of(index))


def test_the_camera_whose_tf_is_missing_is_named(graph):
    rig, listener = connected(graph, tf=NAMES[:2])
    rig.send(0.0)
    assert graph.spin_until(lambda: listener.sets)
    rig.send(0.1)
    message = ''

    def only_one_missing():
        nonlocal message
        with pytest.raises(InputError) as caught:
            listener.input.extrinsics('world')
        message = str(caught.value)
        return 'left' not in message

    assert graph.spin_until(only_one_missing)
    assert f'top ("world" -> "{frame_of("top")}"' in message and 'right' not in message


def test_a_lost_camera_is_named_within_two_seconds_and_the_others_go_on(graph):
    rig, listener = connected(graph, replace(PARAMETERS, min_cameras=2, lost_after=1.0))
    at_s = rig.play(0.5, start_s=0.0)
    assert listener.input.lost == ()
    at_s = rig.play(2.0, start_s=at_s, names=NAMES[:2])
    assert listener.input.lost == ('top',)
    assert graph.logged('WARN', 'Lost camera top', '/top/image_raw', timeout_s=0.1)
    sync, left, _, top = listener.input.diagnostics()
    assert (sync.level, sync.message) == (DiagnosticStatus.ERROR, 'lost top')
    assert left.level == DiagnosticStatus.OK and left.name == 'listener: camera left'
    assert top.level == DiagnosticStatus.ERROR and '/top/image_raw' in top.message
    values = {item.key: item.value for item in left.values}
    assert values['images received'] == '50' and float(values['image rate [Hz]']) > 10.0
    assert float(values['skew [s]']) == 0.0 and values['images in no set'] == '0'
    at_s = rig.play(0.5, start_s=at_s)
    assert graph.spin_until(lambda: len(listener.sets) == 60)
    sizes = [len(found.views) for found in listener.sets]
    assert sizes[:10] == 10 * [3] and sizes[10:50] == 40 * [2] and sizes[-5:] == 5 * [3]
    assert graph.logged('INFO', 'Camera top is back', timeout_s=0.1)


def test_a_camera_nobody_publishes_is_lost(graph):
    Listener(graph, replace(PARAMETERS, cameras=('left',)))
    assert graph.logged('WARN', 'Lost camera left', '/left/image_raw', 'nobody publishes it')
    rig = Rig(graph, ('left',))
    rig.connect()
    rig.send(0.0)
    assert graph.logged('INFO', 'Camera left is there')


def test_images_of_another_size_than_their_calibration_are_told_of(graph):
    rig, listener = connected(graph)
    rig.sizes['right'] = (16, 12)
    rig.send(0.0)
    assert graph.logged('WARN', '/right/image_raw is 16x12', 'for 32x24')
    assert listener.input.feeds['right'].rejected == 1
    status = listener.input.diagnostics()[2]
    assert status.level == DiagnosticStatus.WARN and '16x12' in status.message
    rig.send_info('right')
    feed = listener.input.feeds['right']
    assert graph.spin_until(lambda: feed.topic.info.width == 16)
    rig.send(0.1)
    assert graph.spin_until(lambda: listener.sets)
    assert listener.sets[0].cameras['right'].width == 16
    assert feed.rejection is None


@pytest.mark.parametrize('jump_s', [-50.0, 50.0])
def test_a_camera_that_jumps_in_time_is_named(graph, jump_s):
    rig, listener = connected(graph, replace(PARAMETERS, min_cameras=2))
    at_s = rig.play(0.5, start_s=0.0)
    for _ in range(60):
        for name in NAMES:
            rig.send_image(name, at_s + (jump_s if name == 'top' else 0.0))
        graph.spin_for(0.05)
        at_s += 0.05
    assert graph.logged('WARN', f'camera top jumped by {jump_s:+.0f}'[:-2], timeout_s=0.1)
    assert graph.logged('WARN', 'camera top are in no set', timeout_s=1.0)
    assert len(listener.sets) >= 60
    # All follow, and sets are complete again.
    del listener.sets[:]
    for name in NAMES:
        rig.send_image(name, at_s + jump_s)
    assert graph.spin_until(lambda: listener.sets)
    assert list(listener.sets[-1].views) == list(NAMES)


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        (RigParameters(), 'cameras is empty'),
        (RigParameters(cameras=('left', 'right'), min_cameras=3), 'only 2 cameras'),
    ],
)
def test_cameras_that_make_no_rig_are_refused(parameters, words):
    with pytest.raises(ParameterError, match=words):
        parameters.check_cameras()
