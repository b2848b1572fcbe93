"""Capture over DDS: what is in its bags, when it refuses, and what it survives."""

from collections import Counter
import json

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger

from posefield.data.bag_reader import TransformTree
from posefield.data.image_files import read_rgb
from posefield.data.multiview import Multiview
from posefield.nodes.capture import CaptureNode
from posefield.nodes.parameters import ParameterError
from support.rig import NAMES, SECOND, START, Rig, frame_of, picture, pose_of

PLENTY = 10**12


def as_parameters(values):
    return [
        Parameter(name, value=list(value) if isinstance(value, tuple) else value)
        for name, value in values.items()
    ]


class Studio:
    """A rig, a capture node that sees it, and what that says."""

    def __init__(self, graph, tmp_path, *, tf=NAMES, masks=False, infos=NAMES, **parameters):
        self.graph = graph
        self.free = PLENTY
        values = {
            'cameras': NAMES,
            'output': str(tmp_path / 'out'),
            'lost_after': 0.5,
            'sync_timeout': 0.3,
            'tf_timeout': 0.2,
            **parameters,
        }
        self.node = graph.add(
            CaptureNode(lambda path: self.free, parameter_overrides=as_parameters(values))
        )
        self.out = tmp_path / 'out'
        self.rig = Rig(graph, NAMES, masks)
        self.statuses = {}
        talker = self.rig.node
        talker.create_subscription(DiagnosticArray, '/diagnostics', self._hear, 10)
        self.clients = {
            name: talker.create_client(Trigger, f'/capture/{name}')
            for name in ('start', 'stop', 'snapshot')
        }
        self.rig.connect()
        self.rig.send_tf(tf)
        for name in infos:
            self.rig.send_info(name)
        feeds = self.node._rig.feeds
        assert graph.spin_until(lambda: all(feeds[name].topic.info for name in infos))
        self.at_s = 0.0

    def _hear(self, message):
        self.statuses.update({status.name: status for status in message.status})

    def call(self, name):
        response = self.graph.call(self.clients[name], Trigger.Request(), tries=1)
        return response.success, response.message

    def play(self, seconds, **options):
        self.at_s = self.rig.play(seconds, start_s=self.at_s, **options)

    def start(self):
        """Warm up and start."""
        self.play(0.3)
        success, message = self.call('start')
        assert success, message

    def stop(self):
        success, message = self.call('stop')
        assert success, message
        return message

    def reports(self, level, words=''):
        """Whether /diagnostics gets to say so of the recording."""

        def said():
            status = self.statuses.get('capture: recording')
            return status is not None and status.level == level and words in status.message

        return self.graph.spin_until(said)

    def bags(self):
        return sorted(path.parent for path in self.out.glob('*/metadata.yaml'))


def read(bag):
    """Topics and messages of a bag."""
    with AnyReader([bag]) as reader:
        return [
            (connection.topic, reader.deserialize(data, connection.msgtype))
            for connection, _, data in reader.messages()
        ]


def stamps(messages, topic):
    return [stamp_ns_of(message) for name, message in messages if name == topic]


def stamp_ns_of(message):
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


def test_a_bag_has_every_set_bit_for_bit_with_calibration_and_tf(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    studio.start()
    first_s = studio.at_s
    studio.play(1.0)
    assert 'Recorded 20 sets' in studio.stop()
    studio.play(0.2)
    (bag,) = studio.bags()
    messages = read(bag)
    assert Counter(topic for topic, _ in messages) == {
        '/tf_static': 1,
        **{f'/{name}/image_raw': 20 for name in NAMES},
        **{f'/{name}/camera_info': 20 for name in NAMES},
    }
    assert messages[0][0] == '/tf_static'
    expected = [START + round((first_s + index / 20) * SECOND) for index in range(20)]
    for name in NAMES:
        assert stamps(messages, f'/{name}/image_raw') == expected
        assert stamps(messages, f'/{name}/camera_info') == expected
        images = [message for topic, message in messages if topic == f'/{name}/image_raw']
        for index, image in enumerate(images):
            assert (image.encoding, image.step) == ('rgb8', 3 * 32)
            assert image.header.frame_id == frame_of(name)
            assert bytes(image.data) == picture(index).tobytes()
    with AnyReader([bag]) as reader:
        tree = TransformTree(reader)
        for index, name in enumerate(NAMES):
            np.testing.assert_allclose(tree.lookup('world', frame_of(name), 0.0), pose_of(index))


def test_each_recording_is_a_bag_by_itself(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    for _ in range(2):
        studio.start()
        studio.play(0.2)
        studio.stop()
    bags = studio.bags()
    assert len(bags) == 2
    for bag in bags:
        counts = Counter(topic for topic, _ in read(bag))
        assert counts['/tf_static'] == 1 and counts['/top/image_raw'] == 4


def test_what_is_no_answer_to_a_request_is_refused(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    success, message = studio.call('stop')
    assert not success and 'Nothing is being recorded' in message
    success, message = studio.call('snapshot')
    assert not success and '/left/image_raw' in message
    studio.start()
    success, message = studio.call('start')
    assert not success and 'recording already' in message


def test_the_camera_without_tf_is_named_and_nothing_is_begun(graph, tmp_path):
    studio = Studio(graph, tmp_path, tf=NAMES[:2])
    studio.play(0.2)
    success, message = studio.call('start')
    assert not success and f'top ("world" -> "{frame_of("top")}"' in message
    assert 'left' not in message and not studio.out.exists()
    studio.rig.send_tf()
    studio.start()


def test_the_camera_without_images_or_calibration_is_named(graph, tmp_path):
    studio = Studio(graph, tmp_path, infos=NAMES[:2])
    studio.play(0.2, names=NAMES[1:])
    success, message = studio.call('start')
    assert not success
    assert 'left (no image on /left/image_raw)' in message
    assert 'no camera_info on /top/camera_info' in message and 'right' not in message


def test_a_camera_that_stops_is_named_and_the_others_are_recorded(graph, tmp_path):
    studio = Studio(graph, tmp_path, min_cameras=2, lost_after=1.0)
    studio.start()
    studio.play(0.5)
    studio.play(2.0, names=NAMES[:2])
    assert graph.logged('WARN', 'Lost camera top', timeout_s=0.1)
    assert graph.logged('INFO', 'Hz, top lost', timeout_s=0.1)
    studio.rig.send(studio.at_s, names=['left'])
    studio.at_s += 0.05
    studio.play(0.5)
    assert 'In no set were images: 1 of left.' in studio.stop()
    (bag,) = studio.bags()
    counts = Counter(topic for topic, _ in read(bag))
    assert counts['/left/image_raw'] == counts['/right/image_raw'] == 60
    assert 19 <= counts['/top/image_raw'] <= 20
    assert studio.reports(DiagnosticStatus.OK)


@pytest.mark.parametrize(
    ('change', 'words'),
    [('size', '32x24 rgb8 to 16x12 rgb8'), ('encoding', '32x24 rgb8 to 32x24 mono8')],
)
def test_a_camera_that_changes_its_images_begins_another_bag(graph, tmp_path, change, words):
    studio = Studio(graph, tmp_path)
    studio.start()
    studio.play(0.3)
    encoding = 'rgb8'
    if change == 'size':
        studio.rig.sizes['right'] = (16, 12)
        studio.rig.send_info('right')
        feed = studio.node._rig.feeds['right']
        assert graph.spin_until(lambda: feed.topic.info.width == 16)
    else:
        encoding = 'mono8'
    for index in range(6):
        for name in NAMES:
            kind = encoding if name == 'right' else 'rgb8'
            studio.rig.send_image(name, studio.at_s + index * 0.05, encoding=kind)
        graph.spin_for(0.05)
    assert graph.logged('WARN', 'camera right changed', words)
    assert studio.stop().count('capture_') == 2
    old, new = studio.bags()
    assert new.name == f'{old.name}_2'
    for bag in (old, new):
        messages = read(bag)
        assert messages[0][0] == '/tf_static'
        kinds = {(m.width, m.encoding) for t, m in messages if t == '/right/image_raw'}
        assert len(kinds) == 1
        assert len(stamps(messages, '/left/image_raw')) == 6


def test_a_jump_back_in_time_begins_another_bag(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    studio.at_s = 100.0
    studio.start()
    studio.play(0.3)
    studio.at_s = 5.0
    studio.play(0.3)
    studio.stop()
    assert graph.logged('WARN', 'time went back', timeout_s=0.1)
    assert graph.logged('WARN', 'camera left jumped', timeout_s=0.1)
    for bag in studio.bags():
        found = stamps(read(bag), '/left/image_raw')
        assert len(found) == 6 and found == sorted(found)


def test_a_disk_that_gets_full_ends_the_recording_with_a_readable_bag(graph, tmp_path):
    studio = Studio(graph, tmp_path, min_free_space=1e9)
    studio.start()
    studio.play(0.3)
    studio.free = 10**8
    studio.play(0.3)
    assert graph.logged('ERROR', 'The recording ended', '0.10 GB left')
    (bag,) = studio.bags()
    assert len(stamps(read(bag), '/left/image_raw')) == 6
    assert studio.reports(DiagnosticStatus.ERROR, 'min_free_space')
    success, message = studio.call('stop')
    assert not success and '0.10 GB left' in message
    studio.play(0.2)
    success, message = studio.call('start')
    assert not success and '0.10 GB left' in message
    studio.free = PLENTY
    studio.start()
    assert studio.reports(DiagnosticStatus.OK)


def test_a_multiview_folder_is_the_same_pictures_and_masks(graph, tmp_path):
    studio = Studio(graph, tmp_path, masks=True, multiview=True, multiview_size=32, bag=False)
    studio.start()
    studio.play(0.5)
    studio.stop()
    assert graph.logged('INFO', 'Imported 10 moments of 3 cameras', timeout_s=20.0)
    (folder,) = studio.out.iterdir()
    multiview = Multiview.load(folder)
    assert [camera.name for camera in multiview.cameras] == list(NAMES)
    for view in range(3):
        np.testing.assert_allclose(multiview.cameras[view].T_world_cam, pose_of(view))
        for frame in range(10):
            image = np.rint(255 * multiview.read_image(view, frame)).astype(np.uint8)
            np.testing.assert_array_equal(image, picture(frame))
            mask = multiview.read_mask(view, frame)
            assert (mask[:, :16] == 1).all() and (mask[:, 16:] == 0).all()


def test_a_recording_that_cannot_be_imported_is_kept(graph, tmp_path):
    studio = Studio(graph, tmp_path, multiview=True, bag=False)
    studio.start()
    studio.rig.send(studio.at_s)
    studio.stop()
    assert graph.logged('ERROR', 'could not be imported', timeout_s=20.0)
    assert len(studio.bags()) == 1
    assert studio.reports(DiagnosticStatus.ERROR, 'could not be imported')


def test_a_snapshot_has_pictures_calibration_and_poses(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    studio.play(0.3)
    studio.rig.send(studio.at_s, index=77)
    graph.spin_for(0.1)
    success, message = studio.call('snapshot')
    assert success and 'Wrote 3 images' in message
    (folder,) = studio.out.iterdir()
    about = json.loads((folder / 'snapshot.json').read_text())
    assert about['world_frame'] == 'world'
    for index, entry in enumerate(about['cameras']):
        assert entry['name'] == NAMES[index] and entry['fx'] == pytest.approx(1.2 * 32)
        np.testing.assert_allclose(entry['T_world_cam'], pose_of(index))
        np.testing.assert_array_equal(read_rgb(folder / entry['image']), picture(77))


def test_recording_at_start_for_a_time_ends_the_node(graph, tmp_path):
    studio = Studio(graph, tmp_path, record_at_start=True, duration=1.0, exit_after_recording=True)
    while not studio.node.is_done:
        assert studio.at_s < 20.0
        studio.play(0.1)
    (bag,) = studio.bags()
    assert 15 <= len(stamps(read(bag), '/left/image_raw')) <= 25
    assert graph.logged('INFO', 'Recorded', str(bag), timeout_s=0.1)


def test_ending_the_node_closes_the_bag(graph, tmp_path):
    studio = Studio(graph, tmp_path)
    studio.start()
    studio.play(0.5)
    graph.nodes.remove(studio.node)
    graph.executor.remove_node(studio.node)
    studio.node.destroy_node()
    (bag,) = studio.bags()
    assert len(stamps(read(bag), '/left/image_raw')) == 10


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'cameras': ()}, 'cameras is empty'),
        ({'bag': False}, 'nothing would be recorded'),
        ({'multiview': True, 'require_tf': False}, 'require_tf must be true'),
        ({'multiview': True, 'cameras': ('left',)}, 'at least 2 cameras'),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(graph, parameters, words):
    values = {'cameras': NAMES, **parameters}
    if not values['cameras']:
        del values['cameras']
    with pytest.raises(ParameterError, match=words):
        CaptureNode(parameter_overrides=as_parameters(values))
