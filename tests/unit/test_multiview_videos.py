"""Calibrated videos become recordings with masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from posefield.data.mask_agreement import disagreeing
from posefield.data.multiview_videos import VideoImport, import_videos
from posefield.data.recording import Selection
from posefield.data.unmasked import MaskingConfig
from posefield.data.visual_hull import normalise
from posefield.errors import DataError
from support.ball_videos import FRAMES, SIZE, rising_ball, write_video, write_videos
from support.multiviews import draw_ball, ring_of_cameras


@pytest.fixture
def source(tmp_path) -> Path:
    """Three videos of a ball that moves, and their calibration."""
    return write_videos(tmp_path / 'source')


def test_ball_is_found_and_cut_out(source, tmp_path):
    masking = MaskingConfig(method='median')
    multiview = import_videos(
        source, tmp_path / 'out', Selection(size=64), VideoImport(masking=masking)
    )
    assert [rig.name for rig in multiview.cameras] == ['cam0', 'cam1', 'cam2']
    assert multiview.num_frames == FRAMES
    assert multiview.held_out_frames == {6, 7}
    assert multiview.stamps_s == pytest.approx(np.arange(FRAMES) / 20)
    centres = rising_ball()
    for view, rig in enumerate(multiview.cameras):
        assert max(rig.camera.width, rig.camera.height) == 64
        for frame in (0, 4, 7):
            _, truth = draw_ball(rig, centres[frame])
            mask = multiview.read_mask(view, frame)
            assert (mask[truth == 1] == 0).mean() < 0.02
            assert (mask[truth == 1] == 1).mean() > 0.75
            assert (mask[truth == 0] == 1).mean() < 0.04
    normalisation = normalise(multiview)
    np.testing.assert_allclose(normalisation.centre_3, centres[:6].mean(axis=0), atol=0.1)
    assert 0.8 < 1 / normalisation.scale < 1.2


def test_background_images_and_steps(source, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    for rig in ring_of_cameras(3, size=SIZE):
        far_away = draw_ball(rig, np.array([50.0, 0.0, 0.0]))[0]
        cv2.imwrite(str(empty / f'{rig.name}.png'), far_away)
    multiview = import_videos(
        source,
        tmp_path / 'out',
        Selection(size=64, held_out_frames=0.0),
        VideoImport(every=3, backgrounds=empty, masking=MaskingConfig(crop=False)),
    )
    assert multiview.stamps_s == pytest.approx((0.0, 0.15, 0.3))
    assert multiview.cameras[0].camera.width == 64
    assert multiview.provenance['masks'] == 'background images'
    _, truth = draw_ball(multiview.cameras[1], rising_ball()[6])
    assert (multiview.read_mask(1, 2)[truth == 1] == 1).mean() > 0.75
    (empty / 'cam1.png').unlink()
    with pytest.raises(DataError, match='no background for camera cam1'):
        import_videos(source, tmp_path / 'out', options=VideoImport(backgrounds=empty))


def test_videos_of_different_length_or_rate(source, tmp_path):
    rig = ring_of_cameras(3, size=SIZE)[2]
    image = draw_ball(rig, np.zeros(3))[0]
    write_video(source / 'cam2.avi', [image] * (FRAMES - 1))
    with pytest.raises(DataError, match='not synchronised: cam0.avi has 8 frames, cam2.avi'):
        import_videos(source, tmp_path / 'out')
    write_video(source / 'cam2.avi', [image] * FRAMES, rate_hz=25.0)
    with pytest.raises(DataError, match='cam0.avi has 20 frames a second, cam2.avi has 25'):
        import_videos(source, tmp_path / 'out')


def test_camera_before_which_nothing_moves(source, tmp_path):
    rig = ring_of_cameras(3, size=SIZE)[2]
    write_video(source / 'cam2.avi', [draw_ball(rig, np.zeros(3))[0]] * FRAMES)
    with pytest.raises(DataError, match='Nothing moves before the camera cam2'):
        import_videos(source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_sources_that_cannot_be_used(source, tmp_path):
    (source / 'cam3.avi').write_bytes(b'no video')
    with pytest.raises(DataError, match='cam3.avi does not open'):
        import_videos(source, tmp_path / 'out')
    (source / 'cam3.avi').unlink()
    (source / 'cam2.avi').rename(source / 'other.avi')
    with pytest.raises(DataError, match='no camera other for the video other.avi'):
        import_videos(source, tmp_path / 'out')
    with pytest.raises(DataError, match='has no video'):
        import_videos(tmp_path / 'out', tmp_path / 'out')
    with pytest.raises(DataError, match='At least 2 cameras are needed'):
        import_videos(source, tmp_path / 'out', Selection(cameras=('cam0',)))


def test_what_other_cameras_do_not_see():
    rigs = ring_of_cameras(5, size=SIZE)
    masks = [draw_ball(rig, np.zeros(3))[1] for rig in rigs]
    honest = disagreeing(rigs, masks)
    for wrong, mask in zip(honest, masks, strict=True):
        assert (wrong & (mask == 1)).mean() < 0.001
    masks[2][3:11, 3:11] = 1
    wrong = disagreeing(rigs, masks)[2]
    assert wrong[3:11, 3:11].mean() > 0.9
    assert (wrong & (draw_ball(rigs[2], np.zeros(3))[1] == 1)).mean() < 0.001


@pytest.mark.real_data
def test_treadmill_calibration_and_videos_fit(real_data_dir):
    from posefield.data.rig_calibration import find_calibration, read_calibration
    from posefield.data.videos import open_videos

    source = real_data_dir / 'treadmill'
    if not source.is_dir():
        pytest.skip(f'{source} does not exist')
    cameras = {camera.name: camera for camera in read_calibration(find_calibration(source))}
    for video in open_videos(source):
        assert (video.frames, video.rate_hz) == (100, 60.0)
        camera = cameras[video.name].at_size(video.width, video.height)
        # The treadmill is at the origin of the room.
        T_cam_world = np.linalg.inv(cameras[video.name].T_world_cam)
        _, visible = camera.project([T_cam_world[:3, 3]])
        assert visible.all()
