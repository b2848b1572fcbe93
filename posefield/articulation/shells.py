"""Where along a ray the surface can be: in the shells of the ellipsoids (part_fitting, stage 2).

A surface that is a residual away from its ellipsoids lies between every ellipsoid inflated and
deflated by the largest residual.  Both are ellipsoids again, so a ray enters and leaves them in
closed form, and a dozen samples do what a hundred along the whole ray did.

Names: R rays, P parts, K samples.  A depth is the factor on a ray's direction.
"""

from dataclasses import dataclass

import torch

# Stands for "never" among depths; finite, so that differences stay numbers.
FAR = 1e6
# Semi-axes of deflated ellipsoids below this are gone: nothing is inside them.
SMALLEST_RADIUS = 1e-4


@dataclass(frozen=True)
class RayBundle:
    """Rays in the scene frame, with the poses of the parts at the time of each.

    Attributes:
        origins_R3, directions_R3: scene frame; directions have z = 1 in their camera.
        T_scene_part_RP44: poses of all parts for every ray; (1, P, 4, 4) where all rays are of
            the same moment.
    """

    origins_R3: torch.Tensor
    directions_R3: torch.Tensor
    T_scene_part_RP44: torch.Tensor

    def in_parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return origins and directions (R, P, 3) in the frame of every part."""
        rotations = self.T_scene_part_RP44[..., :3, :3]
        offsets = self.origins_R3[:, None] - self.T_scene_part_RP44[..., :3, 3]
        origins = (offsets[..., None, :] @ rotations)[..., 0, :]
        directions = (self.directions_R3[:, None, None, :] @ rotations)[..., 0, :]
        return origins, directions

    def select(self, rows: torch.Tensor) -> 'RayBundle':
        """Return the rays of these rows (indices or a mask)."""
        poses = self.T_scene_part_RP44
        return RayBundle(
            self.origins_R3[rows],
            self.directions_R3[rows],
            poses if len(poses) == 1 else poses[rows],
        )


def ellipsoid_depths(
    origins_RP3: torch.Tensor, directions_RP3: torch.Tensor, radii_P3: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the depths at which rays enter and leave ellipsoids.

    Args:
        origins_RP3, directions_RP3: in the frame of every part.
        radii_P3: semi-axes; one with an axis that is not positive is never entered.

    Returns:
        entries_RP and exits_RP; FAR and -FAR where the ray misses.
    """
    safe = radii_P3.clamp(min=SMALLEST_RADIUS)
    o, d = origins_RP3 / safe, directions_RP3 / safe
    a = (d * d).sum(-1)
    b = (o * d).sum(-1)
    # The square of the distance of closest approach, not a difference of large squares.
    nearest = o - (b / a)[..., None] * d
    room = 1.0 - (nearest * nearest).sum(-1)
    half = (room.clamp(min=0.0) / a).sqrt()
    hit = (room > 0) & (radii_P3 > SMALLEST_RADIUS).all(-1)
    middle = -b / a
    return (
        torch.where(hit, middle - half, FAR),
        torch.where(hit, middle + half, -FAR),
    )


@dataclass(frozen=True)
class Shells:
    """The stretches of every ray in which the surface can be.

    Attributes:
        starts_RP, ends_RP: depths, one stretch per part; empty where start >= end.
        near_RP: whether the part is near enough to the visible stretch to shape the surface.
    """

    starts_RP: torch.Tensor
    ends_RP: torch.Tensor
    near_RP: torch.Tensor

    @property
    def hit_R(self) -> torch.Tensor:
        """Whether there is anything on the ray at all."""
        return (self.ends_RP > self.starts_RP).any(dim=1)

    def select(self, rows: torch.Tensor) -> 'Shells':
        """Return those of the rays of these rows (indices or a mask)."""
        return Shells(self.starts_RP[rows], self.ends_RP[rows], self.near_RP[rows])


@torch.no_grad()
def ray_shells(
    rays: RayBundle,
    radii_P3: torch.Tensor,
    *,
    outward: float,
    inward: float,
    reach: float,
    near: float = 0.0,
) -> Shells:
    """Find the shells on every ray, up to where it is certainly inside the object.

    Args:
        rays: with poses.
        radii_P3: of the ellipsoids.
        outward: how far outside an ellipsoid the surface can be.
        inward: how far inside.
        reach: parts whose ellipsoid inflated by this is missed do not matter to the ray.
        near: depths below are not looked at.
    """
    origins, directions = rays.in_parts()
    entries, exits = ellipsoid_depths(origins, directions, radii_P3 + outward)
    core_entries, core_exits = ellipsoid_depths(origins, directions, radii_P3 - inward)
    core_entries = torch.where(core_exits > near, core_entries, FAR)
    stop_R1 = core_entries.min(dim=1, keepdim=True).values
    starts = entries.clamp(min=near)
    ends = torch.minimum(torch.minimum(exits, core_entries), stop_R1)
    starts = torch.where(ends > starts, starts, FAR)
    around, beyond = ellipsoid_depths(origins, directions, radii_P3 + max(reach, outward))
    last_R1 = ends.max(dim=1, keepdim=True).values
    near_RP = (around < last_R1) & (beyond > near)
    return Shells(starts, ends, near_RP)


@torch.no_grad()
def shell_samples(
    shells: Shells, samples: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Spread samples evenly over the union of every ray's stretches.

    Args:
        shells: of rays that all have something in them (`hit_R`).
        samples: K, at least 2; the first and last are at the two ends.
        generator: moves the samples between the ends by up to half their distance; by default
            they stay.

    Returns:
        depths_RK, rising.
    """
    starts, order = shells.starts_RP.sort(dim=1)
    ends = shells.ends_RP.gather(1, order)
    # What earlier stretches cover already does not count again.
    covered = torch.cummax(ends, dim=1).values
    before = torch.cat([torch.full_like(covered[:, :1], -FAR), covered[:, :-1]], dim=1)
    begins = torch.maximum(starts, before)
    lengths = (ends - begins).clamp(min=0.0)
    sums = lengths.cumsum(dim=1)
    steps = torch.arange(samples, device=starts.device, dtype=starts.dtype).expand(len(starts), -1)
    if generator is not None:
        moves = torch.rand(steps.shape, generator=generator, device=starts.device) - 0.5
        steps = steps + torch.nn.functional.pad(moves[:, 1:-1], (1, 1))
    wanted = steps / (samples - 1) * sums[:, -1:]
    stretch = torch.searchsorted(sums, wanted).clamp(max=starts.shape[1] - 1)
    return begins.gather(1, stretch) + wanted - (sums - lengths).gather(1, stretch)
