"""Real photos: what the importers find, and whether poses and intrinsics fit the pictures."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from posefield.data.nerf import read_nerf
from posefield.data.scene import Frame, Scene
from posefield.data.seven_scenes import read_seven_scenes
from posefield.geometry.images import resize, undistort
from posefield.geometry.poses import invert, skew

pytestmark = pytest.mark.real_data

SHORT_SIDE = 480


@pytest.fixture(scope='module')
def fox(real_data_dir) -> Scene:
    return read_nerf(real_data_dir / 'fox')


def features(frame: Frame):
    """Return undistorted rays, descriptors, and the focal length, at the frame's own size."""
    pixels = np.round(255 * frame.read_image()).astype(np.uint8)
    camera = frame.camera.with_short_side(SHORT_SIDE)
    straight, ideal = undistort(resize(pixels, camera.width, camera.height), camera)
    grey = cv2.cvtColor(straight, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = cv2.SIFT_create(1500).detectAndCompute(grey, None)
    rays = ideal.unproject([keypoint.pt for keypoint in keypoints])
    return rays, descriptors, ideal.fx * frame.camera.width / camera.width


def epipolar_error(frames: Sequence[Frame], step: int, pairs: int = 4) -> float:
    """Return the median over pairs of the median distance to the epipolar line, in pixels."""
    medians = []
    for index in np.linspace(0, len(frames) - step - 1, pairs).astype(int):
        a, b = frames[index], frames[index + step]
        (rays_a, found_a, _), (rays_b, found_b, focal) = features(a), features(b)
        matches = cv2.BFMatcher().knnMatch(found_a, found_b, k=2)
        good = [
            (best.queryIdx, best.trainIdx)
            for best, second in matches
            if best.distance < 0.7 * second.distance
        ]
        in_a, in_b = np.array(good).T
        assert len(in_a) > 30
        T_b_a = invert(b.T_map_cam) @ a.T_map_cam
        lines = rays_a[in_a] @ (skew(T_b_a[:3, 3]) @ T_b_a[:3, :3]).T
        distance = np.abs((lines * rays_b[in_b]).sum(axis=1)) / np.hypot(*lines[:, :2].T)
        medians.append(np.median(distance) * focal)
    return float(np.median(medians))


def test_fox_has_41_photos_to_learn_and_9_to_test(fox):
    assert [len(fox.split(name)) for name in ('train', 'test')] == [41, 9]
    assert len(fox.skipped) == 17
    numbers = (1, 8, 21, 30, 42, 54, 78, 94, 110)
    assert fox.splits['test'] == tuple(f'{number:04d}.jpg' for number in numbers)
    assert fox.frames[0].camera.model == 'plumb_bob'
    assert fox.frames[0].read_image().shape == (1920, 1080, 3)


@pytest.mark.parametrize('split_name', ['blocks', 'halves'])
def test_redkitchen_has_84_photos_to_learn_and_50_to_test(real_data_dir, split_name):
    scene = read_seven_scenes(
        real_data_dir / 'redkitchen',
        poses='sfm_pgt.txt',
        split_file='splits.json',
        split_name=split_name,
    )
    assert [len(scene.split(name)) for name in ('train', 'test')] == [84, 50]
    assert scene.units == 'metres' and scene.skipped == ()
    camera = scene.frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (525.505, 525.505, 319.5, 239.5)


def test_poses_and_intrinsics_of_fox_fit_the_photos(fox):
    assert epipolar_error(fox.frames, step=1) < 1.5


def test_pseudo_ground_truth_of_redkitchen_fits_the_photos(real_data_dir):
    folder = real_data_dir / 'redkitchen'
    assert epipolar_error(read_seven_scenes(folder, poses='sfm_pgt.txt').frames, step=8) < 1.5


def test_a_saved_real_scene_is_the_same_scene(fox, tmp_path):
    fox.save(tmp_path / 'fox', copy_images=False)
    loaded = Scene.load(tmp_path / 'fox')
    assert loaded.splits == fox.splits and loaded.skipped == fox.skipped
    for one, other in zip(loaded.frames, fox.frames, strict=True):
        np.testing.assert_allclose(one.T_map_cam, other.T_map_cam, atol=1e-9)
        assert one.image_path.resolve() == other.image_path.resolve()
