"""Which reference view looks most like a query, and turned by how much."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from posefield.geometry.camera import Camera, covered_share
from posefield.geometry.poses import perturbed, pose_errors
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.retrieval import (
    CELL_PX,
    MAX_BEYOND,
    MIN_COVERAGE,
    MIN_OVERLAP,
    OVERLAP_WEIGHT,
    GlobalDescriptor,
    ReferenceGrids,
    _covered_cells,
    _largest_shift,
    pose_distance,
    shifted_similarity,
    turned,
)
from support.textured_room import TexturedRoom, look_at, pinhole

CAMERA = pinhole(44, 32, 36.0)
WIDE = pinhole(88, 64, 72.0)
ROOM = TexturedRoom(seed=4)
NOTHING = frozenset()


def poses_around(count: int) -> np.ndarray:
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    centres = 0.5 * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
    return np.stack([look_at(centre, 3.0 * centre) for centre in centres])


def view(camera: Camera, T_field_cam: np.ndarray) -> SizedImage:
    return SizedImage(ROOM.view(camera, T_field_cam)[0], camera)


def images_at(poses: np.ndarray) -> np.ndarray:
    return np.stack([ROOM.view(CAMERA, pose)[0] for pose in poses])


def turned_by(T: np.ndarray, yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """Return the pose of a camera that has turned in place (yaw right, pitch up)."""
    T = T.copy()
    T[:3, :3] @= Rotation.from_euler('yx', [yaw_deg, pitch_deg], degrees=True).as_matrix()
    return T


@pytest.fixture(scope='module')
def poses() -> np.ndarray:
    return poses_around(16)


@pytest.fixture(scope='module')
def descriptors(poses) -> torch.Tensor:
    return GlobalDescriptor()(images_at(poses))


@pytest.fixture(scope='module')
def references(poses, descriptors) -> ReferenceGrids:
    return ReferenceGrids.from_descriptors(descriptors, poses, CAMERA)


def test_descriptors_have_unit_length_and_find_themselves(poses, descriptors):
    assert descriptors.shape == (16, GlobalDescriptor().length(44, 32))
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(16))
    assert torch.equal((descriptors @ descriptors.T).argmax(dim=1), torch.arange(16))
    one = GlobalDescriptor()(images_at(poses[3:4]))
    torch.testing.assert_close(one[0], descriptors[3], atol=1e-5, rtol=0.0)


def test_descriptors_are_the_grids_of_views_in_rows(poses, references):
    assert references.grids_NCHW.shape == (16, GlobalDescriptor().channels, 8, 11)
    views = [SizedImage(image, CAMERA) for image in images_at(poses[:2])]
    small = ReferenceGrids.from_views(views, poses[:2], CAMERA).grids_NCHW
    cosine = torch.cosine_similarity(small.flatten(1), references.grids_NCHW[:2].flatten(1))
    assert (cosine > 0.98).all()  # a view of the same size is smoothed a little


def test_a_view_nearby_in_other_light_is_recognised(poses, references):
    generator = np.random.default_rng(0)
    right = 0
    for pose in poses:
        image = 0.5 * ROOM.view(CAMERA, perturbed(pose, 0.05, 3.0, generator))[0] + 0.1
        found = references.nearest(SizedImage(image, CAMERA), 1, 0.1, NOTHING)[0]
        distances = [np.linalg.norm(found[:3, 3] - other[:3, 3]) for other in poses]
        right += int(np.argmin(distances)) == int(
            np.argmin([pose_distance(pose, T) for T in poses])
        )
    assert right >= 15


def slow_similarity(query, mask, reference, largest):
    """Compare two grids (lists by channel, row, column) cell by cell at every shift."""
    height, width = len(mask), len(mask[0])
    cells = sum(sum(row) for row in mask)
    best, best_shift = -math.inf, None
    for down in range(-largest, largest + 1):
        for right in range(-largest, largest + 1):
            product = query_energy = reference_energy = 0.0
            count = 0
            for y in range(height):
                for x in range(width):
                    yy, xx = y + down, x + right
                    if not mask[y][x] or not (0 <= yy < height and 0 <= xx < width):
                        continue
                    count += 1
                    for a, b in zip(query, reference, strict=True):
                        product += a[y][x] * b[yy][xx]
                        query_energy += a[y][x] ** 2
                        reference_energy += b[yy][xx] ** 2
            score = -1.0
            if count / cells >= MIN_OVERLAP:
                cosine = product / math.sqrt(query_energy * reference_energy)
                score = cosine - OVERLAP_WEIGHT * (1.0 - count / cells)
            if score > best:
                best, best_shift = score, [right, down]
    return best, best_shift


@pytest.mark.parametrize('masked', [False, True])
def test_similarities_are_those_of_a_plain_comparison(masked):
    generator = torch.Generator().manual_seed(int(masked))
    references = torch.rand(4, 2, 4, 5, generator=generator) - 0.3
    query = torch.rand(2, 4, 5, generator=generator) - 0.3
    # One that really is shifted, and one that is the same: right 1, up 1.
    references[2, :, :3, 1:] = query[:, 1:, :4]
    references[3] = query
    mask = torch.ones(4, 5)
    if masked:
        mask[0], mask[:, 0] = 0.0, 0.0
    found, shifts = shifted_similarity(query, mask, references, 3)
    assert found.shape == (4,) and shifts.shape == (4, 2)
    for reference, similarity, shift in zip(references, found, shifts, strict=True):
        expected = slow_similarity(query.tolist(), mask.tolist(), reference.tolist(), 3)
        assert float(similarity) == pytest.approx(expected[0], abs=1e-5)
        assert shift.tolist() == expected[1]
    assert shifts[2].tolist() == [1, -1]
    assert shifts[3].tolist() == [0, 0]
    assert float(found[3]) == pytest.approx(1.0, abs=1e-6)


def test_the_length_of_references_does_not_matter():
    generator = torch.Generator().manual_seed(3)
    references = torch.rand(3, 2, 4, 5, generator=generator)
    query, mask = torch.rand(2, 4, 5, generator=generator), torch.ones(4, 5)
    first = shifted_similarity(query, mask, references, 1)
    second = shifted_similarity(7.0 * query, mask, 0.2 * references, 1)
    torch.testing.assert_close(first, second)


def test_empty_grids_are_like_nothing():
    found, shifts = shifted_similarity(
        torch.zeros(2, 4, 5), torch.ones(4, 5), torch.zeros(1, 2, 4, 5), 2
    )
    assert found.tolist() == [0.0] and shifts.tolist() == [[0, 0]]


@pytest.mark.parametrize('yaw_deg', [-8.0, 0.0, 8.0])
@pytest.mark.parametrize('pitch_deg', [-8.0, 0.0, 8.0])
def test_a_turned_camera_is_found_by_its_shift(yaw_deg, pitch_deg):
    T = look_at(np.array([-0.5, -0.3, 0.1]), np.array([1.0, 0.5, -0.2]))
    references = ReferenceGrids.from_views([view(WIDE, T)], T[None], WIDE)
    T_query = turned_by(T, yaw_deg, pitch_deg)
    query = view(pinhole(160, 120, 125.0), T_query)
    (found,) = references.nearest(query, 1, 0.1, NOTHING)
    np.testing.assert_array_equal(found[:3, 3], T[:3, 3])
    before, after = (pose_errors(pose, T_query).rotation_deg for pose in (T, found))
    assert after <= 0.35 * before + 1e-6
    if (yaw_deg, pitch_deg) == (0.0, 0.0):
        np.testing.assert_array_equal(found, T)


@pytest.mark.parametrize('right_px', [-20.0, 0.0, 13.0])
@pytest.mark.parametrize('down_px', [-7.0, 0.0, 30.0])
def test_a_turned_camera_looks_at_the_pixel_named(right_px, down_px):
    camera = Camera(88, 64, 70.0, 75.0, 40.0, 35.0)
    T_cam_turned = turned(camera, right_px, down_px)
    pixels, _ = camera.project(T_cam_turned[:3, 2])
    np.testing.assert_allclose(pixels[0], [40.0 + right_px, 35.0 + down_px], atol=1e-9)
    R = T_cam_turned[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    np.testing.assert_array_equal(T_cam_turned[:3, 3], np.zeros(3))
    # By the shortest way: not rolled about its axis.
    rotvec = Rotation.from_matrix(R).as_rotvec()
    assert rotvec[2] == pytest.approx(0.0, abs=1e-12)


def test_the_most_similar_views_come_first(poses, references):
    query = view(CAMERA, perturbed(poses[5], 0.03, 2.0, np.random.default_rng(1)))
    found = references.nearest(query, 16, 0.01, NOTHING)
    assert len(found) == 16
    grid = GlobalDescriptor().grids(query.image_HW3[None])[0]
    similarity, _ = shifted_similarity(grid, torch.ones(8, 11), references.grids_NCHW, MAX_BEYOND)
    order = [int(np.argmin(np.linalg.norm(poses[:, :3, 3] - T[:3, 3], axis=1))) for T in found]
    assert order[0] == int(similarity.argmax()) == 5
    ranked = similarity[order]
    assert (ranked[1:] <= ranked[:-1] + 0.02).all()  # the query is smoothed a little more
    few = references.nearest(query, 2, 0.01, NOTHING)
    np.testing.assert_array_equal(few, found[:2])


def test_excluded_references_are_not_found(poses, references):
    query = view(CAMERA, poses[5])
    (best,) = references.nearest(query, 1, 0.1, NOTHING)
    np.testing.assert_array_equal(best, poses[5])
    others = references.nearest(query, 16, 0.01, frozenset({5, 0}))
    centres = np.stack(others)[:, :3, 3]
    for index, pose in enumerate(poses):
        distance = np.linalg.norm(centres - pose[:3, 3], axis=1).min()
        assert (distance > 0.05) == (index in (0, 5))
    assert references.nearest(query, 3, 0.1, frozenset(range(16))) == []


def test_views_of_nearly_the_same_pose_count_once(poses):
    same = np.repeat(poses[[2, 9]], 3, axis=0)
    same[:, 0, 3] += 0.001 * np.arange(6)
    references = ReferenceGrids.from_views([view(CAMERA, T) for T in same], same, CAMERA)
    found = references.nearest(view(CAMERA, same[0]), 6, 0.15, NOTHING)
    assert len(found) < 6
    for i, first in enumerate(found):
        assert all(pose_distance(first, second) > 0.15 for second in found[:i])
    np.testing.assert_array_equal(found[0], same[0])


def test_no_references_give_no_poses():
    empty = torch.zeros(0, GlobalDescriptor().length(44, 32))
    references = ReferenceGrids.from_descriptors(empty, np.zeros((0, 4, 4)), CAMERA)
    assert references.nearest(view(CAMERA, np.eye(4)), 3, 0.1, NOTHING) == []


def test_the_distance_of_poses_adds_metres_and_radians():
    T = look_at(np.zeros(3), np.array([1.0, 0.0, 0.0]))
    moved = T.copy()
    moved[:3, 3] = [0.3, 0.0, 0.4]
    assert pose_distance(T, moved) == pytest.approx(0.5)
    assert pose_distance(T, turned_by(T, 30.0, 0.0)) == pytest.approx(math.radians(30.0))
    assert pose_distance(T, turned_by(moved, 0.0, 30.0)) == pytest.approx(0.5 + math.pi / 6.0)


def test_the_share_that_a_query_covers_is_that_of_its_narrower_side():
    reference = pinhole(80, 60, 70.0)
    assert covered_share(pinhole(320, 240, 280.0), reference) == pytest.approx(1.0)
    assert covered_share(pinhole(320, 240, 100.0), reference) == 1.0  # wider
    assert covered_share(pinhole(128, 96, 280.0), reference) == pytest.approx(0.4)
    assert covered_share(pinhole(320, 60, 280.0), reference) == pytest.approx(0.25)
    assert covered_share(pinhole(80, 240, 280.0), reference) == pytest.approx(0.25)


@pytest.mark.parametrize(
    'camera',
    [
        pinhole(320, 240, 280.0),
        pinhole(128, 96, 280.0),
        Camera(128, 96, 280.0, 300.0, 100.0, 20.0),
        pinhole(3, 3, 280.0),
    ],
)
def test_covered_cells_are_those_that_the_query_sees_most_of(camera):
    reference = pinhole(82, 61, 70.0)
    found = _covered_cells(camera, reference)
    assert found.shape == (15, 20)
    for row in range(15):
        for column in range(20):
            seen = 0
            for y in range(row * CELL_PX, (row + 1) * CELL_PX):
                for x in range(column * CELL_PX, (column + 1) * CELL_PX):
                    ray = reference.unproject(np.array([[x, y]], dtype=np.float64))
                    seen += bool(camera.project(ray)[1][0])
            expected = seen >= MIN_COVERAGE * CELL_PX**2 or (row, column) == (7, 10)
            assert found[row, column] == float(expected), (row, column)


def test_shifts_reach_from_the_query_beyond_every_border():
    mask = torch.zeros(8, 11)
    mask[3:5, 2:6] = 1.0
    assert _largest_shift(mask) == 5 + MAX_BEYOND  # columns 6 to 10 are free
    mask[:, 2:] = 1.0
    assert _largest_shift(mask) == 2 + MAX_BEYOND
    assert _largest_shift(torch.ones(8, 11)) == MAX_BEYOND


@pytest.mark.parametrize(('yaw_deg', 'pitch_deg'), [(0.0, 0.0), (12.0, 4.0), (-9.0, -8.0)])
def test_a_narrow_query_is_found_inside_enlarged_views(yaw_deg, pitch_deg):
    poses = poses_around(8)
    photos = [view(pinhole(160, 120, 130.0), T) for T in poses]
    T_query = turned_by(poses[3], yaw_deg, pitch_deg)
    query = view(pinhole(64, 48, 130.0), T_query)  # the middle 40 per cent
    share = covered_share(query.camera, CAMERA)
    assert 0.3 < share < 0.5
    enlarged = CAMERA.with_short_side(round(CAMERA.height / share))
    references = ReferenceGrids.from_views(photos, poses, enlarged)
    (found,) = references.nearest(query, 1, 0.1, NOTHING)
    np.testing.assert_array_equal(found[:3, 3], poses[3][:3, 3])
    assert pose_errors(found, T_query).rotation_deg < 2.5
