"""Direct alignment of known 3-D features with a query's feature map (Lucas-Kanade with LM).

The least squares of feature alignment: fixed points with fixed features, a pose that moves.
No rendering and no back-propagation happen here.
"""

from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F

from posefield.features.filters import gaussian_blur, image_gradients
from posefield.geometry.camera import Camera
from posefield.geometry.poses import retract


@dataclass(frozen=True)
class AlignmentConfig:
    """Settings of one least-squares run.

    Attributes:
        steps: largest number of Levenberg-Marquardt steps.
        border_px: points projecting closer to the image border do not count.
        damping: initial LM damping; a rejected step multiplies it by 8, a good one divides by 3.
        max_flow_px: a step is shortened so that the median point moves no further.
        stop_px: the run ends when a step moves the median point less.
    """

    steps: int = 8
    border_px: float = 1.0
    damping: float = 1e-2
    max_flow_px: float = 4.0
    stop_px: float = 0.01


@dataclass(frozen=True)
class TargetMap:
    """A query's features with their image gradients, ready to be sampled.

    Attributes:
        stacked_1CHW: features, d/dx and d/dy behind each other, (1, 3C, H, W).
        weight_11HW: confidence of the pixels in [0, 1].
        camera: pinhole of this size.
    """

    stacked_1CHW: torch.Tensor
    weight_11HW: torch.Tensor
    camera: Camera

    @classmethod
    def build(
        cls,
        features_1CHW: torch.Tensor,
        weight_11HW: torch.Tensor,
        camera: Camera,
        sigma_px: float,
    ) -> 'TargetMap':
        """Blur features by `sigma_px` and take their gradients once."""
        blurred = masked_blur(features_1CHW, weight_11HW, sigma_px)
        return cls(torch.cat([blurred, *image_gradients(blurred)], dim=1), weight_11HW, camera)


def masked_blur(
    features_1CHW: torch.Tensor, weight_11HW: torch.Tensor, sigma_px: float
) -> torch.Tensor:
    """Return features averaged over a Gaussian window, weighted, then of unit length."""
    blurred = gaussian_blur(features_1CHW * weight_11HW, sigma_px)
    return F.normalize(blurred, dim=1, eps=1e-4)


@dataclass(frozen=True)
class SourcePoints:
    """What the map says: points and the features seen there.

    Attributes:
        points_N3: in the field frame.
        features_NC: unit length.
        weights_N: trust in each point, 0 to 1.
    """

    points_N3: torch.Tensor
    features_NC: torch.Tensor
    weights_N: torch.Tensor


@dataclass(frozen=True)
class PoseInformation:
    """A Gaussian prior on the pose: cost (x^T information x) for the twist x away from it."""

    T_cam_field: torch.Tensor
    information_66: torch.Tensor


@dataclass(frozen=True)
class AlignmentResult:
    """The pose found and how well it fits.

    Attributes:
        T_cam_field: (4, 4).
        information_66: H at the optimum for the camera-frame twist, in units of residual^2.
        cost: mean robust cost per weighted point; the kernel's scale when too little is visible.
        residual_variance: robust mean of the squared residual per point.
        overlap: share of the source weight that falls into the image.
        inlier_share: share of visible weight with a residual below the kernel's scale.
        steps: taken.
    """

    T_cam_field: torch.Tensor
    information_66: torch.Tensor
    cost: float
    residual_variance: float
    overlap: float
    inlier_share: float
    steps: int


@dataclass(frozen=True)
class _Linearisation:
    H_66: torch.Tensor
    g_6: torch.Tensor
    cost: float
    overlap: float
    errors_N: torch.Tensor
    visible_N: torch.Tensor
    flow_N26: torch.Tensor

    def charged(self, lost_cost: float) -> float:
        """Return the mean cost with every point outside the image costing so much."""
        return self.overlap * self.cost + (1.0 - self.overlap) * lost_cost


def align(
    target: TargetMap,
    source: SourcePoints,
    T_cam_field: torch.Tensor,
    config: AlignmentConfig,
    kernel_scale: float,
    prior: PoseInformation | None = None,
) -> AlignmentResult:
    """Return the pose that best lays the source features over the target's.

    Args:
        target: query features.
        source: points with features.
        T_cam_field: (4, 4) start, float32 or float64.
        config: settings.
        kernel_scale: squared residual at which the Geman-McClure kernel begins to give up.
        prior: optional Gaussian prior in the same residual units.
    """
    damping = config.damping
    T = T_cam_field.to(torch.float64)
    current = _linearise(target, source, T, config, kernel_scale, prior)
    # Points that leave the image cost what points cost at first: else the cost falls by pushing
    # out whatever fits badly.
    lost_cost = current.cost
    steps = 0
    while steps < config.steps:
        steps += 1
        twist = _damped_step(current, damping, config)
        moved = retract(T, twist)
        proposed = _linearise(target, source, moved, config, kernel_scale, prior)
        flow_px = _median_flow_px(current, twist)
        if proposed.charged(lost_cost) < current.charged(lost_cost):
            T, current, damping = moved, proposed, max(damping / 3.0, 1e-6)
        else:
            damping = damping * 8.0
        if flow_px < config.stop_px or damping > 1e6:
            break
    return _result(T, current, source, kernel_scale, steps)


def _result(T, current, source, kernel_scale, steps) -> AlignmentResult:
    weights = source.weights_N * current.visible_N
    total = float(weights.sum())
    robust = weights * _kernel_weight(current.errors_N, kernel_scale)
    inliers = float((weights * (current.errors_N < kernel_scale)).sum())
    return AlignmentResult(
        T_cam_field=T,
        information_66=current.H_66,
        cost=current.cost,
        residual_variance=float((robust * current.errors_N).sum() / robust.sum().clamp(min=1e-9)),
        overlap=total / max(float(source.weights_N.sum()), 1e-9),
        inlier_share=inliers / max(total, 1e-9),
        steps=steps,
    )


def _kernel_weight(errors_N: torch.Tensor, scale: float) -> torch.Tensor:
    return (1.0 + errors_N / scale) ** -2


def _damped_step(current, damping: float, config: AlignmentConfig) -> torch.Tensor:
    diagonal = current.H_66.diagonal().clamp(min=1e-9)
    damped = current.H_66 + torch.diag(damping * diagonal + 1e-9)
    twist = -torch.linalg.solve(damped, current.g_6)
    flow = _median_flow_px(current, twist)
    return twist * min(1.0, config.max_flow_px / max(flow, 1e-9))


def _median_flow_px(current, twist_6: torch.Tensor) -> float:
    visible = current.flow_N26[current.visible_N > 0]
    if not len(visible):
        return 0.0
    return float((visible @ twist_6.to(visible.dtype)).norm(dim=1).median())


def _linearise(target, source, T, config, kernel_scale, prior) -> _Linearisation:
    camera = target.camera
    T32 = T.to(torch.float32)
    X = source.points_N3 @ T32[:3, :3].T + T32[:3, 3]
    z = X[:, 2].clamp(min=1e-3)
    x, y = X[:, 0] / z, X[:, 1] / z
    u, v = camera.fx * x + camera.cx, camera.fy * y + camera.cy
    border = config.border_px
    visible = (
        (X[:, 2] > 1e-3)
        & (u > border)
        & (u < camera.width - 1 - border)
        & (v > border)
        & (v < camera.height - 1 - border)
    ).to(torch.float32)
    sampled = sample_map(torch.cat([target.stacked_1CHW, target.weight_11HW], dim=1), u, v)
    values, dx, dy = sampled[:, :-1].chunk(3, dim=1)
    visible = visible * sampled[:, -1]
    residuals = values - source.features_NC
    errors = (residuals**2).sum(dim=1)
    weights = source.weights_N * visible * _kernel_weight(errors, kernel_scale)
    du, dv = _flow_rows(x, y, z, camera)
    H, g = _normal_equations(du, dv, dx, dy, residuals, weights)
    base = source.weights_N * visible
    total = float(base.sum())
    if total < 1e-3 * max(float(source.weights_N.sum()), 1e-9) or total <= 0.0:
        cost = kernel_scale  # what the robust kernel tends to for hopeless residuals
    else:
        cost = float((base * errors / (1.0 + errors / kernel_scale)).sum()) / total
    if prior is not None:
        H, g, cost = _with_prior(H, g, cost, total, T, prior)
    overlap = total / max(float(source.weights_N.sum()), 1e-9)
    return _Linearisation(H, g, cost, overlap, errors, visible, torch.stack([du, dv], dim=1))


def _flow_rows(x, y, z, camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Return d(u)/d(twist) and d(v)/d(twist), each (N, 6)."""
    zero = torch.zeros_like(x)
    fx, fy = camera.fx, camera.fy
    du = [fx / z, zero, -fx * x / z, -fx * x * y, fx * (1.0 + x * x), -fx * y]
    dv = [zero, fy / z, -fy * y / z, -fy * (1.0 + y * y), fy * x * y, fy * x]
    return torch.stack(du, dim=1), torch.stack(dv, dim=1)


def _normal_equations(du, dv, dx, dy, residuals, weights):
    """Accumulate J^T W J and J^T W r from three scalars per point; no C x 6 matrix is built."""
    a = (weights * (dx * dx).sum(dim=1))[:, None]
    b = (weights * (dx * dy).sum(dim=1))[:, None]
    c = (weights * (dy * dy).sum(dim=1))[:, None]
    gx = weights * (dx * residuals).sum(dim=1)
    gy = weights * (dy * residuals).sum(dim=1)
    mixed = du.T @ (b * dv)
    H = du.T @ (a * du) + mixed + mixed.T + dv.T @ (c * dv)
    g = du.T @ gx + dv.T @ gy
    return H.to(torch.float64), g.to(torch.float64)


def _with_prior(H, g, cost, total, T, prior):
    difference = twist_between(prior.T_cam_field, T)
    pulled = prior.information_66 @ difference
    return (
        H + prior.information_66,
        g + pulled,
        cost + float(difference @ pulled) / max(total, 1e-9),
    )


def twist_between(T_from: torch.Tensor, T_to: torch.Tensor) -> torch.Tensor:
    """Return the twist (v, w) with retract(T_from, twist) = T_to."""
    R = T_to[:3, :3] @ T_from[:3, :3].T
    v = T_to[:3, 3] - R @ T_from[:3, 3]
    return torch.cat([v, roma.rotmat_to_rotvec(R)])


def sample_map(map_1CHW: torch.Tensor, u_N: torch.Tensor, v_N: torch.Tensor) -> torch.Tensor:
    """Return the map's values (N, C) at pixels, bilinear, clamped at the border."""
    height, width = map_1CHW.shape[-2:]
    grid = torch.stack([2.0 * u_N / (width - 1) - 1.0, 2.0 * v_N / (height - 1) - 1.0], dim=-1)
    sampled = F.grid_sample(map_1CHW, grid[None, None], align_corners=True, padding_mode='border')
    return sampled[0, :, 0].T
