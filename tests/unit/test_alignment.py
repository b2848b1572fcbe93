"""The least squares of feature alignment, on a room that is known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from posefield.features.filters import image_gradients
from posefield.features.gradient import GradientFeatures
from posefield.geometry.poses import invert, perturbed, retract
from posefield.geometry.rays import camera_rays, pixel_grid
from posefield.relocalization.refiners.alignment import (
    AlignmentConfig,
    PoseInformation,
    SourcePoints,
    TargetMap,
    _flow_rows,
    _linearise,
    align,
    masked_blur,
    sample_map,
    twist_between,
)
from support.textured_room import TexturedRoom, look_at, pinhole

CAMERA = pinhole(120, 90, 100.0)
KERNEL_SCALE = 0.5
T_REFERENCE = look_at(np.array([-0.9, -0.7, 0.1]), np.array([1.0, 0.5, -0.2]))
T_QUERY = perturbed(T_REFERENCE, 0.15, 5.0, np.random.default_rng(5))


@pytest.fixture(scope='module')
def room() -> TexturedRoom:
    return TexturedRoom(seed=1)


def features_of(image_HW3: np.ndarray) -> torch.Tensor:
    return GradientFeatures()(torch.from_numpy(image_HW3).permute(2, 0, 1)[None])


def target_of(room: TexturedRoom, T_map_cam: np.ndarray, sigma_px: float) -> TargetMap:
    features = features_of(room.view(CAMERA, T_map_cam)[0])
    return TargetMap.build(features, torch.ones_like(features[:, :1]), CAMERA, sigma_px)


def source_of(room: TexturedRoom, T_map_cam: np.ndarray, sigma_px: float) -> SourcePoints:
    image, depths = room.view(CAMERA, T_map_cam)
    features = features_of(image)
    features = masked_blur(features, torch.ones_like(features[:, :1]), sigma_px)
    rays = camera_rays(CAMERA, pixel_grid(CAMERA.height, CAMERA.width)).double().numpy()
    points = (rays * depths.reshape(-1, 1)) @ T_map_cam[:3, :3].T + T_map_cam[:3, 3]
    flat = features[0].reshape(features.shape[1], -1).T.contiguous()
    return SourcePoints(torch.tensor(points, dtype=torch.float32), flat, torch.ones(len(flat)))


def inverse_tensor(T_map_cam: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(invert(T_map_cam))


def median_error_px(source: SourcePoints, T_cam_map: torch.Tensor, T_true: torch.Tensor) -> float:
    """Return how far the points that both see project from where they should."""
    pixels = []
    for T in (T_cam_map.numpy(), T_true.numpy()):
        points = source.points_N3.double().numpy() @ T[:3, :3].T + T[:3, 3]
        pixels.append(CAMERA.project(points))
    both = pixels[0][1] & pixels[1][1]
    assert both.mean() > 0.3
    return float(np.median(np.linalg.norm(pixels[0][0] - pixels[1][0], axis=1)[both]))


def test_the_flow_rows_are_the_derivative_of_the_projection():
    generator = torch.Generator().manual_seed(0)
    camera = replace(CAMERA, fx=90.0, fy=110.0, cx=50.0, cy=40.0)
    points = torch.rand(6, 3, generator=generator, dtype=torch.float64) + torch.tensor(
        [-0.5, 0, 1]
    )

    def project(twist: torch.Tensor) -> torch.Tensor:
        T = retract(torch.eye(4, dtype=torch.float64), twist)
        X = points @ T[:3, :3].T + T[:3, 3]
        u = camera.fx * X[:, 0] / X[:, 2] + camera.cx
        return torch.stack([u, camera.fy * X[:, 1] / X[:, 2] + camera.cy], dim=1)

    zero = torch.full((6,), 1e-12, dtype=torch.float64)  # log is smooth at, but not for, 0
    expected = torch.autograd.functional.jacobian(project, zero)
    z = points[:, 2]
    du, dv = _flow_rows(points[:, 0] / z, points[:, 1] / z, z, camera)
    torch.testing.assert_close(torch.stack([du, dv], dim=1), expected, atol=1e-8, rtol=1e-8)


def test_twist_between_undoes_retract():
    generator = torch.Generator().manual_seed(1)
    T = inverse_tensor(T_REFERENCE)
    for _ in range(10):
        twist = torch.randn(6, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(twist_between(T, retract(T, twist)), twist)


def test_a_map_is_sampled_bilinearly_at_pixel_centres():
    features = torch.rand(1, 2, 4, 5, generator=torch.Generator().manual_seed(2))
    u, v = torch.tensor([0.0, 3.0, 1.5, 4.0]), torch.tensor([0.0, 2.0, 0.25, 3.0])
    mean = 0.5 * (features[0, :, :, 1] + features[0, :, :, 2])
    expected = [
        features[0, :, 0, 0],
        features[0, :, 2, 3],
        0.75 * mean[:, 0] + 0.25 * mean[:, 1],
        features[0, :, 3, 4],
    ]
    torch.testing.assert_close(sample_map(features, u, v), torch.stack(expected))


def test_masked_pixels_do_not_leak_into_their_neighbours():
    features = torch.zeros(1, 2, 9, 9)
    features[:, 0] = 1.0
    features[:, 1, :, 5:] = 100.0
    mask = torch.ones(1, 1, 9, 9)
    mask[..., 5:] = 0.0
    blurred = masked_blur(features, mask, 1.0)
    torch.testing.assert_close(blurred[0, :, 4, 4], torch.tensor([1.0, 0.0]))


def test_normal_equations_are_those_of_the_whole_jacobian(room):
    target = target_of(room, T_QUERY, 1.5)
    source = source_of(room, T_REFERENCE, 1.5)
    generator = torch.Generator().manual_seed(3)
    rows = torch.randperm(len(source.points_N3), generator=generator)[:200]
    weights = torch.rand(200, generator=generator)
    source = SourcePoints(source.points_N3[rows], source.features_NC[rows], weights)
    T = inverse_tensor(perturbed(T_REFERENCE, 0.05, 2.0, np.random.default_rng(1)))
    found = _linearise(target, source, T, AlignmentConfig(), KERNEL_SCALE, None)
    H, g, cost, total = torch.zeros(6, 6).double(), torch.zeros(6).double(), 0.0, 0.0
    for point, feature, weight in zip(
        source.points_N3.double(), source.features_NC.double(), weights.double(), strict=True
    ):
        X = T[:3, :3] @ point + T[:3, 3]
        x, y = X[0] / X[2], X[1] / X[2]
        u, v = CAMERA.fx * x + CAMERA.cx, CAMERA.fy * y + CAMERA.cy
        if not (1.0 < u < CAMERA.width - 2.0 and 1.0 < v < CAMERA.height - 2.0):
            continue
        values, dx, dy = sample_map(target.stacked_1CHW.double(), u[None], v[None])[0].chunk(3)
        du, dv = _flow_rows(x[None], y[None], X[2][None], CAMERA)
        J = dx[:, None] * du + dy[:, None] * dv
        residual = values - feature
        error = residual @ residual
        w = weight * (1.0 + error / KERNEL_SCALE) ** -2
        H += w * J.T @ J
        g += w * J.T @ residual
        cost += float(weight * error / (1.0 + error / KERNEL_SCALE))
        total += float(weight)
    assert 0.0 < total < float(weights.sum())
    torch.testing.assert_close(found.H_66, H, rtol=1e-3, atol=1e-3 * float(H.diagonal().max()))
    torch.testing.assert_close(found.g_6, g, rtol=1e-3, atol=1e-3 * float(g.abs().max()))
    assert found.cost == pytest.approx(cost / total, rel=1e-4)
    overlap = total / float(weights.sum())
    assert found.overlap == pytest.approx(overlap, rel=1e-4)
    expected = overlap * cost / total + (1.0 - overlap) * 0.7
    assert found.charged(0.7) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('kernel_scale', [1e9, 0.5])
def test_the_gradient_and_the_jacobian_are_those_of_autograd_in_double_precision(kernel_scale):
    """On features that are linear in the image, central differences are exact derivatives."""
    generator = torch.Generator().manual_seed(4)
    slopes = torch.randn(5, 2, generator=generator).double() / CAMERA.width
    pixels = pixel_grid(CAMERA.height, CAMERA.width).double()
    features = (slopes @ pixels.T).reshape(1, 5, CAMERA.height, CAMERA.width).float()
    stacked = torch.cat([features, *image_gradients(features)], dim=1)
    target = TargetMap(stacked, torch.ones_like(features[:, :1]), CAMERA)
    points = torch.rand(40, 3, generator=generator).double() - torch.tensor([0.5, 0.5, -1.5])
    wanted = torch.randn(40, 5, generator=generator).double()
    weights = torch.rand(40, generator=generator).double()
    source = SourcePoints(points.float(), wanted.float(), weights.float())
    T = torch.from_numpy(perturbed(np.eye(4), 0.05, 2.0, np.random.default_rng(1)))

    def residuals(twist: torch.Tensor) -> torch.Tensor:
        moved = retract(T, twist)
        X = points @ moved[:3, :3].T + moved[:3, 3]
        u = CAMERA.fx * X[:, 0] / X[:, 2] + CAMERA.cx
        v = CAMERA.fy * X[:, 1] / X[:, 2] + CAMERA.cy
        assert (u > 2).all() and (u < 117).all() and (v > 2).all() and (v < 87).all()
        return torch.stack([u, v], dim=1) @ slopes.T - wanted

    def cost(twist: torch.Tensor) -> torch.Tensor:
        errors = (residuals(twist) ** 2).sum(dim=1)
        return 0.5 * (weights * errors / (1.0 + errors / kernel_scale)).sum()

    zero = torch.zeros(6, dtype=torch.float64)
    g = torch.autograd.functional.jacobian(cost, zero)
    J = torch.autograd.functional.jacobian(residuals, zero)
    errors = (residuals(zero) ** 2).sum(dim=1)
    robust = weights * (1.0 + errors / kernel_scale) ** -2
    H = torch.einsum('nci,n,ncj->ij', J, robust, J)
    found = _linearise(target, source, T, AlignmentConfig(), kernel_scale, None)
    torch.testing.assert_close(found.g_6, g, rtol=1e-4, atol=1e-4 * float(g.abs().max()))
    torch.testing.assert_close(found.H_66, H, rtol=1e-4, atol=1e-4 * float(H.diagonal().max()))
    assert found.cost == pytest.approx(2.0 * float(cost(zero) / weights.sum()), rel=1e-4)


def coarse_to_fine(room, T_start: np.ndarray, prior: PoseInformation | None = None):
    T = inverse_tensor(T_start)
    for sigma_px in (5.0, 3.0, 1.5, 0.7):
        result = align(
            target_of(room, T_QUERY, sigma_px),
            source_of(room, T_REFERENCE, sigma_px),
            T,
            AlignmentConfig(steps=12, border_px=2.0),
            KERNEL_SCALE,
            prior,
        )
        T = result.T_cam_field
    return result


@pytest.mark.parametrize('seed', range(4))
def test_a_perturbed_pose_is_recovered_to_a_tenth_of_a_pixel(room, seed):
    T_start = perturbed(T_QUERY, 0.15, 5.0, np.random.default_rng(seed))
    source, T_true = source_of(room, T_REFERENCE, 0.7), inverse_tensor(T_QUERY)
    assert median_error_px(source, inverse_tensor(T_start), T_true) > 4.0
    result = coarse_to_fine(room, T_start)
    assert median_error_px(source, result.T_cam_field, T_true) < 0.1
    assert result.inlier_share > 0.8
    assert 0.3 < result.overlap < 1.0
    assert result.T_cam_field.dtype == torch.float64


def test_every_accepted_step_lowers_the_cost(room):
    target, source = target_of(room, T_QUERY, 3.0), source_of(room, T_REFERENCE, 3.0)
    start = inverse_tensor(perturbed(T_QUERY, 0.08, 3.0, np.random.default_rng(2)))
    costs = [
        align(target, source, start, AlignmentConfig(steps=steps), KERNEL_SCALE).cost
        for steps in range(8)
    ]
    assert (np.diff(costs) <= 0).all()
    assert costs[-1] < 0.7 * costs[0]


def test_no_steps_leave_the_pose_and_tell_how_well_it_fits(room):
    target, source = target_of(room, T_REFERENCE, 1.5), source_of(room, T_REFERENCE, 1.5)
    start = inverse_tensor(T_REFERENCE)
    fits = align(target, source, start, AlignmentConfig(steps=0), KERNEL_SCALE)
    assert torch.equal(fits.T_cam_field, start)
    assert fits.steps == 0
    assert fits.cost < 1e-4
    assert fits.inlier_share == pytest.approx(1.0)
    off = inverse_tensor(perturbed(T_REFERENCE, 0.3, 20.0, np.random.default_rng(0)))
    wrong = align(target, source, off, AlignmentConfig(steps=0), KERNEL_SCALE)
    assert wrong.cost > 0.1
    assert wrong.inlier_share < 0.6
    assert wrong.overlap < fits.overlap


def test_a_first_step_is_shortened_to_the_largest_flow(room):
    target, source = target_of(room, T_QUERY, 5.0), source_of(room, T_REFERENCE, 5.0)
    start = inverse_tensor(T_REFERENCE)
    config = AlignmentConfig(steps=1, max_flow_px=0.5)
    moved = align(target, source, start, config, KERNEL_SCALE).T_cam_field
    assert 0.3 < median_error_px(source, moved, start) < 0.7


def test_a_sure_prior_holds_and_a_vague_one_lets_go(room):
    T_prior = inverse_tensor(perturbed(T_QUERY, 0.03, 1.0, np.random.default_rng(6)))
    source, T_true = source_of(room, T_REFERENCE, 0.7), inverse_tensor(T_QUERY)
    away_px = median_error_px(source, T_prior, T_true)
    assert away_px > 0.8
    left_px = []
    for strength in (1e9, 1e-6):
        prior = PoseInformation(T_prior, strength * torch.eye(6, dtype=torch.float64))
        found = coarse_to_fine(room, T_REFERENCE, prior).T_cam_field
        left_px.append(median_error_px(source, found, T_true))
    assert left_px[0] == pytest.approx(away_px, abs=0.05)
    assert left_px[1] < 0.1


def test_the_information_of_a_prior_adds_up(room):
    target, source = target_of(room, T_QUERY, 1.5), source_of(room, T_REFERENCE, 1.5)
    start = inverse_tensor(T_QUERY)
    still = AlignmentConfig(steps=0)
    information = torch.diag(torch.arange(1.0, 7.0, dtype=torch.float64))
    alone = align(target, source, start, still, KERNEL_SCALE)
    prior = PoseInformation(start, information)
    both = align(target, source, start, still, KERNEL_SCALE, prior)
    torch.testing.assert_close(both.information_66, alone.information_66 + information)
    assert both.cost == pytest.approx(alone.cost)


@pytest.mark.parametrize('weight', [0.0, 1.0])
def test_where_nothing_is_visible_the_pose_stays_and_the_cost_is_the_kernels(room, weight):
    target, source = target_of(room, T_QUERY, 1.5), source_of(room, T_REFERENCE, 1.5)
    source = replace(source, weights_N=torch.full_like(source.weights_N, weight))
    behind = T_REFERENCE.copy()
    if weight:
        behind[:3, [0, 2]] *= -1.0  # turned round
    start = inverse_tensor(behind)
    result = align(target, source, start, AlignmentConfig(), KERNEL_SCALE)
    torch.testing.assert_close(result.T_cam_field, start)
    assert result.cost == KERNEL_SCALE
    assert result.overlap == 0.0
    assert np.isfinite(result.residual_variance)


def test_points_without_weight_have_no_say(room):
    target, source = target_of(room, T_QUERY, 1.5), source_of(room, T_REFERENCE, 1.5)
    half = torch.arange(len(source.weights_N)) % 2 == 0
    wrong = source.features_NC.flip(0)
    mixed = SourcePoints(
        source.points_N3, torch.where(half[:, None], source.features_NC, wrong), half.float()
    )
    alone = SourcePoints(source.points_N3[half], source.features_NC[half], source.weights_N[half])
    start = inverse_tensor(T_REFERENCE)
    first, second = (
        align(target, points, start, AlignmentConfig(), KERNEL_SCALE) for points in (mixed, alone)
    )
    torch.testing.assert_close(first.T_cam_field, second.T_cam_field, atol=1e-4, rtol=0.0)


def pulled_out_of_the_image() -> tuple[TargetMap, SourcePoints]:
    """A target that rises to the right, and points that want more of it than there is.

    Half of the points lie where it is flat and fit; a quarter would fit 8 pixels beyond the
    border, and a quarter, nearer to it, nowhere.
    """
    u = torch.arange(CAMERA.width, dtype=torch.float32)
    rising = 0.02 * (u - 70.0).clamp(min=0.0)
    features = rising.expand(1, 1, CAMERA.height, CAMERA.width).contiguous()
    stacked = torch.cat([features, *image_gradients(features)], dim=1)
    target = TargetMap(stacked, torch.ones_like(features), CAMERA)
    pixels, wanted = [], []
    for columns, value in ((range(10, 50), 0.0), ([95] * 20, 1.1), ([105] * 20, 2.0)):
        rows = np.linspace(42.0, 47.0, len(columns))
        pixels += list(zip(columns, rows, strict=True))
        wanted += [value] * len(columns)
    points = 2.0 * CAMERA.unproject(np.array(pixels))
    source = SourcePoints(
        torch.tensor(points, dtype=torch.float32),
        torch.tensor(wanted)[:, None],
        torch.ones(len(wanted)),
    )
    return target, source


def test_points_that_came_to_fit_are_not_pushed_out_of_the_image():
    target, source = pulled_out_of_the_image()
    start = torch.eye(4, dtype=torch.float64)
    first, *later = (
        align(target, source, start, AlignmentConfig(steps=steps), KERNEL_SCALE)
        for steps in range(0, 25, 2)
    )
    assert first.overlap == pytest.approx(1.0)
    gains = [result.overlap * (first.cost - result.cost) for result in later]
    assert (np.diff(gains) >= -1e-9).all()
    assert gains[-1] > 0.5 * first.cost
    # Only those that fit nowhere are given up.
    assert 0.7 < later[-1].overlap <= 0.75
    assert later[-1].inlier_share == pytest.approx(1.0)
