"""Videos with a calibration give pictures and cameras moment by moment."""

import numpy as np
import pytest

from posefield.data.video_rig import open_video_rig
from posefield.errors import DataError
from support.ball_videos import FRAMES, RATE_HZ, SIZE, rising_ball, write_videos
from support.multiviews import draw_ball, ring_of_cameras

DISTORTION = (0.01, -0.002, 0.001, 0.0, 0.0)


@pytest.fixture
def source(tmp_path):
    return write_videos(tmp_path / 'source', DISTORTION)


def test_moments_are_in_step_and_cameras_those_of_the_calibration(source):
    rig = open_video_rig(source)
    cameras = ring_of_cameras(3, size=SIZE)
    assert [video.name for video in rig.videos] == [camera.name for camera in cameras]
    assert rig.num_moments == FRAMES and rig.period_s == pytest.approx(1 / RATE_HZ)
    for video, camera in zip(rig.videos, cameras, strict=True):
        assert video.camera.distortion == pytest.approx(DISTORTION)
        np.testing.assert_allclose(video.camera.K_33, camera.camera.K_33)
        np.testing.assert_allclose(video.T_world_cam, camera.T_world_cam, atol=1e-9)
    moments = list(rig.moments())
    assert len(moments) == FRAMES
    for pictures, centre in zip(moments, rising_ball(), strict=True):
        for picture, camera in zip(pictures, cameras, strict=True):
            expected, _ = draw_ball(camera, centre)
            assert np.abs(picture.astype(float) - expected).mean() < 6.0


def test_pictures_get_the_size_of_their_camera(source):
    rig = open_video_rig(source, cameras=('cam2', 'cam0'), size=SIZE // 2, every=3)
    assert [video.name for video in rig.videos] == ['cam2', 'cam0']
    assert rig.num_moments == 3 and rig.period_s == pytest.approx(3 / RATE_HZ)
    moments = list(rig.moments())
    assert len(moments) == 3
    full = open_video_rig(source).videos[2].camera
    camera = rig.videos[0].camera
    assert moments[0][0].shape == (SIZE // 2, SIZE // 2, 3)
    assert camera == full.resized(SIZE // 2, SIZE // 2)
    assert camera.distortion == pytest.approx(DISTORTION)


def test_cameras_that_are_not_there_are_named(source):
    with pytest.raises(DataError, match="no camera 'cam7', found cam0, cam1, cam2"):
        open_video_rig(source, cameras=('cam7',))
    (source / 'cam1.avi').rename(source / 'cam9.avi')
    with pytest.raises(DataError, match='no camera cam9 for the video cam9.avi'):
        open_video_rig(source)
