"""Fitting ellipsoids to small recordings."""

from dataclasses import replace
import threading

import numpy as np
import pytest
import torch

from posefield.articulation.ellipsoid_tracks import ARM, RIGID, EllipsoidTracks
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_fitting import PartFittingConfig, fit_parts
from posefield.articulation.part_fitting_stage import PartStageConfig, frame_order
from posefield.articulation.part_seeding import Seeds, carve, hull_volumes, seed_parts
from posefield.articulation.parts import PartMotion
from posefield.articulation.restarts import first_frames
from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import BundleError, DataError, LearningError, LearningInterrupted
from posefield.learning.budget import Budget
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.progress import QuietProgress
from posefield.learning.run import LearningRun
from support.multiviews import BALL_RADIUS, BALL_RGB, overwrite_masks, write_ball

AS_IT_IS = SceneNormalisation(np.zeros(3), 1.0)
SMALL = PartFittingConfig(
    parts=3, neighbours=2, stage=PartStageConfig(counts=(12, 12, 24, 8), images=6)
)


@pytest.fixture
def ball(tmp_path):
    return write_ball(tmp_path / 'ball', cameras=4, held_out=1, frames=7, held_out_frames=(6,))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(
    multiview: Multiview,
    steps: int,
    stop: threading.Event | None = None,
    store: CheckpointStore | None = None,
) -> PartMotion:
    """Return parts fitted from the frame with the smallest hull on."""
    frames = multiview.training_frames
    pixels = FittingPixels.read(multiview, frames, AS_IT_IS, 96)
    run = LearningRun(0, pixels.device, QuietProgress(), stop or threading.Event(), store)
    (start,) = first_frames(pixels, 1)
    return fit_parts(pixels, frames, start, SMALL, run, Budget(steps=steps))


def test_draws_pixels_of_every_kind(ball):
    pixels = FittingPixels.read(ball, ball.training_frames, AS_IT_IS, 96)
    assert (pixels.views, pixels.frames) == (4, 6)
    places, colours, is_object = pixels.draw(torch.tensor([0, 9]), (2, 3, 4, 3), seeded())
    assert is_object[:, :5].all() and not is_object[:, 5:].any()
    expected = torch.tensor(BALL_RGB).float() / 255.0
    torch.testing.assert_close(colours[is_object], expected.expand(10, 3))
    assert (colours[~is_object] == pixels.background).all()
    assert places.abs().max() < 0.5


def test_unreliable_pixels_are_never_drawn_nor_carve(ball):
    whole = FittingPixels.read(ball, (0, 1), AS_IT_IS, 96)
    overwrite_masks(ball, 0, 128)
    pixels = FittingPixels.read(ball, (0, 1), AS_IT_IS, 96)
    assert len(carve(pixels, 0, 24)[0]) >= len(carve(whole, 0, 24)[0])
    starts = pixels._starts_I5
    assert (starts[:2, 4] == 0).all() and (starts[2:, 4] == 48 * 48).all()


def cut(multiview, folder, windows):
    """Return the recording with some cameras cut to x, y, width, height."""
    rigs = [
        replace(rig, camera=rig.camera.cropped(*windows[view])) if view in windows else rig
        for view, rig in enumerate(multiview.cameras)
    ]
    with MultiviewWriter(folder, rigs, background=multiview.background) as writer:
        for view in range(len(rigs)):
            x, y, width, height = windows.get(view, (0, 0, 48, 48))
            part = slice(y, y + height), slice(x, x + width)
            for frame in range(multiview.num_frames):
                image = np.rint(255 * multiview.read_image(view, frame)).astype(np.uint8)
                mask = multiview.read_mask(view, frame)
                writer.add(view, frame, image[part], mask[part])
        return writer.finish(multiview.stamps_s, multiview.held_out_frames)


def test_images_of_different_shapes_tell_what_whole_ones_do(ball, tmp_path):
    smaller = cut(ball, tmp_path / 'cut', {0: (6, 8, 40, 36), 2: (8, 4, 32, 44)})
    whole = FittingPixels.read(ball, ball.training_frames, AS_IT_IS, 96)
    pixels = FittingPixels.read(smaller, smaller.training_frames, AS_IT_IS, 96)
    for frame in range(pixels.frames):
        np.testing.assert_array_equal(carve(pixels, frame, 24)[0], carve(whole, frame, 24)[0])
    counts = pixels._starts_I5[:, 4].reshape(4, -1)
    assert (counts[0] == 40 * 36).all() and (counts[2] == 32 * 44).all()
    assert (counts[1] == 48 * 48).all()
    images = torch.arange(pixels.images)
    places, colours, is_object = pixels.draw(images, (8, 8, 8, 200), seeded())
    expected = torch.tensor(BALL_RGB).float() / 255.0
    torch.testing.assert_close(colours[is_object], expected.expand(int(is_object.sum()), 3))
    for image, view in ((0, 0), (2 * pixels.frames, 2)):
        camera = smaller.cameras[view].camera
        corner = (np.array([camera.width, camera.height]) - [camera.cx, camera.cy] - 1.0) / [
            camera.fx,
            camera.fy,
        ]
        assert (places[image].numpy() <= corner + 1e-6).all()
    assert fit(smaller, 2).parts == 3


def test_rim_is_what_lies_at_the_outline(ball):
    pixels = FittingPixels.read(ball, (0, 1), AS_IT_IS, 96)
    masks = pixels.masks_VFHW[0, 0] == 1
    starts = pixels._starts_I5[0]
    rim = pixels._order[0, starts[1] : starts[2]].numpy()
    inside = masks & np.roll(masks, 1, 0) & np.roll(masks, -1, 0)
    inside &= np.roll(masks, 1, 1) & np.roll(masks, -1, 1)
    expected = np.flatnonzero((masks & ~inside).reshape(-1))
    np.testing.assert_array_equal(np.sort(rim), expected)


def test_empty_masks_are_refused(ball):
    for view in range(4):
        overwrite_masks(ball, view, 0)
    with pytest.raises(DataError, match='no pixel of the object'):
        FittingPixels.read(ball, ball.training_frames, AS_IT_IS, 96)


def test_parts_start_inside_the_hull(ball):
    pixels = FittingPixels.read(ball, ball.training_frames, AS_IT_IS, 96)
    points, colours = carve(pixels, 2, 40)
    centre = np.array([-0.3 + 2 * 0.1, 0, 0])
    assert np.linalg.norm(points.mean(axis=0) - centre) < 0.03
    np.testing.assert_allclose(colours.mean(axis=0), np.array(BALL_RGB) / 255, atol=0.02)
    seeds = seed_parts(pixels, 2, 4, np.random.default_rng(0))
    assert (np.linalg.norm(seeds.t_P3 - centre, axis=1) < BALL_RADIUS).all()
    np.testing.assert_allclose(np.linalg.det(seeds.R_P33), 1.0)


def test_hull_that_is_nowhere_is_refused(ball):
    pixels = FittingPixels.read(
        ball, ball.training_frames, SceneNormalisation(np.array([5.0, 0, 0]), 1.0), 96
    )
    with pytest.raises(DataError, match='meet in 0'):
        seed_parts(pixels, 0, 3, np.random.default_rng(0))


def test_runs_begin_apart_and_where_hulls_are_small(ball):
    pixels = FittingPixels.read(ball, ball.training_frames, AS_IT_IS, 96)
    chosen = first_frames(pixels, 3)
    assert chosen[0] == int(hull_volumes(pixels).argmin())
    assert len(set(chosen)) == 3
    assert len(first_frames(pixels, 20)) == 20


def test_frames_open_onwards_then_backwards():
    assert frame_order(2, 5) == [2, 3, 4, 1, 0]


def test_looseness_is_zero_for_a_rigid_body_and_concave():
    generator = np.random.default_rng(0)
    seeds = Seeds(
        np.tile(np.eye(3), (2, 1, 1)), generator.normal(size=(2, 3)), np.full((2, 3), 0.1),
        np.full((2, 3), 0.5),
    )  # fmt: skip
    tracks = EllipsoidTracks(seeds, 8, 1)
    smoothness, looseness = tracks.motion_losses(0, 7)
    assert smoothness.item() == pytest.approx(0, abs=1e-9)
    assert looseness.item() == pytest.approx(0, abs=1e-6)
    costs = []
    for size in (0.1, 0.2):
        with torch.no_grad():
            tracks.centres_FP3[:, 1, 0] = seeds.t_P3[1, 0] + torch.linspace(0, size, 8)
        costs.append(tracks.motion_losses(0, 7)[1].item())
    assert costs[0] < costs[1] < 2 * costs[0]
    assert tracks.motion_losses(0, 7)[0].item() == pytest.approx(0, abs=1e-8)


def test_motion_losses_are_those_of_points_on_the_parts():
    generator = np.random.default_rng(1)
    seeds = Seeds(
        np.tile(np.eye(3), (5, 1, 1)), 0.3 * generator.normal(size=(5, 3)), np.full((5, 3), 0.1),
        np.full((5, 3), 0.5),
    )  # fmt: skip
    tracks = EllipsoidTracks(seeds, 9, 2).double()
    with torch.no_grad():
        tracks.quaternions_FP4 += torch.from_numpy(0.3 * generator.normal(size=(9, 5, 4)))
        tracks.centres_FP3 += torch.from_numpy(0.1 * generator.normal(size=(9, 5, 3)))
        R, centres = tracks.poses(torch.arange(1, 8))
    arms = ARM * torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).double()
    points = centres[:, :, None] + torch.einsum('fpij,kj->fpki', R, arms)
    jerks = points[2:] - 2 * points[1:-1] + points[:-2]
    smoothness, looseness = tracks.motion_losses(1, 7)
    expected = jerks.square().sum(dim=-1).mean(dim=-1).sum() / 5
    torch.testing.assert_close(smoothness.detach(), expected)
    total = 0.0
    for one, other in tracks.pairs_N2.tolist():
        strays = 0.0
        for base, moving in ((one, other), (other, one)):
            seen = (points[:, moving] - centres[:, base, None]) @ R[:, base]
            strays += (seen - seen.mean(dim=0)).square().sum(dim=-1).mean()
        total += torch.log1p(strays / RIGID**2)
    torch.testing.assert_close(looseness.detach(), total / 5)


def test_ball_is_followed(ball):
    motion = fit(ball, 250)
    assert motion.frames_F == ball.training_frames
    assert len(motion.edges) == 2
    # The ball moves by 0.1 a frame, and so must the middle of its parts.
    middles = motion.centres_FP3.mean(axis=1)
    np.testing.assert_allclose(np.diff(middles[:, 0]), 0.1, atol=0.03)
    np.testing.assert_allclose(middles[:, 1:], 0.0, atol=0.08)


def test_same_seed_gives_the_same_parts(ball):
    first, second = fit(ball, 20), fit(ball, 20)
    np.testing.assert_array_equal(first.T_scene_part_FP44, second.T_scene_part_FP44)


def test_interrupted_run_goes_on_where_it_was(ball, tmp_path):
    whole = fit(ball, 30)
    store = CheckpointStore(tmp_path / 'store')

    class StopsHalfway(threading.Event):
        asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked > 15

    with pytest.raises(LearningInterrupted):
        fit(ball, 30, StopsHalfway(), store)
    again = fit(ball, 30, store=store)
    np.testing.assert_allclose(again.T_scene_part_FP44, whole.T_scene_part_FP44, atol=1e-6)


def test_too_few_frames_and_parts_are_refused(tmp_path):
    short = write_ball(tmp_path / 'short', cameras=2, frames=2)
    with pytest.raises(LearningError, match='2 frames to learn from'):
        fit(short, 1)
    with pytest.raises(LearningError, match='at least 2 parts'):
        PartFittingConfig(parts=1)


def test_motion_keeps_its_shapes_through_tensors():
    poses = np.tile(np.eye(4), (2, 3, 1, 1))
    motion = PartMotion(np.ones((3, 3)), poses, np.zeros((3, 3)), ((0, 1, 2, 3),), (0, 4))
    again = PartMotion.from_tensors(motion.to_tensors())
    assert (again.edges, again.frames_F, again.parts) == (((0, 1, 2, 3),), (0, 4), 3)
    np.testing.assert_array_equal(again.T_scene_part_FP44, poses)
    assert motion.frame_index(4) == 1
    assert motion.subset([2, 0]).parts == 2
    with pytest.raises(BundleError, match='Frame 3'):
        motion.frame_index(3)
    with pytest.raises(BundleError, match='need a tensor radii'):
        PartMotion.from_tensors({**motion.to_tensors(), 'radii': torch.zeros(3)})
    with pytest.raises(BundleError, match='colours_P3 of 3 parts'):
        PartMotion(np.ones((3, 3)), poses, np.zeros((2, 3)), (), (0, 4))
