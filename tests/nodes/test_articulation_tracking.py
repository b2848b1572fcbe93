"""The articulation node follows a thing through synchronised sets."""

import numpy as np
import pytest
from sensor_msgs.msg import Image

from posefield.articulation.tracking import PoseTracker
from posefield.data.background import Background
from posefield.data.background_files import write_backgrounds
from posefield.nodes.conversions import stamp_ns
from support.ball_rig import NAMES, START_NS, BallRig, film
from support.puppet import FakeTracker, Puppet, save_balls
from support.two_balls import angles


@pytest.fixture
def follow(graph, tmp_path):
    """A node that follows, and its cameras."""
    save_balls(tmp_path / 'balls')

    def start(make_tracker=FakeTracker, masks=True, with_tf=NAMES, **parameters):
        values = {'cameras': list(NAMES), 'model': str(tmp_path / 'balls'), **parameters}
        puppet = Puppet(graph, {'lost_after': 0.5, **values}, make_tracker)
        puppet.start()
        rig = BallRig(graph, masks)
        rig.connect(with_tf)
        puppet.wait_for_tracker()
        assert graph.spin_until(lambda: puppet.has_heard(with_tf), 20.0)
        return puppet, rig

    return start


def stamps_at(messages, at_s):
    wanted = START_NS + round(at_s * 1e9)
    return [m for m in messages if stamp_ns(m.header.stamp) == wanted]


def test_poses_come_with_the_stamps_of_the_images(follow, graph):
    puppet, rig = follow()
    at_s = rig.send(corner=40)
    assert puppet.reaches(0.4)
    assert graph.spin_until(lambda: stamps_at(puppet.heard.transforms, at_s))
    assert graph.spin_until(lambda: stamps_at(puppet.heard.skeletons, at_s))
    (joints,) = stamps_at(puppet.heard.joints, at_s)
    assert list(joints.name) == ['swing']
    names = {m.child_frame_id for m in stamps_at(puppet.heard.transforms, at_s)}
    assert names == {'body', 'arm'}
    (skeleton,) = stamps_at(puppet.heard.skeletons, at_s)
    assert skeleton.state == 'tracking' and skeleton.score == pytest.approx(0.9)
    assert skeleton.joints[0].position == pytest.approx(0.4)

    def marked():
        return any(stamps_at(array.markers, at_s) for array in puppet.heard.markers)

    assert graph.spin_until(marked)
    views, previous, stamp_s = puppet.trackers[-1].calls[0]
    assert len(views) == 3 and previous is None
    assert stamp_s == pytest.approx((START_NS + at_s * 1e9) / 1e9)
    assert set(np.unique(views[0].mask_HW)) == {0, 1}
    rig.send(corner=50)
    assert puppet.reaches(0.5)
    assert puppet.trackers[-1].calls[1][1].joint_positions[0] == pytest.approx(0.4)


def test_a_lost_thing_is_told_and_not_published(follow, graph):
    puppet, rig = follow()
    rig.send(corner=40)
    assert puppet.reaches(0.4)
    at_s = rig.send(corner=0)
    assert graph.spin_until(lambda: stamps_at(puppet.heard.skeletons, at_s))
    (skeleton,) = stamps_at(puppet.heard.skeletons, at_s)
    assert skeleton.state == 'lost' and skeleton.score == pytest.approx(0.1)
    graph.spin_for(0.3)
    assert not stamps_at(puppet.heard.joints, at_s)
    assert not stamps_at(puppet.heard.transforms, at_s)
    puppet.heard.diagnostics.clear()
    assert graph.spin_until(
        lambda: any(s.message == 'lost' for d in puppet.heard.diagnostics for s in d.status)
    )
    rig.send(corner=60)
    assert puppet.reaches(0.6)


def test_a_camera_without_tf_is_named(follow, graph):
    puppet, rig = follow(with_tf=NAMES[:2], tf_timeout=0.1)
    rig.send(corner=40)
    assert graph.logged('TF does not tell where these cameras are: camera_2', 'world')
    assert not puppet.trackers[-1].calls
    rig.send_tf()
    assert rig.play_until(lambda: puppet.position == 0.4, corner=40)


def test_a_camera_that_stops_is_named_and_the_others_go_on(follow, graph):
    puppet, rig = follow(min_cameras=2, sync_timeout=0.1)
    assert rig.play_until(lambda: len(puppet.trackers[-1].calls) >= 3, corner=40)
    two = NAMES[1:]
    assert rig.play_until(lambda: 'Lost camera camera_0' in graph.log, names=two, corner=40)
    before = len(puppet.trackers[-1].calls)
    assert rig.play_until(
        lambda: len(puppet.trackers[-1].calls) >= before + 3, names=two, corner=40
    )
    assert len(puppet.trackers[-1].calls[-1][0]) == 2
    assert rig.play_until(lambda: len(puppet.trackers[-1].calls[-1][0]) == 3, corner=40)
    assert rig.play_until(lambda: 'Camera camera_0 is back' in graph.log, corner=40)


def test_images_that_cannot_be_decoded_leave_their_camera_out(follow, graph):
    puppet, rig = follow()
    publish = rig.images['camera_1'].publish

    def publish_strange(message):
        message.encoding = 'yuv777'
        publish(message)

    rig.images['camera_1'].publish = publish_strange
    small = Image(height=4, width=4, step=4, encoding='mono8', data=bytes(16))
    publish_mask = rig.masks['camera_2'].publish

    def publish_small(message):
        small.header = message.header
        publish_mask(small)

    rig.masks['camera_2'].publish = publish_small
    rig.send(corner=40)
    assert puppet.reaches(0.4)
    assert len(puppet.trackers[-1].calls[0][0]) == 1
    assert graph.logged('An image of camera camera_1 is left out', 'yuv777')
    assert graph.logged('An image of camera camera_2 is left out', '32x32 but its mask is 4x4')


def test_time_that_jumps_back_starts_the_search_again(follow, graph):
    puppet, rig = follow()
    rig.moment = 50
    assert rig.play_until(lambda: len(puppet.trackers[-1].calls) >= 3, corner=40)
    rig.moment = 0
    calls = puppet.trackers[-1].calls

    def searched_again():
        return any(previous is None for _, previous, _ in calls[1:])

    assert rig.play_until(searched_again, corner=50)
    assert 'jumped' in graph.log
    assert puppet.reaches(0.5)


def test_a_command_re_poses_the_render_while_the_cameras_hold_the_rest(follow, graph):
    puppet, rig = follow(render_rate=20.0, render_short_side=16, lost_after=30.0)
    rig.send(corner=40)
    assert puppet.reaches(0.4)
    puppet.look()
    assert graph.spin_until(lambda: puppet.heard.renders, 20.0)
    before = bytes(puppet.heard.renders[-1].data)
    assert puppet.heard.renders[-1].header.frame_id == 'camera_0_optical_frame'
    puppet.command(positions=[-0.8])
    assert graph.spin_until(lambda: bytes(puppet.heard.renders[-1].data) != before, 20.0)
    graph.spin_for(0.3)
    assert puppet.position == pytest.approx(0.4)
    puppet.command([], [])
    assert graph.spin_until(lambda: bytes(puppet.heard.renders[-1].data) == before, 20.0)


def test_tracking_can_be_switched_off_and_slowed_down(follow, graph):
    puppet, rig = follow(tracking__max_rate=2.0)
    calls = puppet.trackers[-1].calls
    start = rig.moment
    assert rig.play_until(lambda: len(calls) >= 3, corner=40)
    assert rig.moment - start >= 10
    puppet.set('tracking.enabled', False)
    graph.spin_for(0.2)
    count = len(calls)
    rig.play_until(lambda: False, timeout_s=1.0, corner=40)
    assert len(calls) == count
    graph.spin_for(0.6)
    puppet.command(positions=[0.2])
    assert puppet.reaches(0.2)


def test_backgrounds_make_masks_where_cameras_bring_none(follow, graph, tmp_path):
    white = Background.of_image(np.full((32, 32, 3), 255, np.uint8))
    write_backgrounds(tmp_path, dict.fromkeys(NAMES, white))
    puppet, rig = follow(masks=False, tracking__backgrounds=str(tmp_path))
    rig.send()
    calls = puppet.trackers[-1].calls
    assert graph.spin_until(lambda: calls)
    for view, (_, mask) in zip(calls[0][0], film()[0], strict=True):
        sure = view.mask_HW != 2
        assert sure.mean() > 0.7
        assert ((view.mask_HW[sure] == 1) == (mask[sure] == 255)).mean() > 0.98


def test_without_masks_and_backgrounds_the_views_have_none(follow, graph):
    puppet, rig = follow(masks=False)
    rig.send()
    calls = puppet.trackers[-1].calls
    assert graph.spin_until(lambda: calls)
    assert all(view.mask_HW is None for view in calls[0][0])


def test_the_real_tracker_finds_the_joint(follow, graph):
    puppet, rig = follow(PoseTracker, tracking__points=2000)
    errors = []
    for moment in range(6):
        at_s = rig.send()
        assert graph.spin_until(lambda at=at_s: stamps_at(puppet.heard.skeletons, at), 30.0)
        (skeleton,) = stamps_at(puppet.heard.skeletons, at_s)
        assert skeleton.state == 'tracking', skeleton.score
        errors.append(abs(skeleton.joints[0].position - angles()[moment]))
    assert np.median(errors) < np.deg2rad(5.0), np.rad2deg(errors)
