"""Refinement by gradients in a room that is known exactly (NeFeS section 11, item 6)."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from posefield.geometry.poses import invert, perturbed, pose_errors
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.adam import Evaluation, descend
from posefield.relocalization.refiners.feature_loss import channel_cosine_loss
from posefield.relocalization.refiners.gradient_config import (
    GRADIENT_REFINERS,
    LearningRates,
    NefesAConfig,
    NefesBConfig,
)
from posefield.relocalization.refiners.gradient_refiner import GradientRefiner, RefinedMap
from posefield.relocalization.refiners.nefes import (
    ComparedWindow,
    FeatureObjective,
    NetworkPose,
)
from posefield.relocalization.refiners.photometric import ColourObjective
from posefield.relocalization.refiners.pose_parameters import PoseOffset
from posefield.relocalization.regressors.regressor import rigid_poses
from support.textured_room import look_at, pinhole
from support.wave_room import RoomSynthesis, WaveRoom

CAMERA = pinhole(40, 30, 35.0)
T_TRUE = look_at(np.array([-0.9, -0.7, 0.1]), np.array([1.0, 0.5, -0.2]))
VIEW_SCALE = 2.5
RATES = LearningRates(0.0087, 0.0075 * VIEW_SCALE)


@dataclass(frozen=True)
class Check:
    information_66: np.ndarray
    cost: float = 0.1
    inlier_share: float = 0.9
    overlap: float = 0.8


class Checker:
    """Stands for a FieldAligner: remembers which poses it was asked to check."""

    def __init__(self):
        self.checked = []

    def check(self, query: Query, T_field_cam: np.ndarray) -> Check:
        self.checked.append(T_field_cam)
        return Check(np.diag(np.arange(1.0, 7.0)))


class TinyRegressor(nn.Module):
    """A pose out of the mean brightness of an image's quarters, with layers that have modes."""

    def __init__(self, T_field_cam: np.ndarray, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Dropout(0.5),
                nn.Linear(16, 12),
            )
        nn.init.normal_(
            self.layers[-1].weight, std=1e-3, generator=torch.Generator().manual_seed(seed)
        )
        with torch.no_grad():
            self.layers[-1].bias.copy_(torch.tensor(T_field_cam[:3].reshape(-1)))

    def poses(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        return rigid_poses(self.layers(images_B3HW).reshape(-1, 3, 4))


@pytest.fixture(scope='module')
def synthesis() -> RoomSynthesis:
    return RoomSynthesis(WaveRoom(), CAMERA, torch.from_numpy(T_TRUE))


@pytest.fixture(scope='module')
def query(synthesis) -> Query:
    image = synthesis.observed_colours().permute(1, 2, 0).contiguous().numpy()
    return Query(SizedImage(image, CAMERA), None, 'cpu')


def refined_map(synthesis, T_regressed: np.ndarray = T_TRUE) -> RefinedMap:
    return RefinedMap(
        synthesise=lambda query: synthesis,
        aligner=Checker(),
        regressor=TinyRegressor(T_regressed),
        reference_camera=CAMERA,
        scene_scale=VIEW_SCALE,
        field_per_map=0.5,
    )


def starts(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [perturbed(T_TRUE, 0.05, 2.0, generator) for _ in range(count)]


def relative_error(T: np.ndarray) -> float:
    """Return a start's error as 1, with equal shares of both kinds."""
    errors = pose_errors(np.asarray(T), T_TRUE)
    return 0.5 * (errors.translation / 0.05 + errors.rotation_deg / 2.0)


def improved_share(align, count: int) -> tuple[float, float]:
    """Return the share of starts that both errors fell of, and the median error after."""
    found = [align(start) for start in starts(count)]
    errors = [pose_errors(T, T_TRUE) for T in found]
    better = [error.translation < 0.05 and error.rotation_deg < 2.0 for error in errors]
    return float(np.mean(better)), float(np.median([relative_error(T) for T in found]))


@pytest.mark.parametrize(('exponential', 'count'), [(True, 20), (False, 10)])
def test_mode_b_improves_nine_in_ten_starts_within_fifty_iterations(
    synthesis, query, exponential, count
):
    config = NefesBConfig(exponential=exponential)
    refiner = GradientRefiner(refined_map(synthesis), config, 'cpu')
    share, median = improved_share(lambda start: refiner.align(query, start).T_field_cam, count)
    assert share >= 0.9
    assert median < 0.5


@pytest.mark.parametrize('name', ['photometric-sparse', 'photometric-dense'])
def test_photometric_refinement_improves_nine_in_ten_starts(synthesis, query, name):
    config = replace(GRADIENT_REFINERS[name], rays=300 if name.endswith('sparse') else None)
    refiner = GradientRefiner(refined_map(synthesis), config, 'cpu')
    share, median = improved_share(lambda start: refiner.align(query, start).T_field_cam, 10)
    assert share >= 0.9
    assert median < 0.5


def test_mode_a_improves_nine_in_ten_regressed_poses(synthesis, query):
    config = NefesAConfig(rate=1e-3, short_side=60, border_px=2)

    def align(start: np.ndarray) -> np.ndarray:
        regressed = refined_map(synthesis, start)
        return GradientRefiner(regressed, config, 'cpu').align(query, start).T_field_cam

    share, median = improved_share(align, 10)
    assert share >= 0.9
    assert median < 0.5


def test_mode_a_leaves_the_regressor_and_its_statistics_alone(synthesis, query):
    parts = refined_map(synthesis, starts(1)[0])
    before = {name: tensor.clone() for name, tensor in parts.regressor.state_dict().items()}
    parts.regressor.requires_grad_(False)
    GradientRefiner(parts, NefesAConfig(iterations=3, rate=1e-3), 'cpu').align(query, starts(1)[0])
    for name, tensor in parts.regressor.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(parameter.requires_grad for parameter in parts.regressor.parameters())
    assert parts.regressor.training


def test_the_copy_of_the_regressor_keeps_its_statistics_and_drops_nothing(query):
    moving = NetworkPose(TinyRegressor(T_TRUE), query.tensor(30), torch.eye(4).double(), 1e-3)
    with torch.no_grad():
        first, again = moving.pose(), moving.pose()
    torch.testing.assert_close(first, torch.eye(4).double(), atol=1e-6, rtol=0.0)
    assert torch.equal(first, again)


def test_the_change_of_the_network_moves_a_start_that_it_did_not_regress(query):
    view = query.tensor(30)
    T_regressed, T_start = starts(2)
    own = torch.from_numpy(T_regressed)
    moves = [
        NetworkPose(TinyRegressor(T_regressed), view, start, 1e-2)
        for start in (own, torch.from_numpy(T_start))
    ]
    for moving in moves:
        moving.pose()[:3].sum().backward()
        moving.optimiser.step()
    with torch.no_grad():
        first, second = (moving.pose().numpy() for moving in moves)
    change = invert(own.numpy()) @ first
    assert np.abs(change - np.eye(4)).max() > 1e-3
    # Adam's steps have the size of its rate, whatever the gradient, so the networks agree
    # wherever the signs of their gradients do; the frame of the motion is what is tested.
    regressed = TinyRegressor(T_regressed).eval()
    with torch.no_grad():
        before = regressed.poses(view)[0].double().numpy()
        after = moves[1].network.poses(view)[0].double().numpy()
    np.testing.assert_allclose(second, T_start @ invert(before) @ after, atol=1e-5)


@pytest.mark.parametrize('config', [NefesAConfig(rate=1e-3), *GRADIENT_REFINERS.values()])
def test_the_same_query_gives_the_same_pose(synthesis, query, config):
    config = replace(config, iterations=4)
    start = starts(1)[0]
    first, second = (
        GradientRefiner(refined_map(synthesis), config, 'cpu').align(query, start)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.T_field_cam, second.T_field_cam)
    assert np.abs(first.T_field_cam - start).max() > 1e-7


def test_what_is_returned_comes_from_one_check_of_the_final_pose(synthesis, query):
    parts = refined_map(synthesis)
    refined = GradientRefiner(parts, NefesBConfig(iterations=7), 'cpu').align(query, starts(1)[0])
    assert [T.tolist() for T in parts.aligner.checked] == [refined.T_field_cam.tolist()]
    np.testing.assert_array_equal(refined.information_66, np.diag(np.arange(1.0, 7.0)))
    assert (refined.cost, refined.inlier_share, refined.overlap) == (0.1, 0.9, 0.8)
    assert (refined.renders, refined.iterations) == (7, 7)
    assert refined.T_field_cam.dtype == np.float64
    np.testing.assert_allclose(
        refined.T_field_cam[:3, :3] @ refined.T_field_cam[:3, :3].T, np.eye(3), atol=1e-12
    )


@pytest.mark.parametrize(
    'config',
    [
        NefesAConfig(iterations=6, rate=0.3, short_side=30, border_px=2),
        NefesBConfig(iterations=6, rates=LearningRates(0.2, 0.5), verify=True),
    ],
)
def test_a_refinement_that_makes_the_render_less_alike_is_rejected(synthesis, query, config):
    start = starts(1)[0]
    refined = GradientRefiner(refined_map(synthesis, start), config, 'cpu').align(query, start)
    np.testing.assert_array_equal(refined.T_field_cam, start)
    unverified = replace(config, verify=False)
    away = GradientRefiner(refined_map(synthesis, start), unverified, 'cpu').align(query, start)
    assert relative_error(away.T_field_cam) > 1.5


def test_a_good_refinement_passes_the_fail_safe(synthesis, query):
    config = NefesBConfig(verify=True)
    refined = GradientRefiner(refined_map(synthesis), config, 'cpu').align(query, starts(1)[0])
    assert relative_error(refined.T_field_cam) < 0.8


def test_the_window_of_mode_a_enlarges_and_cuts_the_border(query):
    window = ComparedWindow.enlarged(query, 240, 80)
    # The query has a short side of 30, an eighth of 240, so an eighth of the border.
    assert (window.height, window.width, window.border) == (30, 40, 10)
    assert ComparedWindow.enlarged(query, 20, 3) == ComparedWindow(20, 27, 3)
    maps = torch.arange(12.0).reshape(1, 3, 4)
    assert ComparedWindow(3, 4, 1).of(maps).tolist() == [[[5.0, 6.0]]]
    ramp = torch.arange(8.0).expand(2, 6, 8)
    enlarged = ComparedWindow(24, 32, 10).of(ramp)
    assert enlarged.shape == (2, 4, 12)
    # Half-pixel centres: pixel c shows what is at (c + 0.5) / 4 - 0.5, up to the cubic's waves.
    expected = (torch.arange(10.0, 22.0) + 0.5) / 4.0 - 0.5
    torch.testing.assert_close(enlarged[0, 0], expected, atol=0.05, rtol=0.0)


def test_the_border_does_not_count(synthesis, query):
    window = ComparedWindow(30, 40, 3)
    objective = FeatureObjective(synthesis, channel_cosine_loss, window)
    assert float(objective(torch.from_numpy(T_TRUE)).loss) == pytest.approx(0.0, abs=1e-6)
    view = synthesis.view(torch.from_numpy(T_TRUE).float()).features_CHW
    spoiled = view.clone()
    spoiled[:, :3] = 100.0
    torch.testing.assert_close(window.of(spoiled), window.of(view))


def test_sparse_rays_are_drawn_anew_but_from_the_seed(synthesis):
    T = torch.from_numpy(starts(1)[0])
    first, same, other = (ColourObjective(synthesis, 50, seed) for seed in (0, 0, 1))
    losses = [float(first(T).loss) for _ in range(3)]
    assert len(set(losses)) == 3
    assert [float(same(T).loss) for _ in range(3)] == losses
    assert float(other(T).loss) not in losses
    whole = float(ColourObjective(synthesis, None, 0)(T).loss)
    everything = ColourObjective(synthesis, 10_000, 0)  # more than there are
    assert float(everything(T).loss) == pytest.approx(whole, rel=1e-5)
    assert np.mean([float(first(T).loss) for _ in range(200)]) == pytest.approx(whole, rel=0.1)


def test_gradients_that_are_not_finite_move_nothing():
    start = torch.from_numpy(T_TRUE)
    offset = PoseOffset(start, RATES, exponential=True)

    def objective(T: torch.Tensor) -> Evaluation:
        return Evaluation((T[0, 3] - T[0, 3].detach()).sqrt())  # its slope is infinite

    descent = descend(offset, objective, 3)
    torch.testing.assert_close(descent.T_field_cam, start)
    assert descent.losses.tolist() == [0.0, 0.0, 0.0]


def test_losses_and_the_first_and_last_view_are_kept(synthesis):
    start = torch.from_numpy(starts(1)[0])
    offset = PoseOffset(start, RATES, exponential=True)
    objective = FeatureObjective(synthesis, channel_cosine_loss, ComparedWindow(30, 40))
    descent = descend(offset, objective, 10)
    assert descent.losses.shape == (10,)
    assert descent.losses[-1] < 0.5 * descent.losses[0]
    torch.testing.assert_close(
        descent.first.colours_3HW, synthesis.view(start.float()).colours_3HW
    )
    assert not torch.equal(descent.first.colours_3HW, descent.last.colours_3HW)
    assert not descent.last.colours_3HW.requires_grad
