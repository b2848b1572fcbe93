"""Learning a surface around parts."""

import cv2
import numpy as np
import pytest
import torch

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.parts import PartMotion
from posefield.articulation.shell_rendering import render_image
from posefield.articulation.surface import SurfaceConfig
from posefield.articulation.surface_pixels import SurfacePixels
from posefield.articulation.surface_stage import MovingPoses, SurfaceStage, SurfaceStageConfig
from posefield.data.multiview import Multiview
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import DataError, LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from support.recorder import Recorder
from support.two_balls import FRAMES, RADII_P3, motion, poses, write_two_balls

WORLD = SceneNormalisation(np.zeros(3), 1.0)
SURFACE = SurfaceConfig(
    DecoderConfig(octaves=2, width=16, depth=2, largest_residual=0.1),
    union_sharpness=100.0,
    exact=False,
    shading=True,
    samples=12,
)
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Multiview:
    return write_two_balls(tmp_path_factory.mktemp('balls') / 'recording')


def read_pixels(recording: Multiview, short_side: int = 64) -> SurfacePixels:
    return SurfacePixels(
        recording,
        recording.training_frames,
        WORLD,
        short_side,
        CPU,
        lambda fraction: None,
        lambda: None,
    )


def make_stage(recording: Multiview, parts: PartMotion, **options) -> SurfaceStage:
    config = SurfaceStageConfig(rays=256, samples=8, **options)
    generator = torch.Generator().manual_seed(0)
    return SurfaceStage(parts, read_pixels(recording), SURFACE, config, generator, CPU)


def train(stage: SurfaceStage, steps: int, **options):
    return run_stage(stage, generator=torch.Generator().manual_seed(1), steps=steps, **options)


def test_pixels_are_those_around_the_object_and_say_what_was_seen(recording):
    pixels = read_pixels(recording)
    everything = 3 * 10 * 32 * 32
    assert 0.2 * everything < len(pixels) < 0.8 * everything
    batch = pixels.draw(500, torch.Generator().manual_seed(0))
    assert batch.rows_R.min() == 0
    assert batch.rows_R.max() == len(recording.training_frames) - 1
    white = (batch.colours_R3 == 1).all(dim=1)
    assert (batch.masks_R[white] == 0).all()
    assert (batch.masks_R[~white] == 1).all()
    nearest = torch.linalg.cross(batch.origins_R3, batch.directions_R3).norm(dim=1)
    nearest = nearest / batch.directions_R3.norm(dim=1)
    assert nearest[~white].max() < 1.0 < nearest[white].max()


def test_larger_images_are_shrunk(recording):
    full, half = read_pixels(recording), read_pixels(recording, short_side=16)
    assert len(half) < 0.4 * len(full)
    assert half.pixel_size(3.0) == pytest.approx(2 * full.pixel_size(3.0))
    masks = half.draw(2000, torch.Generator().manual_seed(0)).masks_R
    assert ((masks > 0.2) & (masks < 0.8)).any()


def test_unreliable_pixels_are_left_out(tmp_path):
    recording = write_two_balls(tmp_path / 'recording')
    before = len(read_pixels(recording))
    path = recording.mask_path(0, 0)
    cv2.imwrite(str(path), np.full((32, 32), 128, np.uint8))
    removed = before - len(read_pixels(recording))
    assert 0 < removed < 32 * 32
    for view in range(4):
        for frame in range(FRAMES):
            cv2.imwrite(str(recording.mask_path(view, frame)), np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match='no pixel of the object'):
        read_pixels(recording)


def test_wrong_radii_colours_and_poses_are_put_right(recording):
    truth = motion()
    jittered = truth.T_scene_part_FP44.copy()
    jittered[..., :3, 3] += np.random.default_rng(0).normal(scale=0.02, size=(10, 2, 3))
    wrong = PartMotion(0.8 * RADII_P3, jittered, truth.colours_P3, truth.edges, truth.frames_F)
    stage = make_stage(recording, wrong, pose_rate=2e-3)
    train(stage, 150)
    learned = stage.result()
    before = np.linalg.norm(wrong.centres_FP3 - truth.centres_FP3, axis=-1).mean()
    after = np.linalg.norm(learned.centres_FP3 - truth.centres_FP3, axis=-1).mean()
    assert after < 0.7 * before
    R = learned.T_scene_part_FP44[..., :3, :3]
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.eye(3) + 0 * R, atol=1e-12)
    held_out = recording.cameras[3]
    for frame in (0, 7):
        image = render_image(
            stage.surface, held_out.camera, held_out.T_world_cam,
            learned.T_scene_part_FP44[frame], 1.0,
        )  # fmt: skip
        seen, mask = recording.read_masked(3, frame)
        error = (image.colours_HW3.numpy() - seen) ** 2
        assert -10 * np.log10(error.mean()) > 19
        found = image.opacities_HW.numpy() > 0.5
        assert (found & (mask == 1)).sum() / (found | (mask == 1)).sum() > 0.85


def test_poses_begin_where_they_were(recording):
    T = poses()
    np.testing.assert_allclose(MovingPoses(T).rigid(), T, atol=1e-6)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(recording, tmp_path):
    whole = make_stage(recording, motion())
    train(whole, 12)
    store, recorder = CheckpointStore(tmp_path / 'training'), Recorder('surface', 0.3)
    with pytest.raises(LearningInterrupted):
        train(
            make_stage(recording, motion()),
            12,
            checkpoints=store,
            stop=recorder.stop,
            progress=recorder,
            checkpoint_every_s=0.0,
        )
    assert recorder.seen[-1][1] < 0.6
    resumed = make_stage(recording, motion())
    train(resumed, 12, checkpoints=store)
    assert float(resumed.surface.sharpness) == float(whole.surface.sharpness)
    for name, tensor in whole.surface.state_dict().items():
        torch.testing.assert_close(resumed.surface.state_dict()[name], tensor)
    np.testing.assert_allclose(
        resumed.result().T_scene_part_FP44, whole.result().T_scene_part_FP44
    )
