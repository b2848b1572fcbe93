"""What a gradient refiner moves: an offset of the pose (NeFeS section 5.3)."""

import roma
import torch

from posefield.relocalization.refiners.gradient_config import LearningRates

# Below this squared angle three terms of the power series are exact to double precision.
SMALL_SQUARE = 1e-4


def compose(
    T_start: torch.Tensor, r_3: torch.Tensor, tau_3: torch.Tensor, exponential: bool
) -> torch.Tensor:
    """Return the pose (4, 4) with R = Exp(r) R0 and t = t0 + V(r) tau, or t0 + tau.

    The rotation is about the camera centre and along the axes of the world, so neither parameter
    disturbs the other: tau = 0 leaves the centre where it is.

    Args:
        T_start: (4, 4) camera to world.
        r_3: rotation vector, radians.
        tau_3: units of the translation.
        exponential: whether V, the left Jacobian of the rotation, is applied to tau.
    """
    R = roma.rotvec_to_rotmat(r_3) @ T_start[:3, :3]
    moved = left_jacobian(r_3) @ tau_3 if exponential else tau_3
    top = torch.cat([R, (T_start[:3, 3] + moved)[:, None]], dim=1)
    return torch.cat([top, T_start[3:]])


def left_jacobian(r_3: torch.Tensor) -> torch.Tensor:
    """Return V(r) (3, 3) of SE(3): Exp((tau, r)) translates by V(r) tau; smooth at 0."""
    square = (r_3 * r_3).sum()
    small = square < SMALL_SQUARE
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    b = torch.where(
        small,
        0.5 - square / 24.0 * (1.0 - square / 30.0),
        (1.0 - torch.cos(angle)) / angle**2,
    )
    c = torch.where(
        small,
        1.0 / 6.0 - square / 120.0 * (1.0 - square / 42.0),
        (angle - torch.sin(angle)) / angle**3,
    )
    K = cross_matrix(r_3)
    return torch.eye(3, dtype=r_3.dtype, device=r_3.device) + b * K + c * K @ K


def cross_matrix(r_3: torch.Tensor) -> torch.Tensor:
    """Return the (3, 3) matrix [r]x with [r]x a = r x a, differentiable."""
    x, y, z = r_3.unbind()
    zero = torch.zeros_like(x)
    rows = ([zero, -z, y], [z, zero, -x], [-y, x, zero])
    return torch.stack([torch.stack(row) for row in rows])


class PoseOffset:
    """A pose that Adam moves by r and tau, both 0 to begin with."""

    def __init__(self, T_start: torch.Tensor, rates: LearningRates, exponential: bool):
        """Begin at a pose.

        Args:
            T_start: (4, 4) camera to world, float64.
            rates: with the translation in the units of the pose.
            exponential: see `compose`.
        """
        self._T_start = T_start
        self._exponential = exponential
        self.r = torch.zeros(3, dtype=T_start.dtype, device=T_start.device, requires_grad=True)
        self.tau = torch.zeros_like(self.r, requires_grad=True)
        self.parameters = [self.r, self.tau]
        self.optimiser = torch.optim.Adam(
            [
                {'params': [self.r], 'lr': rates.rotation},
                {'params': [self.tau], 'lr': rates.translation},
            ]
        )

    def pose(self) -> torch.Tensor:
        """Return the pose (4, 4), differentiable in the parameters."""
        return compose(self._T_start, self.r, self.tau, self._exponential)
