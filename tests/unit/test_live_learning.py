"""Learning from cameras that run: what is asked for, how far it is, and when it ends."""

from itertools import count
import math
import threading

import pytest

from posefield.articulation.live_learning import (
    LearnRequest,
    LiveProgress,
    RecordingRules,
    learn_live,
    make_progress,
    record_live,
)
from posefield.data.live_recording import LiveConfig, LiveView
from posefield.errors import BundleError, DataError, LearningError, LearningInterrupted
from support.multiviews import ball_centres, draw_ball, ring_of_cameras

RIG = ring_of_cameras(3, size=32)
CENTRES = ball_centres(8, (0.0, 0.0, 0.0))
RULES = RecordingRules(LiveConfig(size=32), timeout_s=0.3)


class Cameras:
    """Gives moments, a tenth of a second apart."""

    def __init__(self, moments=10_000, step_s=0.1, start_s=100.0):
        self.given = 0
        self._moments, self._step_s, self._start_s = moments, step_s, start_s

    def __call__(self, timeout_s):
        if self.given >= self._moments:
            return None
        moment = self.given
        self.given += 1
        views = {}
        for rig in RIG:
            image, mask = draw_ball(rig, CENTRES[moment % len(CENTRES)])
            views[rig.name] = LiveView(image, 255 * mask, rig.camera, rig.T_world_cam)
        return self._start_s + moment * self._step_s, views


def record(tmp_path, cameras, rules=RULES, stop=None, problems=None, **request):
    asked = LearnRequest(tmp_path / 'ball', **request)
    progress = make_progress(asked)
    made = record_live(
        asked,
        cameras,
        rules,
        progress,
        stop or threading.Event(),
        (problems if problems is not None else []).append,
    )
    return made, progress


@pytest.mark.parametrize('request_', [{'frames': 6}, {'seconds': 0.5}])
def test_frames_or_seconds_are_recorded(tmp_path, request_):
    cameras = Cameras()
    made, progress = record(tmp_path, cameras, **request_)
    assert made.num_frames == 6 == cameras.given
    assert made.root == (tmp_path / 'ball.recording')
    assert progress.status.stage == 'masks' and progress.status.sets == 6
    assert not list(tmp_path.glob('.recording-*'))


def test_the_rate_is_bounded_by_the_stamps(tmp_path):
    cameras = Cameras(step_s=0.02)
    rules = RecordingRules(LiveConfig(size=32), rate_hz=10.0)
    made, _ = record(tmp_path, cameras, rules, frames=5)
    assert cameras.given == 21
    assert made.stamps_s == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])


def test_cameras_that_go_silent_or_back_in_time_end_the_recording(tmp_path):
    with pytest.raises(DataError, match=r'come for 0\.\d s; 4 moments were recorded before\.$'):
        record(tmp_path, Cameras(moments=4), frames=6)
    back, problems = Cameras(step_s=-1.0), []
    with pytest.raises(DataError, match='1 moments were recorded .* not later than those before'):
        record(tmp_path, back, frames=6, problems=problems)
    assert problems and not list(tmp_path.iterdir())


def test_recording_stops_on_request_and_keeps_nothing(tmp_path):
    stop, cameras = threading.Event(), Cameras()

    def stop_after_three(timeout_s):
        if cameras.given == 3:
            stop.set()
        return cameras(timeout_s)

    with pytest.raises(LearningInterrupted, match='stopped after 4 moments; nothing was kept'):
        record(tmp_path, stop_after_three, stop=stop, frames=6)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({}, 'seconds or frames, found 0 seconds and 0 frames'),
        ({'frames': 2, 'seconds': 2.0}, 'found 2 seconds and 2 frames'),
        ({'frames': -2}, 'frames must be a number from 0, found -2'),
        ({'seconds': math.inf}, 'seconds must be a number from 0, found inf'),
        ({'frames': 2, 'minutes': 1.0, 'steps': 3}, 'minutes or steps'),
        ({'frames': 2, 'preset': 'best'}, "Unknown preset 'best'"),
        ({'frames': 2, 'parts': 1}, 'at least 2 parts'),
        ({'frames': 2, 'device': 'abacus'}, "Unknown device 'abacus'"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(tmp_path, values, words):
    with pytest.raises(LearningError, match=words):
        LearnRequest(tmp_path / 'ball', **values)


def test_the_parts_asked_for_are_those_that_progress_tells(tmp_path):
    progress = make_progress(LearnRequest(tmp_path / 'ball', frames=2, preset='cpu', parts=7))
    progress.update('parts 1', 0.5, {'steps': 3}, None)
    assert progress.status.parts == 7


def test_places_that_hold_something_else_are_refused_before_recording(tmp_path):
    cameras = Cameras()
    for name in ('ball', 'ball.recording'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'thesis.txt').write_text('mine')
        with pytest.raises(BundleError, match="not posefield's"):
            learn_live(
                LearnRequest(tmp_path / 'ball', frames=5),
                cameras,
                RULES,
                LiveProgress(None, 4),
                threading.Event(),
                print,
            )
        (folder / 'thesis.txt').unlink()
        folder.rmdir()
    assert cameras.given == 0


def test_progress_tells_what_is_left_in_all(monkeypatch):
    clock = count(1000.0, 10.0)
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    progress = LiveProgress(60.0, 24)
    progress.recorded(3, 0.5, 5.0)
    assert progress.status.stage == 'recording' and progress.status.seconds_left == 65.0
    progress.learning()
    progress.start('hull', True)
    progress.update('hull', 0.5, {}, 2.0)
    assert progress.status.seconds_left == 50.0 and progress.status.parts == 0
    assert math.isnan(progress.status.loss)
    progress.start('surface', True)
    progress.update('surface', 0.2, {'loss': 0.5, 'psnr': 20.0, 'steps': 7}, 45.0)
    status = progress.status
    assert (status.iteration, status.loss, status.psnr, status.parts) == (7, 0.5, 20.0, 24)
    assert status.seconds_left == 45.0 and status.sets == 3
    progress.start('joints', True)
    assert progress.status.iteration == 0 and math.isnan(progress.status.psnr)


def test_without_a_budget_only_the_stage_is_known():
    progress = LiveProgress(None, 24)
    progress.recorded(0, 0.0, 5.0)
    assert math.isnan(progress.status.seconds_left)
    progress.learning()
    progress.update('parts 1', 0.5, {'steps': 5}, 8.0)
    assert progress.status.seconds_left == 8.0
    progress.update('parts 1', 0.5, {'steps': 5}, None)
    assert math.isnan(progress.status.seconds_left)
