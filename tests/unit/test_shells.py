"""Stretches of rays in which a surface can be."""

import torch

from posefield.articulation.shells import (
    FAR,
    RayBundle,
    ellipsoid_depths,
    ray_shells,
    shell_samples,
)


def bundle(origins, directions, centres) -> RayBundle:
    T = torch.eye(4).repeat(1, len(centres), 1, 1)
    T[0, :, :3, 3] = torch.tensor(centres)
    return RayBundle(torch.tensor(origins), torch.tensor(directions), T)


def random_bundle(rays: int, parts: int, generator: torch.Generator) -> RayBundle:
    origins = torch.randn(rays, 3, generator=generator)
    origins = 3.0 * torch.nn.functional.normalize(origins, dim=1)
    targets = 0.5 * torch.randn(rays, 3, generator=generator)
    T = torch.eye(4).repeat(rays, parts, 1, 1)
    R, _ = torch.linalg.qr(torch.randn(rays, parts, 3, 3, generator=generator))
    T[..., :3, :3] = R * torch.linalg.det(R)[..., None, None]
    T[..., :3, 3] = 0.4 * torch.randn(rays, parts, 3, generator=generator)
    return RayBundle(origins, targets - origins, T)


def levels(rays: RayBundle, depths_RK: torch.Tensor, radii_P3: torch.Tensor) -> torch.Tensor:
    """Return |x / r| (R, K, P) of the points at these depths."""
    points = rays.origins_R3[:, None] + depths_RK[..., None] * rays.directions_R3[:, None]
    T = rays.T_scene_part_RP44[:, None]
    local = ((points[:, :, None] - T[..., :3, 3])[..., None, :] @ T[..., :3, :3])[..., 0, :]
    return (local / radii_P3).norm(dim=-1)


def test_depths_lie_on_the_ellipsoids():
    generator = torch.Generator().manual_seed(0)
    rays = random_bundle(400, 5, generator)
    radii = 0.1 + 0.5 * torch.rand(5, 3, generator=generator)
    entries, exits = ellipsoid_depths(*rays.in_parts(), radii)
    hit = entries < FAR
    assert 0.1 < hit.float().mean() < 0.9
    assert (exits[hit] > entries[hit]).all()
    assert (exits[~hit] == -FAR).all()
    for depths in (entries, exits):
        own = levels(rays, depths, radii).diagonal(dim1=1, dim2=2)[hit]
        torch.testing.assert_close(own, torch.ones_like(own), atol=1e-4, rtol=0)


def test_an_ellipsoid_deflated_to_nothing_is_never_entered():
    rays = bundle([[0.0, 0.0, -1.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    entries, exits = ellipsoid_depths(*rays.in_parts(), torch.tensor([[0.2, -0.01, 0.2]]))
    assert entries.item() == FAR
    assert exits.item() == -FAR


def test_a_shell_begins_outside_and_ends_inside_the_ellipsoid():
    rays = bundle([[0.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    shells = ray_shells(rays, torch.full((1, 3), 0.5), outward=0.1, inward=0.2, reach=0.1)
    torch.testing.assert_close(shells.starts_RP, torch.tensor([[1.4]]))
    torch.testing.assert_close(shells.ends_RP, torch.tensor([[1.7]]))


def test_a_thin_part_is_looked_at_all_through():
    rays = bundle([[0.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    shells = ray_shells(rays, torch.full((1, 3), 0.1), outward=0.1, inward=0.2, reach=0.1)
    torch.testing.assert_close(shells.ends_RP, torch.tensor([[2.2]]))


def test_nothing_is_looked_at_behind_the_first_core():
    centres = [[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    rays = bundle([[0.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]], centres)
    radii = torch.full((2, 3), 0.5)
    shells = ray_shells(rays, radii, outward=0.1, inward=0.1, reach=0.1)
    assert (shells.ends_RP > shells.starts_RP).tolist() == [[True, False]]
    assert shells.near_RP.tolist() == [[True, False]]


def test_nothing_is_looked_at_behind_the_camera():
    rays = bundle([[0.0, 0.0, 2.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    shells = ray_shells(rays, torch.full((1, 3), 0.5), outward=0.1, inward=0.1, reach=0.1)
    assert not shells.hit_R.any()


def test_samples_cover_the_union_of_two_stretches_evenly():
    # A ray that grazes one ball, whose core it misses, and then enters another.
    centres = [[0.0, 0.5, 0.0], [0.0, 0.0, 3.0]]
    rays = bundle([[0.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]], centres)
    radii = torch.tensor([[0.45, 0.45, 0.45], [0.5, 0.5, 0.5]])
    shells = ray_shells(rays, radii, outward=0.1, inward=0.1, reach=0.1)
    half = (0.55**2 - 0.5**2) ** 0.5
    depths = shell_samples(shells, 9)[0]
    assert (depths.diff() > 0).all()
    torch.testing.assert_close(depths[0].item(), 2.0 - half, atol=1e-5, rtol=0)
    torch.testing.assert_close(depths[-1].item(), 5.0 - 0.4, atol=1e-5, rtol=0)
    inside_first = (depths - 2.0).abs() <= half + 1e-5
    inside_second = (depths >= 4.4 - 1e-5) & (depths <= 4.6 + 1e-5)
    assert (inside_first | inside_second).all()
    assert inside_first.sum() > inside_second.sum() > 0


def test_samples_stay_in_the_shells_of_random_ellipsoids():
    generator = torch.Generator().manual_seed(1)
    rays = random_bundle(500, 6, generator)
    radii = 0.1 + 0.4 * torch.rand(6, 3, generator=generator)
    shells = ray_shells(rays, radii, outward=0.05, inward=0.05, reach=0.05)
    rays, hit = rays.select(shells.hit_R), shells.hit_R
    depths = shell_samples(
        type(shells)(shells.starts_RP[hit], shells.ends_RP[hit], shells.near_RP[hit]),
        12,
        generator,
    )
    assert (depths.diff(dim=1) >= 0).all()
    inside_any = (levels(rays, depths, radii + 0.05) <= 1 + 1e-3).any(dim=-1)
    assert inside_any.all()
    # Only the very end of a ray touches a core.
    in_core = (levels(rays, depths, radii - 0.05) < 1 - 1e-3).any(dim=-1)
    assert not in_core.any()
