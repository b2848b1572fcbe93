"""Pixels, rays, labels, masks and batches that a feature synthesizer is trained on."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from posefield.data.scene import Frame
from posefield.errors import DataError, LearningError
from posefield.features.gradient import GradientFeatures
from posefield.fields.act import luminance_histogram
from posefield.geometry.camera import Camera
from posefield.relocalization.nefes_batches import RayBatches
from posefield.relocalization.nefes_data import NefesPhoto, prepare_nefes_photo
from posefield.relocalization.photos import to_u8
from support.nefes_room import (
    CAMERA,
    ROOM,
    SHORT_SIDE,
    TRANSFORM,
    room_photos,
    room_poses,
    room_views,
)
from support.textured_room import pinhole

WIDTH, HEIGHT = 24, 18
PIXELS = WIDTH * HEIGHT


class CountedFeatures(GradientFeatures):
    """Counts how often it is asked."""

    calls = 0

    def __call__(self, image_B3HW):
        self.calls += 1
        return super().__call__(image_B3HW)


@pytest.fixture(scope='module')
def views():
    return room_views()


def _all_pixels(photo: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((PIXELS,), photo), torch.arange(PIXELS)


def test_rays_and_colours_agree_with_the_room(views):
    for photo in (0, 5):
        photos, pixels = _all_pixels(photo)
        origins, directions = views.rays(photos, pixels, views.T_field_cam_N44[photos])
        T_map_cam = room_poses(6)[photo]
        camera = views.cameras[photo]
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        _, depths = ROOM.view(camera, T_map_cam)
        scaled = torch.tensor(depths.reshape(-1, 1) * TRANSFORM.scale)
        points = ((origins + scaled * directions) / TRANSFORM.scale).numpy()
        seen = views.colours(photos, pixels).numpy()
        # What is at the ends of the rays has the colour of the pixels, up to their size.
        assert np.abs(ROOM.colours(points) - seen).mean() < 0.02


class Itself:
    """Features that are the image itself."""

    channels = 3

    def __call__(self, image_B3HW):
        return image_B3HW


def test_colours_and_labels_are_at_the_same_places():
    views = room_views(extractor=Itself())
    generator = torch.Generator().manual_seed(0)
    photos = torch.randint(6, (500,), generator=generator)
    pixels = torch.randint(PIXELS, (500,), generator=generator)
    difference = views.features(photos, pixels) - views.colours(photos, pixels)
    assert difference.abs().max() < 0.5 / 255 + 1e-3


def test_a_reduced_pixel_is_the_mean_of_the_middle_of_what_it_covers():
    photo = room_photos(1)[0]
    ramp = np.repeat(np.arange(0, 96, 2, dtype=np.uint8)[None, :, None], 36, axis=0).repeat(
        3, axis=2
    )
    views = room_views([replace(photo, image_u8=ramp)] * 2)
    seen = views.colours(*_all_pixels(0)).reshape(HEIGHT, WIDTH, 3) * 255
    # Pixel 3 of 24 is centred at (3 + 0.5) * 2 - 0.5 = 6.5 of 48.
    assert seen[4, 3].tolist() == pytest.approx([13.0] * 3, abs=1e-4)


def test_labels_are_kept_as_far_as_memory_allows():
    one = PIXELS * GradientFeatures().channels * 2
    results = {}
    for room, expected in ((0, 8), (one, 5), (10 * one, 2)):
        counted = CountedFeatures()
        views = room_views(room_photos(2), extractor=counted, label_bytes=room)
        photos = torch.tensor([0, 1, 0, 1, 1])
        for _ in range(4):
            results[room] = views.features(photos, torch.tensor([0, 3, 5, 400, 7]))
        assert counted.calls == expected
    assert torch.equal(results[0], results[10 * one])
    assert results[0].shape == (5, 11)


def test_histograms_are_of_the_photos(views):
    image = torch.tensor(room_photos()[3].image_u8).permute(2, 0, 1)[None] / 255.0
    assert torch.equal(views.histograms_N10[3], luminance_histogram(image)[0])
    assert views.histograms_N10[3].sum() == pytest.approx(100, abs=5)


def test_photos_of_several_sizes():
    camera = Camera(60, 30, 50.0, 45.0, 28.0, 15.0)
    T = room_poses(2)[1]
    other = NefesPhoto('wide', T, to_u8(ROOM.view(camera, T)[0]), camera)
    views = room_views([*room_photos(2), other])
    assert (views.cameras[2].width, views.cameras[2].height) == (36, SHORT_SIDE)
    photos, pixels = torch.tensor([0, 2, 2]), torch.tensor([PIXELS - 1, 0, 36 * 18 - 1])
    _, directions = views.rays(photos, pixels, torch.eye(4).expand(3, 4, 4))
    expected = [
        views.cameras[0].unproject(np.array([[23, 17]]))[0],
        views.cameras[2].unproject(np.array([[0, 0]]))[0],
        views.cameras[2].unproject(np.array([[35, 17]]))[0],
    ]
    np.testing.assert_allclose(directions.numpy(), expected, atol=1e-6)
    assert views.features(photos, pixels).shape == (3, 11)
    batch = RayBatches(views, 4, seed=0).patches(0, count=3, size=18)
    assert len(batch.photos_R) == 3 * 3 * 18 * 18


def test_an_epoch_passes_over_all_photos_and_the_next_one_in_another_order(views):
    batches = RayBatches(views, 4, seed=0)
    epochs = [batches.photos(step) for step in range(4)]
    assert [len(rows) for rows in epochs] == [4, 2, 4, 2]
    assert sorted(epochs[0] + epochs[1]) == sorted(epochs[2] + epochs[3]) == list(range(6))
    assert epochs[0] + epochs[1] != epochs[2] + epochs[3]
    assert RayBatches(views, 4, seed=0).photos(2) == epochs[2]
    assert RayBatches(views, 100, seed=0).photos(7) != list(range(6))


def test_pixels_are_drawn_without_replacement(views):
    batch = RayBatches(views, 4, seed=0).pixels(0, 300)
    assert batch.share == 1.0
    assert float(batch.weights_R.sum()) == pytest.approx(1.0)
    assert len(batch.pixels_R) == 1200
    for photo in batch.photos_R.unique():
        mine = batch.pixels_R[batch.photos_R == photo]
        assert len(mine.unique()) == len(mine) == 300
        assert mine.max() < PIXELS
    everything = RayBatches(views, 1, seed=0).pixels(0, 10 * PIXELS)
    assert everything.pixels_R.sort().values.tolist() == list(range(PIXELS))
    again, other = (RayBatches(views, 4, seed=seed).pixels(0, 300) for seed in (0, 1))
    assert torch.equal(again.pixels_R, batch.pixels_R)
    assert not torch.equal(other.pixels_R, batch.pixels_R)
    later = RayBatches(views, 4, seed=0).pixels(2, 300)
    assert not torch.equal(later.pixels_R, batch.pixels_R)


def test_patches_are_squares_at_the_same_places_in_all_photos(views):
    batches = RayBatches(views, 4, seed=0)
    corners = set()
    for step in range(0, 60, 2):
        batch = batches.patches(step, 7, 16)
        pixels = batch.pixels_R.reshape(4, 7, 16, 16)
        assert (pixels == pixels[0]).all()
        assert (batch.photos_R.reshape(4, -1) == batch.photos_R.reshape(4, -1)[:, :1]).all()
        rows, columns = pixels // WIDTH, pixels % WIDTH
        assert (rows == rows[..., :1, :1] + torch.arange(16)[:, None]).all()
        assert (columns == columns[..., :1, :1] + torch.arange(16)).all()
        corners |= {divmod(int(p), WIDTH) for p in pixels[0, :, 0, 0]}
    # Every place is possible, the last row and column too.
    assert corners == {(y, x) for y in range(3) for x in range(9)}


@pytest.mark.parametrize(
    ('max_rays', 'sizes'), [(10_000, [1792]), (600, [512] * 3 + [256]), (1, [256] * 7)]
)
def test_pieces_of_a_batch_are_whole_patches(views, max_rays, sizes):
    batch = RayBatches(views, 1, 0, 1, 2).patches(0, 14, 16)
    pieces = batch.pieces(max_rays)
    assert [len(piece.photos_R) for piece in pieces] == sizes
    assert torch.equal(torch.cat([piece.pixels_R for piece in pieces]), batch.pixels_R)
    assert torch.equal(torch.cat([piece.weights_R for piece in pieces]), batch.weights_R)
    assert sum(piece.share for piece in pieces) == pytest.approx(batch.share)


def test_a_patch_larger_than_the_view_is_refused(views):
    with pytest.raises(LearningError, match='20 pixels a side, .* reduced to 24x18'):
        RayBatches(views, 4, seed=0).patches(0, 7, 20)


@pytest.mark.parametrize('draw', ['pixels', 'patches'])
@pytest.mark.parametrize('processes', [2, 3, 5])
def test_processes_share_one_batch(views, draw, processes):
    def drawn(process, count):
        batches = RayBatches(views, 4, 3, process, count)
        return batches.pixels(1, 101) if draw == 'pixels' else batches.patches(1, 7, 8)

    whole = drawn(0, 1)
    shares = [drawn(process, processes) for process in range(processes)]
    keys = [s.photos_R * PIXELS + s.pixels_R for s in (whole, *shares)]
    assert torch.equal(keys[0].sort().values, torch.cat(keys[1:]).sort().values)
    weights = sum(float(s.weights_R.sum()) for s in shares) / processes
    assert weights == pytest.approx(1.0, rel=1e-5)
    assert sum(s.share for s in shares) / processes == pytest.approx(1.0)


def test_more_processes_than_parts_are_refused(views):
    with pytest.raises(LearningError, match='4 parts cannot be shared by 5 processes'):
        RayBatches(views, 4, 0, 0, 5).patches(0, 1, 8)


def _masked_views():
    static = np.ones((CAMERA.height, CAMERA.width), dtype=bool)
    static[:20, :24] = False
    return room_views(room_photos(4, static))


def test_pixels_of_the_static_place_only_are_drawn():
    views = _masked_views()
    batch = RayBatches(views, 4, seed=0).pixels(0, 10 * PIXELS)
    rows, columns = batch.pixels_R // WIDTH, batch.pixels_R % WIDTH
    moving = (rows < 10) & (columns < 12)
    assert not moving.any()
    assert len(batch.pixels_R) == 4 * (PIXELS - 120)


def test_patches_are_whole_but_moving_pixels_have_no_weight():
    batch = RayBatches(_masked_views(), 4, seed=0).patches(0, 7, 16)
    assert len(batch.pixels_R) == 4 * 7 * 256
    rows, columns = batch.pixels_R // WIDTH, batch.pixels_R % WIDTH
    moving = (rows < 10) & (columns < 12)
    assert moving.any() and not moving.all()
    assert torch.equal(batch.weights_R == 0, moving)
    assert float(batch.weights_R.sum()) == pytest.approx(1.0)


def test_a_mask_that_leaves_nothing_at_the_small_size_is_refused():
    static = np.zeros((CAMERA.height, CAMERA.width), dtype=bool)
    static[0, 0] = True
    with pytest.raises(DataError, match='mask of 0.png leaves no static pixel at 24x18'):
        room_views(room_photos(2, static))


def test_a_photo_and_its_mask_are_read_undistorted_and_reduced(tmp_path):
    distorted = replace(pinhole(96, 72, 80.0), model='plumb_bob', distortion=(-0.2, 0, 0, 0, 0))
    picture = np.zeros((72, 96, 3), np.uint8)
    picture[:, 48:] = 255
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    cv2.imwrite(str(tmp_path / 'mask.png'), picture[..., 0])
    frame = Frame('a', tmp_path / 'a.png', distorted, np.eye(4), mask_path=tmp_path / 'mask.png')
    photo = prepare_nefes_photo(frame, 24)
    assert min(photo.camera.width, photo.camera.height) == 24
    assert photo.image_u8.shape == (photo.camera.height, photo.camera.width, 3)
    assert not photo.camera.is_distorted
    agree = (photo.image_u8[..., 0] > 127) == photo.static_HW
    assert agree.mean() > 0.97
    assert 0.4 < photo.static_HW.mean() < 0.6
    assert prepare_nefes_photo(replace(frame, mask_path=None), 24).static_HW is None
