"""Training PoseNet and DFNet: epochs, rates, best weights, triplets, random views."""

from dataclasses import replace
import json
import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from posefield.errors import LearningError, LearningInterrupted
from posefield.geometry.poses import pose_errors, rotation_angle_deg
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.schedules import Constant, Cosine
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.dfnet_stage import DFNetStage, DFNetStageConfig
from posefield.relocalization.regressors.epoch_stage import EpochStageConfig
from posefield.relocalization.regressors.plateau import Plateau
from posefield.relocalization.regressors.posenet12 import PoseNetConfig
from posefield.relocalization.regressors.posenet_stage import PoseNetStage
from posefield.relocalization.regressors.random_views import (
    RandomViewConfig,
    random_view_poses,
)
from posefield.relocalization.regressors.registry import build_regressor
from posefield.relocalization.regressors.triplet import hardest_triplet_loss
from posefield.relocalization.view_synthesis import ReferenceViews

CPU = torch.device('cpu')
POSENET = PoseNetConfig('compact', 'random')
DFNET = DFNetConfig(channels=4, hidden=4, width_scale=0.125, weights='random')
FAST = Cosine(0.02, 0.05)


def views(count: int, seed: int) -> ReferenceViews:
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = generator.uniform(-0.8, 0.8, size=(count, 3))
    coarse = generator.integers(0, 255, size=(count, 4, 6, 3))
    return ReferenceViews(coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8), poses)


def posenet_stage(photos, validation=None, **rates) -> PoseNetStage:
    network = build_regressor('posenet', POSENET, torch.Generator().manual_seed(0))
    return PoseNetStage(network, photos, validation, EpochStageConfig(**rates), CPU)


class Renderer:
    """A field that shows a grey of its own at every pose, and remembers what it was asked."""

    def __init__(self, blind: bool = False):
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []
        self.blind = blind

    def __call__(self, T_field_cam: np.ndarray, source_HW3: np.ndarray) -> torch.Tensor | None:
        self.asked.append((T_field_cam, source_HW3))
        if self.blind:
            return None
        return torch.full((8, 12, 3), 0.5 + 0.3 * float(np.sin(T_field_cam.sum())))


def dfnet_stage(photos, render, validation=None, seed: int = 0, **rates) -> DFNetStage:
    network = build_regressor('dfnet', DFNET, torch.Generator().manual_seed(1))
    config = DFNetStageConfig(**rates)
    return DFNetStage(network, photos, validation, render, 2.0, config, CPU, seed)


def test_the_rate_falls_when_the_loss_does_not():
    plateau = Plateau(0.5, 2)
    rates = []
    for loss in (3.0, 2.0, 2.0, 1.99999, 2.5, 2.4, 1.0, 1.1, 1.1, 1.1):
        plateau.observe(loss)
        rates.append(plateau(0.3))
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_a_plateau_survives_json():
    first, second = Plateau(0.5, 1), Plateau(0.5, 1)
    second.load_state(json.loads(json.dumps(first.state())))
    for loss in (1.0, 2.0):
        first.observe(loss)
    second.load_state(json.loads(json.dumps(first.state())))
    second.observe(3.0)
    assert second(0.0) == 0.5


def test_the_published_rates_are_the_defaults():
    config = DFNetStageConfig()
    assert (config.batch, config.learning_rate) == (4, 1e-4)
    assert (config.factor, config.patience, config.schedule) == (0.95, 50, None)
    assert (config.margin, config.view_epochs) == (1.0, 20)
    assert (config.pose_weight, config.triplet_weight, config.view_weight) == (1.0, 1.0, 1.0)


def test_posenet_learns_photos_by_heart():
    photos = views(6, 1)
    stage = posenet_stage(photos, batch=6, learning_rate=3e-3, schedule=FAST)
    run_stage(stage, generator=torch.Generator().manual_seed(0), steps=250)
    for image, T_true in zip(photos.images_NHW3, photos.T_field_cam_N44, strict=True):
        T = stage.network.pose(torch.from_numpy(image).float() / 255.0).numpy()
        errors = pose_errors(T, T_true)
        assert errors.translation < 0.1
        assert errors.rotation_deg < 8.0


def test_the_loss_is_the_mean_square_of_twelve_entries():
    photos = views(5, 2)
    stage = posenet_stage(photos, batch=8)
    metrics = stage.step(0, torch.Generator().manual_seed(0))
    images = torch.from_numpy(photos.images_NHW3).permute(0, 3, 1, 2) / 255.0
    found = stage.network(images).detach().double().numpy()
    difference = found - photos.T_field_cam_N44[:, :3]
    assert float(metrics['loss'].detach()) == pytest.approx((difference**2).mean(), rel=1e-5)
    expected = np.linalg.norm(difference[:, :, 3], axis=1).mean()
    assert float(metrics['translation']) == pytest.approx(expected, rel=1e-5)


def test_an_epoch_is_as_many_steps_as_show_every_photo():
    assert posenet_stage(views(12, 3)).steps_per_epoch == 3
    assert posenet_stage(views(2, 3)).steps_per_epoch == 1


def test_photos_of_a_batch_are_different_and_all_come_up():
    stage = posenet_stage(views(7, 4), batch=4)
    seen = []
    losses = stage.losses

    def spy(step, rows_B, generator):
        seen.append(rows_B.tolist())
        return losses(step, rows_B, generator)

    stage.losses = spy
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        stage.step(step, generator)
    assert all(len(set(rows)) == 4 for rows in seen)
    assert {row for rows in seen for row in rows} == set(range(7))


def test_scale_and_offset_of_batch_normalisations_are_not_trained():
    network = build_regressor('posenet', POSENET, torch.Generator().manual_seed(0))
    network.backbone.layers.append(torch.nn.BatchNorm2d(network.backbone.channels))
    stage = PoseNetStage(network, views(4, 5), None, EpochStageConfig(learning_rate=1e-2), CPU)
    run_stage(stage, generator=torch.Generator().manual_seed(0), steps=3)
    norm = network.backbone.layers[-1]
    assert (norm.weight == 1).all() and (norm.bias == 0).all()
    assert norm.running_mean.abs().max() > 0


def test_the_rate_follows_the_validation_views():
    """Validation that can only get worse: the rate falls every second epoch."""
    photos = views(4, 6)
    stage = posenet_stage(photos, views(3, 7), factor=0.5, patience=1, learning_rate=1e-3)
    losses = iter(float(number) for number in range(1, 100))
    stage._validation_loss = lambda: next(losses)
    run_stage(stage, generator=torch.Generator().manual_seed(0), steps=6)
    # Epochs end before steps 1 to 5; the losses of all but the first are worse.
    assert stage.schedule(1.0) == 0.25


def test_without_validation_the_rate_follows_the_training_loss():
    stage = posenet_stage(views(8, 8), factor=0.5, patience=0)
    observed = []
    stage._plateau.observe = observed.append
    losses = []
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        losses.append(float(stage.step(step, generator)['loss'].detach()))
    assert observed == pytest.approx([np.mean(losses[:2]), np.mean(losses[2:4])])


def test_a_schedule_takes_the_place_of_the_plateau():
    stage = posenet_stage(views(4, 9), schedule=Constant())
    assert isinstance(stage.schedule, Constant)


def test_the_best_weights_on_validation_views_are_kept():
    photos, validation = views(4, 10), views(4, 11)
    stage = posenet_stage(photos, validation, learning_rate=3e-3, batch=2)
    found = []
    judge = stage._validation_loss

    def spy() -> float:
        found.append(judge())
        return found[-1]

    stage._validation_loss = spy
    run_stage(stage, generator=torch.Generator().manual_seed(0), steps=60)
    assert len(found) == 30
    assert min(found) < found[-1]
    assert judge() == pytest.approx(min(found), rel=1e-6)


def test_validation_neither_trains_nor_is_disturbed_by_dropout():
    network = build_regressor(
        'posenet', replace(POSENET, dropout=0.5), torch.Generator().manual_seed(0)
    )
    stage = PoseNetStage(network, views(4, 12), views(20, 13), EpochStageConfig(), CPU)
    assert stage._validation_loss() == stage._validation_loss()
    assert stage.network.training
    images = stage._validation.images(torch.arange(20))
    with torch.no_grad():
        found = stage.network.eval()(images)
    expected = torch.nn.functional.mse_loss(found, stage._validation.poses_N34)
    assert stage._validation_loss() == pytest.approx(float(expected), rel=1e-5)


def test_a_stage_without_photos_is_refused():
    with pytest.raises(LearningError, match='regressor has no photos to learn from'):
        posenet_stage(views(0, 0))


def slow_triplet(render: np.ndarray, photo: np.ndarray, margin: float) -> tuple[float, int]:
    """The loss by loops, and the number of the hardest case."""
    count = render.shape[1]
    other = [(index - 1) % count for index in range(count)]
    cases = []
    for anchor, positive, negative in (
        (render, photo, photo), (photo, render, render),
        (render, photo, render), (photo, render, photo),
    ):  # fmt: skip
        squares, losses = [], []
        for level in range(render.shape[0]):
            for index in range(count):
                for channel in range(render.shape[2]):
                    for row in range(render.shape[3]):
                        a = anchor[level, index, channel, row]
                        p = positive[level, index, channel, row]
                        n = negative[level, other[index], channel, row]
                        squares.extend((a - n) ** 2)
                        near = np.sqrt(((a - p) ** 2).sum())
                        far = np.sqrt(((a - n) ** 2).sum())
                        losses.append(max(0.0, margin + near - far))
        cases.append((float(np.mean(squares)), float(np.mean(losses))))
    hardest = int(np.argmin([square for square, _ in cases]))
    return cases[hardest][1], hardest


@pytest.mark.parametrize('margin', [0.3, 1.0, 3.0])
def test_the_triplet_loss_is_that_of_the_hardest_of_four_cases(margin):
    seen = set()
    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)
        render, photo = torch.randn((2, 2, 3, 2, 4, 5), generator=generator, dtype=torch.float64)
        expected, case = slow_triplet(render.numpy(), photo.numpy(), margin)
        seen.add(case)
        found = hardest_triplet_loss(render, photo, margin)
        assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert seen == {0, 1, 2, 3}


def test_the_triplet_loss_of_equal_features_is_finite_and_has_a_gradient():
    features = torch.randn(1, 2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    render = features.clone().requires_grad_(True)
    hardest_triplet_loss(render, features, 10.0).backward()
    assert torch.isfinite(render.grad).all()
    assert render.grad.abs().max() > 0


def test_one_random_view_is_near_each_photo_and_in_the_box():
    photos = views(300, 14).T_field_cam_N44
    config = RandomViewConfig(translation=0.3, rotation_deg=20.0, margin=0.05)
    poses = random_view_poses(photos, 2.0, config, np.random.default_rng(0))
    R = poses[:, :3, :3]
    np.testing.assert_allclose(
        R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (300, 1, 1)), atol=1e-12
    )
    shifts = np.abs(poses[:, :3, 3] - photos[:, :3, 3])
    assert 0.55 < shifts.max() <= 0.6 + 1e-12
    centres = photos[:, :3, 3]
    assert (poses[:, :3, 3] >= centres.min(axis=0) - 0.1 - 1e-12).all()
    assert (poses[:, :3, 3] <= centres.max(axis=0) + 0.1 + 1e-12).all()
    clipped = poses[:, :3, 3].max(axis=0) - centres.max(axis=0)
    np.testing.assert_allclose(clipped, 0.1, atol=1e-9)
    turns = R @ photos[:, :3, :3].transpose(0, 2, 1)
    angles = np.abs(Rotation.from_matrix(turns).as_euler('xyz', degrees=True))
    assert angles.max() <= 20.0 + 1e-9
    assert (angles.max(axis=0) > 19.0).all()


def test_dfnet_learns_photos_by_heart():
    photos = views(4, 15)
    truth = dict(zip(map(bytes, photos.T_field_cam_N44), photos.images_NHW3, strict=True))

    def render(T_field_cam: np.ndarray, source_HW3: np.ndarray) -> torch.Tensor | None:
        image = truth.get(bytes(np.ascontiguousarray(T_field_cam)))
        return None if image is None else torch.from_numpy(image).float() / 255.0

    stage = dfnet_stage(photos, render, learning_rate=3e-3, schedule=FAST)
    result = run_stage(stage, generator=torch.Generator().manual_seed(0), steps=120)
    assert result.metrics['triplet'] < 0.2
    for image, T_true in zip(photos.images_NHW3, photos.T_field_cam_N44, strict=True):
        T = stage.network.pose(torch.from_numpy(image).float() / 255.0).numpy()
        errors = pose_errors(T, T_true)
        assert errors.translation < 0.3
        assert errors.rotation_deg < 25.0


def test_the_losses_of_dfnet_are_those_of_its_batch():
    photos = views(3, 16)
    stage = dfnet_stage(photos, Renderer(), pose_weight=2.0, triplet_weight=3.0, view_weight=5.0)
    stage.network.eval()
    metrics = stage.losses(0, torch.arange(3), torch.Generator())
    poses = torch.from_numpy(photos.T_field_cam_N44[:, :3]).float()
    real = torch.from_numpy(photos.images_NHW3).permute(0, 3, 1, 2) / 255.0
    at_photos = torch.stack([stage._render_of_photo(row) for row in range(3)])
    elsewhere = torch.stack([stage._random_view(row) for row in range(3)])
    network, mse = stage.network, torch.nn.functional.mse_loss
    pose = 0.5 * (mse(network(real), poses) + mse(network(at_photos), poses))
    torch.testing.assert_close(metrics['pose'], pose)
    triplet = hardest_triplet_loss(
        network.poses_and_features(at_photos).features_LBCHW,
        network.poses_and_features(real).features_LBCHW,
    )
    torch.testing.assert_close(metrics['triplet'], triplet)
    random_poses = torch.from_numpy(stage._random_T_N44[:, :3]).float()
    seen = mse(network(elsewhere), random_poses)
    torch.testing.assert_close(metrics['views'], seen)
    torch.testing.assert_close(metrics['loss'], 2.0 * pose + 3.0 * triplet + 5.0 * seen)


def test_renders_are_asked_for_once_with_the_photo_as_source():
    photos, render = views(4, 17), Renderer()
    stage = dfnet_stage(photos, render, view_epochs=3)
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        stage.step(step, generator)
    assert len(render.asked) == 8
    for T_field_cam, source in render.asked:
        row = next(r for r in range(4) if np.array_equal(photos.images_NHW3[r], source))
        near = np.abs(T_field_cam[:3, 3] - photos.T_field_cam_N44[row, :3, 3]).max()
        assert near <= 0.2 + 1e-12
    at_photos = [T for T, _ in render.asked if any((T == P).all() for P in photos.T_field_cam_N44)]
    assert len(at_photos) == 4


def test_random_views_are_drawn_anew_after_their_epochs():
    photos, render = views(4, 18), Renderer()
    stage = dfnet_stage(photos, render, view_epochs=3)
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for step in range(7):
        stage.step(step, generator)
        drawn.append(stage._random_T_N44)
    assert np.array_equal(drawn[0], drawn[2]) and np.array_equal(drawn[3], drawn[5])
    assert not np.allclose(drawn[2], drawn[3])
    assert not np.allclose(drawn[5], drawn[6])
    assert len(render.asked) == 4 + 3 * 4
    for other, same in ((0, True), (1, False)):
        again = dfnet_stage(photos, Renderer(), seed=other, view_epochs=3)
        again.step(4, generator)
        assert np.allclose(again._random_T_N44, drawn[4]) == same


def test_renders_are_enlarged_to_the_size_of_photos():
    stage = dfnet_stage(views(2, 19), Renderer())
    image = stage._render_of_photo(0)
    assert image.shape == (3, 32, 48)
    level = 0.5 + 0.3 * np.sin(stage._views.T_field_cam_N44[0].sum())
    torch.testing.assert_close(image, torch.full((3, 32, 48), level), atol=0.5 / 255, rtol=0)


def test_views_that_show_nothing_are_left_out():
    photos = views(3, 20)
    stage = dfnet_stage(photos, Renderer(blind=True))
    metrics = stage.losses(0, torch.arange(3), torch.Generator())
    assert float(metrics['views']) == 0.0
    photo = torch.from_numpy(photos.images_NHW3[1]).permute(2, 0, 1) / 255.0
    torch.testing.assert_close(stage._render_of_photo(1), photo)
    assert metrics['loss'].requires_grad


def test_a_batch_of_dfnet_has_at_least_two_photos():
    for photos, batch in ((views(1, 21), 4), (views(3, 21), 1)):
        with pytest.raises(LearningError, match='at least 2 photos and a batch of at least 2'):
            dfnet_stage(photos, Renderer(), batch=batch)


@pytest.mark.parametrize('validated', [False, True])
def test_a_resumed_training_of_dfnet_ends_as_one_without_a_break(tmp_path, validated):
    photos = views(4, 22)
    validation = views(2, 23) if validated else None

    def stage() -> DFNetStage:
        return dfnet_stage(
            photos, Renderer(), validation, batch=2, learning_rate=3e-3, view_epochs=2, patience=0
        )

    whole = stage()
    run_stage(whole, generator=torch.Generator().manual_seed(0), steps=14)
    broken, stop = stage(), threading.Event()
    losses = broken.losses

    def interrupted(step, rows_B, generator):
        if step == 8:
            stop.set()
        return losses(step, rows_B, generator)

    broken.losses = interrupted
    store = CheckpointStore(tmp_path)
    with pytest.raises(LearningInterrupted):
        run_stage(
            broken,
            generator=torch.Generator().manual_seed(0),
            steps=14,
            stop=stop,
            checkpoints=store,
        )
    resumed = stage()
    run_stage(resumed, generator=torch.Generator().manual_seed(0), steps=14, checkpoints=store)
    expected = whole.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-7)
    assert resumed.schedule(1.0) == whole.schedule(1.0) < 1.0


def test_turns_are_about_the_axes_of_the_field():
    """A camera that looks anywhere turns about the world's axes, around its own centre."""
    T = views(1, 24).T_field_cam_N44
    config = RandomViewConfig(translation=0.0, rotation_deg=30.0, margin=0.0)
    first = random_view_poses(T, 1.0, config, np.random.default_rng(5))
    second = random_view_poses(np.eye(4)[None], 1.0, config, np.random.default_rng(5))
    np.testing.assert_allclose(first[0, :3, :3], second[0, :3, :3] @ T[0, :3, :3], atol=1e-12)
    np.testing.assert_array_equal(first[0, :3, 3], T[0, :3, 3])
    assert rotation_angle_deg(second[0, :3, :3]) > 1.0
