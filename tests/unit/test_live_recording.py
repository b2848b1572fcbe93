"""Recordings are made of cameras that come, go, change and jump."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.data.background_files import read_backgrounds
from posefield.data.live_recording import LiveConfig, LiveRecorder, LiveView
from posefield.data.multiview import Multiview
from posefield.data.unmasked import MaskingConfig
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from support.multiviews import ball_centres, draw_ball, ring_of_cameras

RIG = ring_of_cameras(3, size=48)
CENTRES = ball_centres(8, (0.0, 0.0, 0.0))


def view_of(rig, moment, masks=True, **changes):
    image, mask = draw_ball(rig, CENTRES[moment])
    grey = 255 * mask if masks else None
    return replace(LiveView(image, grey, rig.camera, rig.T_world_cam), **changes)


def views(moment, rigs=RIG, masks=True):
    return {rig.name: view_of(rig, moment, masks) for rig in rigs}


@pytest.fixture
def recorder(tmp_path):
    return LiveRecorder(tmp_path / 'pictures', LiveConfig(size=48))


def test_what_cameras_saw_is_recorded_with_their_masks(recorder, tmp_path):
    for moment in range(8):
        assert recorder.add(10.0 + moment / 10, views(moment)) == []
    assert (recorder.moments, round(recorder.seconds, 6)) == (8, 0.7)
    made = recorder.finish(tmp_path / 'ball', provenance={'node': 'test'})
    found = Multiview.load(tmp_path / 'ball')
    assert found.stamps_s == made.stamps_s == tuple(10.0 + moment / 10 for moment in range(8))
    assert found.training_frames == tuple(range(8))
    for view, rig in enumerate(RIG):
        assert found.cameras[view].name == rig.name
        image, mask = draw_ball(rig, CENTRES[5])
        np.testing.assert_array_equal(np.rint(255 * found.read_image(view, 5)), image)
        np.testing.assert_array_equal(found.read_mask(view, 5), mask)
    assert found.provenance['node'] == 'test' and found.provenance['masks'] == 'cameras'
    assert read_backgrounds(found.root) == {}


def test_masks_are_made_where_a_camera_brings_none(tmp_path):
    config = LiveConfig(size=48, masking=MaskingConfig(crop=False))
    recorder, told = LiveRecorder(tmp_path / 'pictures', config), []
    rigs = ring_of_cameras(3, size=48, distance=4.0)
    centres = np.linspace([-0.8, -0.8, 0.0], [0.8, 0.8, 0.0], 30)
    for moment, centre in enumerate(centres):
        image_of = {rig.name: draw_ball(rig, centre)[0] for rig in rigs}
        recorder.add(
            moment / 10,
            {
                rig.name: LiveView(image_of[rig.name], None, rig.camera, rig.T_world_cam)
                for rig in rigs
            },
        )
    made = recorder.finish(tmp_path / 'ball', on_image=lambda done, total: told.append(done))
    assert told and made.provenance['masks'] == 'video'
    _, mask = draw_ball(rigs[0], centres[20])
    found = made.read_mask(0, 20)
    sure = found != 2
    assert sure.mean() > 0.8 and (found[sure] == mask[sure]).mean() > 0.99
    backgrounds = read_backgrounds(made.root)
    assert set(backgrounds) == {rig.name for rig in rigs}
    np.testing.assert_allclose(backgrounds['cam0'].colours_HW3, 90.0, atol=2.0)


def test_a_camera_that_leaves_is_left_out_and_one_that_blinks_costs_its_moments(
    recorder, tmp_path
):
    extra = ring_of_cameras(4, size=48)[3]
    for moment in range(8):
        seen = views(moment, (*RIG, extra) if moment < 3 else RIG)
        if moment == 4:
            del seen['cam1']
        assert recorder.add(moment / 10, seen) == []
    made = recorder.finish(tmp_path / 'ball')
    assert [camera.name for camera in made.cameras] == ['cam0', 'cam1', 'cam2']
    assert made.stamps_s == (0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7)
    assert made.provenance['dropped'] == 1
    _, mask = draw_ball(RIG[1], CENTRES[5])
    np.testing.assert_array_equal(made.read_mask(1, 4), mask)


def test_what_does_not_fit_is_told_and_not_recorded(recorder, tmp_path):
    recorder.add(0.0, views(0))
    assert 'not later than those before' in recorder.add(0.0, views(1))[0]
    small = Camera(24, 24, 28.8, 28.8, 11.5, 11.5)
    changed = view_of(RIG[0], 1, image=np.zeros((24, 24, 3), np.uint8), camera=small)
    (problem,) = recorder.add(0.1, {**views(1), 'cam0': changed})
    assert 'camera cam0 has changed' in problem and '48x48' in problem and '24x24' in problem
    elsewhere = RIG[1].T_world_cam.copy()
    elsewhere[0, 3] += 0.1
    moved = view_of(RIG[1], 2, T_world_cam=elsewhere)
    (problem,) = recorder.add(0.2, {**views(2), 'cam1': moved})
    assert 'camera cam1 has moved' in problem and '0.1' in problem
    for moment in range(3, 6):
        recorder.add(moment / 10, views(moment))
    assert recorder.finish(tmp_path / 'ball').stamps_s == (0.0, 0.3, 0.4, 0.5)


def test_too_little_is_refused_with_what_came(recorder, tmp_path):
    with pytest.raises(DataError, match=r'at least 2 cameras .* 0 moments \(no images\)'):
        recorder.finish(tmp_path / 'ball')
    for moment in range(2):
        recorder.add(moment / 10, views(moment))
    with pytest.raises(DataError, match='at least 3 moments .* found 2 in 2'):
        recorder.finish(tmp_path / 'ball')
    assert not (tmp_path / 'ball').exists()


def test_masks_without_an_object_are_refused(recorder, tmp_path):
    for moment in range(4):
        seen = views(moment)
        empty = np.zeros((48, 48), np.uint8)
        recorder.add(moment / 10, {**seen, 'cam1': replace(seen['cam1'], mask_grey=empty)})
    with pytest.raises(DataError, match='masks of camera cam1 never show an object'):
        recorder.finish(tmp_path / 'ball')
