"""Batches of training images, their pixels and rays (watch_it_move.md 1.3, 4, 5.4, 5.5)."""

import math

import cv2
import numpy as np
import pytest
import torch

from posefield.articulation.paper_images import ImageBatch, ImageBatchSource, pixel_scale
from posefield.data.multiview import Multiview
from posefield.data.scene_normalisation import SceneNormalisation
from support.multiviews import write_ball
from support.paper_scene import ball_centres, tiny_source

NORMALISATION = SceneNormalisation(np.array([0.1, -0.2, 0.3]), 0.7)


def _batch(masks_BHW):
    masks = torch.as_tensor(masks_BHW, dtype=torch.uint8)
    images = torch.randint(
        0, 256, (*masks.shape, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    size = masks.shape[0]
    return ImageBatch(
        images,
        masks,
        torch.arange(size),
        torch.tensor([[100.0, 90.0, 31.5, 20.0]] * size),
        torch.eye(4).expand(size, 4, 4),
    )


def _scores(batch, seed=1):
    shape = (len(batch.masks_BHW), batch.masks_BHW[0].numel())
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_blocks_are_64_pixels_of_a_512_image():
    masks = torch.zeros(2, 512, 512, dtype=torch.uint8)
    masks[0, 100, 300] = 1
    masks[1, 511, 0] = 2
    found = _batch(masks).blocks()
    expected = torch.zeros(2, 512, 512, dtype=torch.bool)
    expected[0, 64:128, 256:320] = True
    expected[1, 448:, :64] = True
    assert torch.equal(found, expected)


def test_blocks_of_other_sizes_are_in_proportion_and_may_be_cut_off():
    masks = torch.zeros(1, 50, 70, dtype=torch.uint8)
    masks[0, 49, 69] = 1
    size = round(64 * pixel_scale(50, 70))
    assert size == 7
    on = _batch(masks).blocks()[0]
    assert on.sum() == 1 * 7
    assert on[49, 63:].all()


def test_pixels_are_distinct_and_in_the_blocks():
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[:, 20:30, 24:40] = 1
    batch = _batch(masks)
    pixels = batch.choose_pixels(_scores(batch), 100)
    assert pixels.shape == (2, 100)
    assert all(len(set(row.tolist())) == 100 for row in pixels)
    assert batch.seen_at(pixels).in_blocks_BR.all()
    share = (batch.masks_at(pixels) == 1).float().mean()
    assert 0.4 < share < 1.0


def test_pixels_elsewhere_come_before_unreliable_ones():
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 0, 0] = 1
    masks[0, 8:16, 8:32] = 2
    batch = _batch(masks)
    reliable_in_blocks = int((batch.blocks() & (batch.masks_BHW != 2)).sum())
    reliable = int((masks != 2).sum())
    for count in (reliable_in_blocks, reliable, 64 * 64):
        seen = batch.seen_at(batch.choose_pixels(_scores(batch), count))
        assert int(seen.in_blocks_BR[seen.masks_BR != 2].sum()) == reliable_in_blocks
        assert int((seen.masks_BR == 2).sum()) == max(0, count - reliable)


def test_silhouette_pixels_are_of_the_object_first():
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 10:50, 10:50] = 1
    masks[1, 10:14, 10:20] = 1
    masks[1, 30, 30:40] = 2
    batch = _batch(masks)
    pixels = batch.choose_silhouette(_scores(batch))
    assert pixels.shape == (2, 64 * 64 // 16)
    found = batch.masks_at(pixels)
    assert (found[0] == 1).all()
    assert (found[1] == 1).sum() == 40
    assert (found[1] == 2).sum() == 10
    again = batch.choose_silhouette(_scores(batch, seed=2))
    assert set(again[0].tolist()) != set(pixels[0].tolist())


def test_every_second_pixel_in_both_directions():
    batch = _batch(torch.zeros(2, 6, 8))
    positions = batch.positions(batch.every_second())
    assert positions.shape == (2, 12, 2)
    assert {tuple(p) for p in positions[1].tolist()} == {
        (x, y) for x in (0.0, 2.0, 4.0, 6.0) for y in (0.0, 2.0, 4.0)
    }


def test_colours_are_from_minus_one_to_one():
    batch = _batch(torch.ones(1, 4, 4))
    seen = batch.seen_at(torch.tensor([[5, 14]]))
    expected = batch.images_BHW3[0, [1, 3], [1, 2]].float() / 127.5 - 1
    torch.testing.assert_close(seen.colours_BR3[0], expected)


def test_visible_is_more_than_one_pixel():
    masks = torch.zeros(3, 4, 4)
    masks[1, 0, 0] = 1
    masks[2, 0, :2] = 1
    masks[0, 0] = 2
    assert _batch(masks).visible_B.tolist() == [False, False, True]


def test_rays_and_projections_agree():
    batch = tiny_source().batch(np.array([0, 1, 2]), np.array([0, 3, 5]))
    pixels = torch.randint(0, 32 * 32, (3, 10), generator=torch.Generator().manual_seed(0))
    rays = batch.rays(pixels, torch.eye(4).expand(3, 2, 4, 4))
    points = rays.points(torch.full((3, 10, 1), 1.7))[:, :, 0]
    torch.testing.assert_close(batch.project(points), batch.positions(pixels), atol=1e-3, rtol=0)
    torch.testing.assert_close(rays.origins_B3, batch.T_scene_cam_B44[:, :3, 3])
    depths = ((points - rays.origins_B3[:, None]) * rays.axes_B3[:, None]).sum(2)
    torch.testing.assert_close(depths, torch.full((3, 10), 1.7))


def test_the_pixel_of_a_balls_centre_is_of_the_ball():
    source = tiny_source()
    for frame in (0, 5):
        batch = source.batch(np.arange(3), np.full(3, frame))
        centres = torch.tensor(ball_centres(frame, 6), dtype=torch.float32)
        x, y = batch.project(centres.expand(3, 2, 3)).round().long().unbind(2)
        assert (batch.masks_BHW[torch.arange(3)[:, None], y, x] == 1).all()


def test_points_behind_a_camera_have_finite_pixels_and_gradients():
    batch = _batch(torch.zeros(1, 4, 4))
    points = torch.tensor([[[0.1, 0.2, -3.0], [0.0, 0.0, 0.0]]], requires_grad=True)
    pixels = batch.project(points)
    pixels.square().sum().backward()
    assert pixels.isfinite().all()
    assert points.grad.isfinite().all()


@pytest.fixture
def ball(tmp_path) -> Multiview:
    return write_ball(tmp_path / 'ball', cameras=3, held_out=1, frames=5, held_out_frames=(4,))


def test_a_recording_gives_its_training_images_on_its_background(ball):
    source = ImageBatchSource.from_multiview(ball, NORMALISATION)
    assert (source.views, source.frames, source.pixels) == (3, 4, 48 * 48)
    assert source.background == -1.0
    batch = source.batch(np.array([1]), np.array([3]))
    image, mask = ball.read_masked(1, 3)
    assert torch.equal(batch.masks_BHW[0], torch.from_numpy(mask))
    np.testing.assert_allclose(batch.images_BHW3[0] / 255, image, atol=1e-3)
    rig = ball.cameras[1]
    point = rig.T_world_cam @ [0.1, -0.2, 2.0, 1.0]
    in_scene = torch.tensor(NORMALISATION.point_to_scene(point[:3]), dtype=torch.float32)
    expected, _ = rig.camera.project(np.array([[0.1, -0.2, 2.0]]))
    np.testing.assert_allclose(batch.project(in_scene[None, None])[0], expected, atol=1e-3)


def test_smaller_images_keep_their_pixels_where_they_are(ball):
    source = ImageBatchSource.from_multiview(ball, NORMALISATION, size=24)
    assert source.pixels == 24 * 24
    batch = source.batch(np.array([0]), np.array([0]))
    rig = ball.cameras[0]
    point = NORMALISATION.point_to_scene((rig.T_world_cam @ [0.2, 0.1, 2.0, 1.0])[:3])
    pixel, _ = rig.camera.project(np.array([[0.2, 0.1, 2.0]]))
    found = batch.project(torch.tensor(point, dtype=torch.float32)[None, None])[0]
    np.testing.assert_allclose(found, (pixel + 0.5) / 2 - 0.5, atol=1e-3)
    whole = (ball.read_mask(0, 0) == 1).mean()
    assert float((batch.masks_BHW == 1).float().mean()) == pytest.approx(whole, rel=0.15)


def test_a_small_pixel_with_anything_unreliable_in_it_is_unreliable(ball):
    path = ball.mask_path(0, 0)
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    grey[11, 30] = 128
    cv2.imwrite(str(path), grey)
    source = ImageBatchSource.from_multiview(ball, NORMALISATION, size=24)
    masks = source.batch(np.array([0]), np.array([0])).masks_BHW[0]
    assert masks[5, 15] == 2
    assert (masks == 2).sum() == 1


def test_the_closest_camera_is_in_scene_units():
    assert tiny_source(distance=2.0).closest_camera == pytest.approx(2.0 * math.hypot(1, 0.4))
