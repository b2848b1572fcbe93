"""The simulated room: exact, the same for the same seed, and different on its two paths."""

import numpy as np
import pytest

pytest.importorskip('pybullet', reason='the extra `sim` (pybullet) is not installed')

from posefield.data import simulate  # noqa: E402
from posefield.data.room import ROOM_XYZ, SimulatedRoom  # noqa: E402
from posefield.data.scene import Scene  # noqa: E402
from posefield.errors import DataError  # noqa: E402
from posefield.geometry.poses import as_rigid, invert  # noqa: E402

CAMERA = simulate.room_camera(160, 120)


@pytest.fixture(scope='module')
def views() -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Poses of neighbours on the training path, and their image and depth."""
    poses = simulate.training_path(60)[:3]
    with SimulatedRoom(seed=0) as room:
        return poses, [room.render(T, CAMERA) for T in poses]


def pixel_grid(depth_HW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (N, 2) that have a depth, and that depth."""
    y, x = np.nonzero(depth_HW)
    return np.stack([x, y], axis=1).astype(np.float64), depth_HW[y, x].astype(np.float64)


def moved_pixels(T_from: np.ndarray, T_to: np.ndarray, depth_HW: np.ndarray):
    """Return where the pixels of one view are in another: pixels, expected depth, visible."""
    pixels, depth = pixel_grid(depth_HW)
    points = CAMERA.unproject(pixels) * depth[:, None]
    points = points @ (invert(T_to) @ T_from)[:3, :3].T + (invert(T_to) @ T_from)[:3, 3]
    projected, visible = CAMERA.project(points)
    return pixels, projected, points[:, 2], visible


def test_depth_of_one_view_leads_back_from_another_within_a_pixel(views):
    (T_a, T_b, _), ((_, depth_a), (_, depth_b), _) = views
    pixels, there, expected, visible = moved_pixels(T_a, T_b, depth_a)
    column, row = np.round(there[visible]).astype(int).T
    found = depth_b[row, column].astype(np.float64)
    same = (found > 0) & (np.abs(found - expected[visible]) < 0.02 * expected[visible])
    assert same.mean() > 0.75
    points = CAMERA.unproject(np.stack([column, row], axis=1)) * found[:, None]
    T_a_b = invert(T_a) @ T_b
    back, _ = CAMERA.project(points @ T_a_b[:3, :3].T + T_a_b[:3, 3])
    rounding = np.linalg.norm(there[visible] - np.stack([column, row], axis=1), axis=1)
    error = np.linalg.norm(back - pixels[visible], axis=1)[same] - rounding[same]
    assert np.quantile(error, 0.99) < 1.0


def test_a_point_has_the_same_colour_in_both_views(views):
    (T_a, T_b, _), ((image_a, depth_a), (image_b, depth_b), _) = views
    pixels, there, expected, visible = moved_pixels(T_a, T_b, depth_a)
    column, row = np.round(there[visible]).astype(int).T
    found = depth_b[row, column]
    same = np.abs(found - expected[visible]) < 0.02 * expected[visible]
    x, y = pixels[visible][same].astype(int).T
    difference = image_a[y, x].astype(int) - image_b[row[same], column[same]]
    shuffled = np.random.default_rng(0).permutation(same.sum())
    by_chance = image_a[y, x].astype(int) - image_b[row[same], column[same]][shuffled]
    assert np.abs(difference).mean() < 0.35 * np.abs(by_chance).mean()


def test_depth_ends_at_the_walls(views):
    poses, pictures = views
    for T, (_, depth) in zip(poses, pictures, strict=True):
        pixels, along = pixel_grid(depth)
        points = CAMERA.unproject(pixels) * along[:, None] @ T[:3, :3].T + T[:3, 3]
        half = ROOM_XYZ * [0.5, 0.5, 1.0]
        assert (np.abs(points[:, :2]) <= half[:2] + 0.03).all()
        assert (points[:, 2] >= -0.03).all() and (points[:, 2] <= half[2] + 0.03).all()
        assert (depth > 0).mean() > 0.8


def test_the_room_has_rich_and_plain_areas():
    rich, plain = [], []
    with SimulatedRoom(seed=0) as room:
        for T in simulate.training_path(6):
            grey = room.render(T, CAMERA)[0].mean(axis=2)
            cells = grey.reshape(12, 10, 16, 10).std(axis=(1, 3))
            rich.append((cells > 12).mean())
            plain.append((cells < 4).mean())
    assert min(rich) > 0.2
    assert np.mean(plain) > 0.05


def test_the_same_seed_gives_the_same_images_and_another_seed_others(views):
    poses, pictures = views
    with SimulatedRoom(seed=0) as room:
        np.testing.assert_array_equal(room.render(poses[1], CAMERA)[0], pictures[1][0])
    with SimulatedRoom(seed=1) as room:
        assert (room.render(poses[1], CAMERA)[0] != pictures[1][0]).mean() > 0.3


@pytest.mark.parametrize('path', [simulate.training_path, simulate.testing_path])
def test_paths_are_smooth_rigid_and_inside(path):
    poses = path(60)
    for T in poses:
        as_rigid(T, 'pose')
    assert (np.abs(poses[:, :2, 3]) < ROOM_XYZ[:2] / 2 - 0.5).all()
    assert (poses[:, 2, 3] > 0.8).all() and (poses[:, 2, 3] < 2.0).all()
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.25
    np.testing.assert_array_equal(path(60), poses)
    assert not np.allclose(path(60, seed=1), poses)


def test_test_views_are_not_training_views():
    train, test = simulate.training_path(60), simulate.testing_path(24)
    apart = np.linalg.norm(test[:, None, :3, 3] - train[None, :, :3, 3], axis=2).min(axis=1)
    assert apart.min() > 0.1


def test_a_simulated_scene_is_a_scene(tmp_path):
    scene = simulate.simulate_scene(
        tmp_path / 'a', seed=3, train_views=3, test_views=2, width=48, height=36
    )
    loaded = Scene.load(tmp_path / 'a')
    assert loaded.units == 'metres' and loaded.splits == scene.splits
    assert [len(loaded.split(name)) for name in ('train', 'test')] == [3, 2]
    for frame, expected in zip(loaded.split('test'), simulate.testing_path(2, 3), strict=True):
        np.testing.assert_allclose(frame.T_map_cam, expected, atol=1e-12)
        assert frame.read_image().shape == (36, 48, 3) and frame.camera == simulate.room_camera(
            48, 36
        )
    stamps = [frame.stamp_s for frame in (*loaded.split('train'), *loaded.split('test'))]
    assert stamps == sorted(set(stamps))
    again = simulate.simulate_scene(
        tmp_path / 'b', seed=3, train_views=3, test_views=2, width=48, height=36
    )
    for one, other in zip(loaded.frames, again.frames, strict=True):
        assert one.image_path.read_bytes() == other.image_path.read_bytes()


@pytest.mark.parametrize(('train', 'test'), [(0, 2), (3, 0)])
def test_too_few_views_are_refused(tmp_path, train, test):
    with pytest.raises(DataError, match='views to train and to test'):
        simulate.simulate_scene(tmp_path / 'a', train_views=train, test_views=test)
    assert not (tmp_path / 'a').exists()
