"""Learning a map: what it needs, and that stopping it loses nothing."""

from dataclasses import replace
import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from posefield.data.scene import Frame, Scene
from posefield.errors import BundleError, DataError, LearningError, LearningInterrupted
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.mapping import build_map
from posefield.relocalization.presets import PresetOptions
from posefield.storage import load_tensors
from support.recorder import Recorder
from support.tiny_map import CAMERA, ROOM, photo_poses, query_poses, tiny_preset, write_room


def learn(scene: Scene, out: Path, **options):
    with tiny_preset() as preset:
        return build_map(scene, preset, out, device='cpu', **options)


def only(scene: Scene, names: tuple[str, ...], posed: bool = True) -> Scene:
    """Return the scene with a train split of these frames, perhaps without their poses."""
    frames = tuple(
        frame if posed or frame.name not in names else replace(frame, T_map_cam=None)
        for frame in scene.frames
    )
    return replace(scene, frames=frames, splits={'train': names})


@pytest.fixture(scope='module')
def small_scene(tmp_path_factory) -> Scene:
    return write_room(tmp_path_factory.mktemp('small_room'), photos=6)


@pytest.mark.parametrize('names', [(), ('train_00.png',)])
def test_fewer_than_two_photos_are_refused(tiny_scene, tmp_path, names):
    with pytest.raises(
        DataError, match=f'{len(names)} posed training photos, expected at least 2'
    ):
        learn(only(tiny_scene, names), tmp_path / 'map')
    assert list(tmp_path.iterdir()) == []


def test_photos_without_poses_are_refused(tiny_scene, tmp_path):
    scene = only(tiny_scene, ('train_00.png', 'train_01.png', 'train_02.png'), posed=False)
    with pytest.raises(DataError, match='0 posed training photos'):
        learn(scene, tmp_path / 'map')


def test_a_scene_without_a_train_split_is_refused(tiny_scene, tmp_path):
    with pytest.raises(DataError, match='train'):
        learn(replace(tiny_scene, splits={}), tmp_path / 'map')


def test_photos_from_one_place_are_refused(tiny_scene, tmp_path):
    """Turning on the spot shows no depth, and so no scale."""
    turned = tuple(
        replace(frame, T_map_cam=np.block([[f[:3, :3], np.ones((3, 1))], [f[3:]]]))
        for frame in tiny_scene.frames
        for f in [frame.T_map_cam]
    )
    with pytest.raises(DataError, match='one place'):
        learn(replace(tiny_scene, frames=turned), tmp_path / 'map')


def test_unknown_presets_features_and_devices_are_refused_before_anything_is_learned(
    tiny_scene, tmp_path
):
    with pytest.raises(LearningError, match='huge'):
        build_map(tiny_scene, 'huge', tmp_path / 'map', device='cpu')
    with pytest.raises(LearningError, match='magic'):
        learn(tiny_scene, tmp_path / 'map', options=PresetOptions(features='magic'))
    with pytest.raises(LearningError, match='quantum'):
        build_map(tiny_scene, 'cpu', tmp_path / 'map', device='quantum')


def test_a_folder_with_other_things_is_not_touched(tiny_scene, tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    progress = Recorder()
    with pytest.raises(BundleError, match=str(tmp_path)):
        learn(tiny_scene, tmp_path, progress=progress)
    assert (tmp_path / 'thesis.tex').read_text() == 'years of work'
    assert progress.seen == []


def test_two_photos_make_a_map_that_works(tiny_scene, tmp_path):
    scene = only(tiny_scene, ('train_05.png', 'train_06.png'))
    learn(scene, tmp_path / 'map', minutes=0.03)
    localizer = Localizer.load(tmp_path / 'map', device='cpu')
    image, _ = ROOM.view(CAMERA, query_poses()[2])
    assert np.isfinite(localizer.localize(image, CAMERA).T_map_cam).all()


def test_photos_without_texture_make_a_map_that_accepts_nothing_false(tiny_scene, tmp_path):
    frames = []
    for index, T_map_cam in enumerate(photo_poses(4)):
        path = tmp_path / f'{index}.png'
        cv2.imwrite(str(path), np.full((72, 96, 3), 128, np.uint8))
        frames.append(Frame(path.name, path, CAMERA, T_map_cam))
    scene = Scene(tmp_path, tuple(frames), {'train': tuple(f.name for f in frames)}, 'metres')
    learn(scene, tmp_path / 'map', minutes=0.03)
    localizer = Localizer.load(tmp_path / 'map', device='cpu')
    image, _ = ROOM.view(CAMERA, query_poses()[0])
    assert not localizer.localize(image, CAMERA).accepted


def test_the_same_steps_and_seed_make_the_same_map(small_scene, tmp_path):
    for name in ('once', 'again'):
        learn(small_scene, tmp_path / name, steps=20)
    once, again = (
        load_tensors(tmp_path / name / 'field.safetensors') for name in ('once', 'again')
    )
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert json.loads((tmp_path / 'once' / 'map.json').read_text())['steps'] == 20


def test_progress_goes_through_the_stages_in_order(small_scene, tmp_path):
    progress = Recorder()
    learn(small_scene, tmp_path / 'map', minutes=0.03, progress=progress)
    order = list(dict.fromkeys(stage for stage, _ in progress.seen))
    assert order == [
        'photos', 'sparse', 'field', 'synthesise', 'regressor', 'keyframes', 'calibrate',
    ]  # fmt: skip
    for stage in order:
        fractions = [fraction for name, fraction in progress.seen if name == stage]
        assert fractions[-1] == pytest.approx(1.0)
        assert (np.diff(fractions) >= 0).all()


@pytest.mark.parametrize(
    ('stage', 'fraction'),
    [('photos', 0.5), ('field', 0.4), ('synthesise', 0.5), ('calibrate', 0.3)],
)
def test_a_stopped_run_keeps_the_old_map_and_goes_on_where_it_was(
    tiny_map, small_scene, tmp_path, stage, fraction
):
    out = Path(shutil.copytree(tiny_map, tmp_path / 'map'))
    old = (out / 'map.json').read_text()
    stopped = Recorder(stage, fraction)
    with pytest.raises(LearningInterrupted, match=stage):
        learn(small_scene, out, minutes=0.04, progress=stopped, stop=stopped.stop)
    assert (out / 'map.json').read_text() == old
    resumed = Recorder()
    learn(small_scene, out, minutes=0.04, resume=True, progress=resumed)
    first = next((f for s, f in resumed.seen if s == 'field'), None)
    if stage != 'photos':
        done = max(f for s, f in stopped.seen if s == 'field')
        assert first >= done - 0.01
    assert [path.name for path in tmp_path.iterdir()] == ['map']
    assert (out / 'map.json').read_text() != old
    image, _ = ROOM.view(CAMERA, query_poses()[2])
    assert Localizer.load(out, device='cpu').localize(image, CAMERA).median_depth > 0.0


def test_a_run_is_not_resumed_with_another_seed(small_scene, tmp_path):
    stopped = Recorder('field', 0.3)
    with pytest.raises(LearningInterrupted):
        learn(small_scene, tmp_path / 'map', minutes=0.03, progress=stopped, stop=stopped.stop)
    with pytest.raises(LearningError, match='seed'):
        learn(small_scene, tmp_path / 'map', minutes=0.03, resume=True, seed=1)


def test_ctrl_c_saves_a_checkpoint_and_resume_finishes(small_scene, tmp_path):
    out, log = tmp_path / 'map', tmp_path / 'log'
    command = [
        sys.executable, '-m', 'posefield.cli', 'map', 'train', str(small_scene.root),
        '--out', str(out), '--preset', 'cpu', '--minutes', '0.1', '--quiet',
    ]  # fmt: skip
    with log.open('w') as log_file:
        process = subprocess.Popen(command, stderr=log_file)
    try:
        end_s = time.monotonic() + 60.0
        while 'loss' not in log.read_text():
            assert time.monotonic() < end_s, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
    assert '--resume' in log.read_text().strip().splitlines()[-1]
    assert not out.exists()
    assert (tmp_path / 'map.training' / 'field' / 'state.json').is_file()
    ended = subprocess.run([*command, '--resume'], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert (out / 'map.json').is_file()
    assert not (tmp_path / 'map.training').exists()
