"""Matching photos with known poses, joining matches to tracks, and triangulating them."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.features.sift import Keypoints
from posefield.fields.scene_transform import SceneTransform
from posefield.relocalization.sparse_map import (
    SparseMap,
    SparseMapConfig,
    build_sparse_map,
    epipolar_distances_px,
    neighbouring_views,
    sparse_index,
)
from posefield.relocalization.triangulation import View
from support.point_cloud import CAMERA, arc_of_views, cloud, projected
from support.textured_room import look_at

NOISE_PX = 0.4


class Photos:
    """Keypoints of a cloud in each view, with descriptors that differ a little."""

    def __init__(self, views: list[View], points_N3: np.ndarray, seed: int = 0):
        generator = np.random.default_rng(seed)
        self.views, self.points = views, points_N3
        # Like SIFT's, most entries of a descriptor are small and a few are large.
        self.descriptors = 200.0 * generator.random((len(points_N3), 128)) ** 4
        self.seen, self.keypoints = [], []
        for view in views:
            seen = generator.permutation(len(points_N3))[: int(0.8 * len(points_N3))]
            pixels = projected(view, points_N3[seen])
            pixels = pixels + NOISE_PX * generator.normal(size=pixels.shape)
            descriptors = self.descriptors[seen] + 3.0 * generator.normal(size=(len(seen), 128))
            self.seen.append(seen)
            self.keypoints.append(
                Keypoints(
                    pixels.astype(np.float32),
                    np.full(len(seen), 2.0, np.float32),
                    np.clip(descriptors, 0, 255).astype(np.uint8),
                )
            )

    def point_of(self, sparse: SparseMap) -> np.ndarray:
        """Return the true point of each map point, by the descriptors of its observations."""
        similar = sparse.descriptors_M128.astype(float) @ self.descriptors.T
        similar /= np.linalg.norm(self.descriptors, axis=1)
        truth = np.full(len(sparse.points_N3), -1)
        truth[sparse.point_of_M] = similar.argmax(axis=1)
        assert (truth[sparse.point_of_M] == similar.argmax(axis=1)).all()
        return truth


@pytest.fixture(scope='module')
def photos() -> Photos:
    return Photos(arc_of_views(6), cloud(200, seed=0))


@pytest.fixture(scope='module')
def sparse(photos) -> SparseMap:
    return build_sparse_map(photos.views, photos.keypoints, SparseMapConfig())


def test_points_are_found_once_each_and_within_their_noise(photos, sparse):
    truth = photos.point_of(sparse)
    assert len(set(truth.tolist())) == len(truth) > 190
    errors = np.linalg.norm(sparse.points_N3 - photos.points[truth], axis=1)
    assert np.median(errors) < 0.01
    # The sigmas are for keypoints of one pixel noise, which these are better than.
    assert (errors < 3.0 * sparse.sigmas_N).mean() > 0.98
    assert sparse.sigmas_N.max() < 0.1


def test_observations_are_those_of_the_photos(photos, sparse):
    counts = np.bincount(sparse.point_of_M)
    assert counts.min() >= 2
    pairs = np.stack([sparse.point_of_M, sparse.frame_of_M], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    for frame, keypoints in enumerate(photos.keypoints):
        mine = sparse.pixels_M2[sparse.frame_of_M == frame]
        assert {tuple(p) for p in mine} <= {tuple(p) for p in keypoints.pixels_N2}
        assert len(mine) > 0.9 * len(keypoints)


def test_observations_that_disagree_are_dropped(photos):
    spoiled = Photos(photos.views, photos.points)
    # Along the epipolar lines of all other views at once there is no place to move to.
    spoiled.keypoints[2].pixels_N2[:40] += [12.0, 9.0]
    sparse = build_sparse_map(spoiled.views, spoiled.keypoints, SparseMapConfig())
    kept = {tuple(p) for p in sparse.pixels_M2[sparse.frame_of_M == 2]}
    assert sum(tuple(p) in kept for p in spoiled.keypoints[2].pixels_N2[:40]) <= 2
    truth = spoiled.point_of(sparse)
    errors = np.linalg.norm(sparse.points_N3 - spoiled.points[truth], axis=1)
    assert errors.max() < 0.05


def test_observations_that_fit_no_point_are_dropped_after_triangulation(photos):
    spoiled = Photos(photos.views, photos.points)
    spoiled.keypoints[2].pixels_N2[:40] += [12.0, 9.0]
    config = SparseMapConfig(max_epipolar_px=100.0)
    sparse = build_sparse_map(spoiled.views, spoiled.keypoints, config)
    kept = {tuple(p) for p in sparse.pixels_M2[sparse.frame_of_M == 2]}
    assert sum(tuple(p) in kept for p in spoiled.keypoints[2].pixels_N2[:40]) <= 2
    assert sum(tuple(p) in kept for p in spoiled.keypoints[2].pixels_N2[40:]) > 100


def test_points_seen_from_almost_one_place_are_dropped():
    points = cloud(100, seed=1)
    views = arc_of_views(2, spread_deg=0.3)
    photos = Photos(views, points)
    narrow = build_sparse_map(views, photos.keypoints, SparseMapConfig())
    assert len(narrow.points_N3) == 0
    assert narrow.point_of_M.shape == narrow.frame_of_M.shape == (0,)
    assert narrow.descriptors_M128.shape == (0, 128)


def test_photos_without_anything_in_common_give_an_empty_map():
    views = arc_of_views(2)
    empty = Keypoints(
        np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 128), np.uint8)
    )
    sparse = build_sparse_map(views, [empty, empty], SparseMapConfig())
    assert len(sparse.points_N3) == 0
    assert len(sparse.without_frames(frozenset({0}), views).points_N3) == 0
    assert len(sparse_index(sparse, SceneTransform((0.0, 0.0, 0.0), 1.0, 0.1, 30.0))) == 0


def test_the_work_can_be_stopped_and_is_reported(photos):
    fractions = []
    build_sparse_map(photos.views, photos.keypoints, SparseMapConfig(), report=fractions.append)
    assert fractions[-1] == 1.0
    assert (np.diff(fractions) > 0).all()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_sparse_map(photos.views, photos.keypoints, SparseMapConfig(), check_stop=stop)


@pytest.mark.parametrize('frames', [frozenset({0}), frozenset({3}), frozenset({1, 4})])
def test_a_map_without_frames_has_forgotten_them(photos, sparse, frames):
    hidden = np.isin(sparse.frame_of_M, sorted(frames))
    without = sparse.without_frames(frames, photos.views)
    assert set(without.frame_of_M.tolist()) == set(range(6)) - frames
    own = {row.tobytes() for row in sparse.descriptors_M128[hidden]}
    assert not own & {row.tobytes() for row in without.descriptors_M128}
    assert np.bincount(without.point_of_M).min() >= 2
    # Whatever those frames saw, the points come out the same ...
    pixels = sparse.pixels_M2.copy()
    pixels[hidden] = 0.0
    moved = replace(sparse, pixels_M2=pixels).without_frames(frames, photos.views)
    np.testing.assert_allclose(moved.points_N3, without.points_N3)
    np.testing.assert_allclose(moved.sigmas_N, without.sigmas_N)
    # ... and they are not those that the frames helped to place.
    truth, before = photos.point_of(without), photos.point_of(sparse)
    both = [(i, int(np.nonzero(before == t)[0][0])) for i, t in enumerate(truth)]
    helped = set(sparse.point_of_M[hidden].tolist())
    growth = []
    for new, old in both:
        if old in helped:
            assert not np.array_equal(without.points_N3[new], sparse.points_N3[old])
            growth.append(without.sigmas_N[new] / sparse.sigmas_N[old])
        else:
            np.testing.assert_array_equal(without.points_N3[new], sparse.points_N3[old])
    assert np.median(growth) > 1.001
    errors = np.linalg.norm(without.points_N3 - photos.points[truth], axis=1)
    assert np.median(errors) < 0.012


def test_a_map_of_two_frames_is_empty_without_one():
    views = arc_of_views(2, spread_deg=30.0)
    photos = Photos(views, cloud(50, seed=2))
    sparse = build_sparse_map(views, photos.keypoints, SparseMapConfig())
    assert len(sparse.points_N3) > 20
    assert len(sparse.without_frames(frozenset({1}), views).points_N3) == 0


def test_exact_matches_lie_on_their_epipolar_lines():
    points = cloud(30, seed=3)
    first, second = arc_of_views(2)
    second = View(CAMERA.resized(320, 200), second.T_map_cam)
    pixels = [projected(view, points) for view in (first, second)]
    np.testing.assert_allclose(epipolar_distances_px(first, second, *pixels), 0.0, atol=1e-8)


def test_the_epipolar_distance_is_the_larger_of_the_two_images():
    # Side by side with parallel axes: epipolar lines are the rows.
    T = look_at(np.array([4.0, 0.0, 0.0]), np.zeros(3))
    beside = T.copy()
    beside[:3, 3] += 0.5 * T[:3, 0]
    first, second = View(CAMERA, T), View(CAMERA.resized(320, 240), beside)
    points = cloud(30, seed=4)
    pixels = projected(second, points) + [7.0, 3.0]
    found = epipolar_distances_px(first, second, projected(first, points), pixels)
    np.testing.assert_allclose(found, 6.0, rtol=1e-6)


def test_neighbours_look_the_same_way_and_each_photo_has_some():
    views = arc_of_views(12, spread_deg=330.0)
    pairs = neighbouring_views(views, 4)
    assert all(i < j for i, j in pairs)
    assert len(set(pairs)) == len(pairs)
    axes = np.stack([view.T_map_cam[:3, 2] for view in views])
    angles = [np.rad2deg(np.arccos(axes[i] @ axes[j])) for i, j in pairs]
    assert max(angles) <= 70.0
    partners = {i: 0 for i in range(12)}
    for i, j in pairs:
        partners[i] += 1
        partners[j] += 1
    assert min(partners.values()) >= 2
    assert all((i, i + 1) in pairs for i in range(11))


def test_an_index_has_points_and_sigmas_in_the_field_frame(photos, sparse):
    transform = SceneTransform((1.0, 2.0, 3.0), 0.25, 0.1, 30.0)
    index = sparse_index(sparse, transform)
    np.testing.assert_allclose(index.points_N3, (sparse.points_N3 - [1.0, 2.0, 3.0]) * 0.25)
    np.testing.assert_allclose(index.sigmas_N, 0.25 * sparse.sigmas_N)
    norms = index.descriptors_N128.norm(dim=1).numpy()
    np.testing.assert_allclose(norms, 1.0, atol=1e-5)
