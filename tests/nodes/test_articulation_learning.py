"""Learning through the action: recorded, fed back, cancelled, killed, resumed."""

from action_msgs.msg import GoalStatus
import numpy as np
import pytest
from rclpy.action import ActionClient

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.learning import learn_articulation
from posefield.data.multiview import Multiview
from posefield.nodes.camera_publisher import info_from_camera
from posefield.nodes.images import message_from_rgb
from posefield_msgs.action import Learn
from support.ball_rig import NAMES, BallRig
from support.puppet import Puppet
from support.tiny_articulation import PRESET, tiny_preset
from support.two_balls import CAMERA, FRAMES, write_two_balls

STEPS = 8


class Learner:
    """A client of the action, and what came back."""

    def __init__(self, graph, node):
        self.graph = graph
        self.client = ActionClient(node, Learn, 'articulation/learn')
        self.feedback: list[Learn.Feedback] = []

    def begin(self, **goal):
        """Send a goal and return its handle."""
        assert self.graph.spin_until(self.client.server_is_ready, 30.0)
        goal = {'preset': PRESET, **goal}
        future = self.client.send_goal_async(
            Learn.Goal(**goal), lambda message: self.feedback.append(message.feedback)
        )
        assert self.graph.spin_until(future.done, 20.0)
        return future.result()

    def stages(self) -> list[str]:
        """The stages that were fed back, once each."""
        return list(dict.fromkeys(feedback.stage for feedback in self.feedback))

    def end(self, handle, timeout_s: float = 60.0):
        """Wait for the result of a goal: its status and what it says."""
        future = handle.get_result_async()
        assert self.graph.spin_until(future.done, timeout_s), self.stages()
        return future.result().status, future.result().result


@pytest.fixture
def learning(graph, tmp_path):
    """A node that learns tiny models, its cameras, and a client."""
    with tiny_preset():
        made = []

        def start(cameras=NAMES, connect=NAMES, **parameters):
            values = {
                'models_dir': str(tmp_path / 'models'),
                'feedback_period': 0.1,
                'record_rate': 0.0,
                'record_size': 32,
                **parameters,
            }
            if cameras:
                values['cameras'] = list(cameras)
            puppet = Puppet(graph, values)
            puppet.start()
            made.append(puppet)
            rig = BallRig(graph)
            if cameras:
                rig.connect(connect)
            return puppet, rig, Learner(graph, puppet.node)

        yield start
        for puppet in made:
            puppet.subject.trigger_deactivate()


def recorded(learner, frames):
    return lambda: any(feedback.sets >= frames for feedback in learner.feedback)


def test_a_model_is_learned_from_the_cameras_and_taken_up(learning, graph, tmp_path):
    puppet, rig, learner = learning()
    model = tmp_path / 'balls'
    handle = learner.begin(frames=FRAMES, steps=STEPS, model=str(model), seed=3)
    assert handle.accepted
    assert rig.play_until(recorded(learner, FRAMES))
    status, result = learner.end(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED and result.success, result.message
    assert result.model == str(model) and '<robot' in result.urdf
    assert result.parts == 4 and result.message.startswith('Learned 4 parts')
    # Stages that are over within the feedback's period are not among them.
    assert learner.stages()[0] == 'recording' and len(learner.stages()) > 2
    trained = [feedback for feedback in learner.feedback if feedback.iteration]
    assert trained and trained[-1].parts == 4 and np.isfinite(trained[-1].loss)
    assert max(feedback.sets for feedback in learner.feedback) == FRAMES
    recording = Multiview.load(tmp_path / 'balls.recording')
    assert recording.num_frames == FRAMES and recording.provenance['masks'] == 'cameras'
    puppet.listen_late()
    assert graph.spin_until(lambda: puppet.heard.descriptions)
    assert puppet.heard.descriptions[-1].data == result.urdf
    puppet.wait_for_tracker()
    assert rig.play_until(lambda: puppet.trackers[-1].calls, corner=40)
    assert ArticulatedModel.load(model).info['seed'] == 3


def test_the_node_learns_what_the_library_learns(learning, tmp_path):
    recording = write_two_balls(tmp_path / 'film')
    _, _, learner = learning(cameras=())
    handle = learner.begin(
        recording=str(tmp_path / 'film'), steps=STEPS, model=str(tmp_path / 'node'), seed=1
    )
    status, result = learner.end(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message
    alone = learn_articulation(recording, PRESET, tmp_path / 'alone', steps=STEPS, seed=1)
    through_node = ArticulatedModel.load(tmp_path / 'node')
    np.testing.assert_array_equal(
        through_node.motion.T_scene_part_FP44, alone.motion.T_scene_part_FP44
    )
    np.testing.assert_array_equal(through_node.found.positions_FD, alone.found.positions_FD)


def test_a_second_goal_is_rejected_and_a_cancelled_one_resumes(learning, graph, tmp_path):
    write_two_balls(tmp_path / 'film')
    _, _, learner = learning(cameras=())
    goal = {
        'recording': str(tmp_path / 'film'),
        'steps': 5000,
        'model': str(tmp_path / 'balls'),
    }
    handle = learner.begin(**goal)
    assert graph.spin_until(lambda: any(f.iteration > 2 for f in learner.feedback), 30.0)
    assert not learner.begin(**goal).accepted
    assert graph.logged('rejected', 'another goal is at work')
    cancelling = handle.cancel_goal_async()
    assert graph.spin_until(cancelling.done, 10.0)
    assert cancelling.result().goals_canceling
    status, result = learner.end(handle)
    assert status == GoalStatus.STATUS_CANCELED and not result.success
    assert 'checkpoint' in result.message and 'resume goes on' in result.message
    assert (tmp_path / 'balls.training').is_dir() and not (tmp_path / 'balls').exists()
    learner.feedback.clear()
    resumed = learner.begin(**goal, resume=True)
    assert graph.spin_until(lambda: any(f.iteration > 2 for f in learner.feedback), 30.0)
    first = next(f for f in learner.feedback if f.iteration)
    assert first.iteration > 1
    cancelling = resumed.cancel_goal_async()
    status, result = learner.end(resumed)
    assert status == GoalStatus.STATUS_CANCELED


def test_a_node_that_is_deactivated_ends_learning_and_can_be_cleaned_up(learning, graph, tmp_path):
    write_two_balls(tmp_path / 'film')
    puppet, _, learner = learning(cameras=())
    goal = {
        'recording': str(tmp_path / 'film'),
        'steps': 5000,
        'model': str(tmp_path / 'balls'),
    }
    handle = learner.begin(**goal)
    assert graph.spin_until(lambda: any(f.iteration > 2 for f in learner.feedback), 30.0)
    assert puppet.subject.trigger_deactivate().name == 'SUCCESS'
    assert puppet.subject.trigger_cleanup().name == 'FAILURE'
    assert graph.logged('Learning has not stopped yet')
    status, result = learner.end(handle)
    assert status == GoalStatus.STATUS_ABORTED and 'checkpoint' in result.message
    assert (tmp_path / 'balls.training').is_dir()
    assert not learner.begin(**goal).accepted
    assert graph.logged('rejected', 'the node is not active')
    assert puppet.subject.trigger_cleanup().name == 'SUCCESS'
    assert puppet.subject.trigger_configure().name == 'SUCCESS'
    assert puppet.subject.trigger_activate().name == 'SUCCESS'
    handle = learner.begin(**goal)
    assert handle.accepted
    handle.cancel_goal_async()
    learner.end(handle)


def test_cancelling_while_recording_keeps_nothing(learning, graph, tmp_path):
    _, rig, learner = learning()
    handle = learner.begin(seconds=600.0, model=str(tmp_path / 'out' / 'balls'))
    assert rig.play_until(recorded(learner, 3))
    assert handle.cancel_goal_async() is not None
    status, result = learner.end(handle)
    assert status == GoalStatus.STATUS_CANCELED
    assert 'Recording was stopped after' in result.message
    assert not list((tmp_path / 'out').iterdir())


def test_a_camera_without_tf_is_named_in_the_result(learning, tmp_path):
    _, rig, learner = learning(connect=NAMES[:2], tf_timeout=0.1)
    handle = learner.begin(frames=5, model=str(tmp_path / 'balls'))
    future = handle.get_result_async()
    assert rig.play_until(future.done)
    assert future.result().status == GoalStatus.STATUS_ABORTED
    assert 'camera_2 ("world" -> "camera_2_optical_frame"' in future.result().result.message


def test_cameras_that_send_nothing_end_the_recording(learning, tmp_path):
    _, _, learner = learning(record_timeout=0.5)
    status, result = learner.end(learner.begin(frames=5, model=str(tmp_path / 'balls')))
    assert status == GoalStatus.STATUS_ABORTED
    assert 'No synchronised images that can be recorded have come for' in result.message


def test_a_camera_that_changes_its_size_or_encoding_meanwhile(learning, graph, tmp_path):
    puppet, rig, learner = learning(min_cameras=2, sync_timeout=0.2)
    handle = learner.begin(frames=20, steps=2, model=str(tmp_path / 'balls'))
    assert rig.play_until(recorded(learner, 5))
    large = CAMERA.resized(64, 64)
    rig.infos['camera_2'].publish(info_from_camera(large, rig.header('camera_2', 0.0)))
    graph.spin_for(0.2)
    publish = rig.images['camera_2'].publish

    def publish_large(message):
        picture = np.full((64, 64, 3), 200, np.uint8)
        publish(message_from_rgb(picture, message.header))

    rig.images['camera_2'].publish = publish_large
    rig.masks.pop('camera_2')
    publish_first = rig.images['camera_0'].publish

    def publish_grey(message):
        pixels = np.frombuffer(bytes(message.data), np.uint8).reshape(-1, 3)
        message.encoding, message.step = 'mono8', message.width
        message.data = pixels.mean(axis=1).astype(np.uint8).tobytes()
        publish_first(message)

    rig.images['camera_0'].publish = publish_grey
    future = handle.get_result_async()
    assert rig.play_until(future.done, timeout_s=60.0)
    assert graph.logged('camera camera_2 has changed', '64x64')
    assert future.result().result.success, future.result().result.message
    made = Multiview.load(tmp_path / 'balls.recording')
    assert [camera.name for camera in made.cameras] == ['camera_0', 'camera_1']


@pytest.mark.parametrize(
    ('goal', 'words'),
    [
        ({}, 'seconds or frames, found 0 seconds and 0 frames'),
        ({'seconds': 1.0, 'frames': 3}, 'found 1 seconds and 3 frames'),
        ({'frames': 3, 'minutes': 1.0, 'steps': 5}, 'minutes or steps, found both'),
        ({'seconds': -1.0}, 'seconds must be a number from 0, found -1'),
        ({'seconds': float('nan')}, 'seconds must be a number from 0, found nan'),
        ({'frames': 3, 'preset': 'huge'}, "Unknown preset 'huge'"),
        ({'recording': '/nowhere'}, 'no recording /nowhere'),
        ({'resume': True}, 'must name the folder of its model'),
        ({'resume': True, 'model': '/tmp/nothing/here'}, 'no recording'),
        ({'frames': 3}, 'Parameter cameras is empty'),
    ],
)
def test_goals_that_cannot_be_met_say_why(learning, goal, words):
    _, _, learner = learning(cameras=())
    status, result = learner.end(learner.begin(**goal))
    assert status == GoalStatus.STATUS_ABORTED and not result.success
    assert words in result.message
