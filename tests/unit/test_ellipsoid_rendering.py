"""Closed-form rendering of posed ellipsoids."""

import numpy as np
import pytest
import roma
import torch

from posefield.articulation.ellipsoid_rendering import (
    Appearance,
    ellipses_of,
    monomials,
    render_ellipses,
)


def camera_behind(distance: float, dtype=torch.float64) -> torch.Tensor:
    """Return T_scene_cam of a camera that looks along +z at the origin."""
    T = torch.eye(4, dtype=dtype)
    T[2, 3] = -distance
    return T[None]


def random_scene(parts: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    R = roma.unitquat_to_rotmat(torch.nn.functional.normalize(draw(1, parts, 4), dim=-1))
    radii = 0.1 + 0.2 * torch.rand(parts, 3, generator=generator, dtype=torch.float64)
    return R, 0.3 * draw(1, parts, 3), radii, draw(parts, 3), draw(parts, 3, 3), draw(3)


def exact_hit(T, R, t, radii, xy):
    """Return m^2 of the rays of pixels (N, 2), and the depth where they enter the ellipsoid."""
    rays = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1) @ T[:3, :3].T
    d = rays @ R / radii
    o = ((T[:3, 3] - t) @ R) / radii
    dd, od, oo = (d * d).sum(1), d @ o, o @ o
    m2 = oo - od**2 / dd
    return m2, -od / dd - ((1 - m2).clamp(min=0) / dd).sqrt()


def test_outline_is_exact_in_perspective():
    R, t, radii, means, textures, light = random_scene(4)
    T = camera_behind(2.0)
    xy = 0.4 * torch.randn(400, 2, generator=torch.Generator().manual_seed(1)).double()
    for part in range(4):
        one = slice(part, part + 1)
        look = Appearance(means[one], textures[one], light)
        ellipses = ellipses_of(R[:, one], t[:, one], radii[one], look, T)
        opaqueness, _, _ = render_ellipses(ellipses, monomials(xy[None]), 1e-4, 0.01)
        m2, _ = exact_hit(T[0], R[0, part], t[0, part], radii[part], xy)
        clear = (m2 - 1).abs() > 0.05
        covered = -torch.expm1(-opaqueness[0]) > 0.5
        assert covered.any() and not covered.all()
        assert (covered == (m2 < 1))[clear].all()


def test_what_is_in_front_hides_what_is_behind():
    R = torch.eye(3).expand(1, 2, 3, 3)
    t = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.6]]])
    look = Appearance(
        torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]), torch.zeros(2, 3, 3), torch.zeros(3)
    )
    T = camera_behind(3.0, torch.float32)
    middle = monomials(torch.zeros(1, 1, 2))
    for camera, expected in ((T, 0), (turned_round(T), 2)):
        ellipses = ellipses_of(R, t, torch.full((2, 3), 0.2), look, camera)
        _, colour, shares = render_ellipses(ellipses, middle, 0.005, 0.02)
        assert int(colour[0, :, 0].argmax()) == expected
        assert float(shares.sum()) == 1.0
        assert float(colour.max()) > 0.99


def two_in_a_row(distance: float):
    """A blue ball behind a red disc that is much smaller, and places across the disc's edge."""
    t = torch.tensor([[[0.0, 0.0, -distance], [0.0, 0.0, 0.0]]]).double()
    radii = torch.tensor([[0.04, 0.04, 0.02], [0.3, 0.3, 0.3]]).double()
    look = Appearance(
        torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).double(),
        torch.zeros(2, 3, 3).double(),
        torch.zeros(3).double(),
    )
    R = torch.eye(3).double().expand(1, 2, 3, 3)
    xy = torch.linspace(0.0, 0.09, 60).double()[None, :, None] * torch.tensor([0.6, 0.8]).double()
    return R, t, radii, look, monomials(xy)


@pytest.mark.parametrize('softness', [0.002, 0.01])
def test_colours_are_blended_from_front_to_back(softness):
    R, t, radii, look, places = two_in_a_row(1.5)
    T = camera_behind(3.0)

    def drawn(which):
        some = Appearance(look.means_P3[which], look.textures_P33[which], look.light_3)
        ellipses = ellipses_of(R[:, which], t[:, which], radii[which], some, T)
        return render_ellipses(ellipses, places, softness, 0.03)

    front, back = (-torch.expm1(-drawn(slice(k, k + 1))[0]) for k in (0, 1))
    _, colour, shares = drawn(slice(0, 2))
    seen = torch.stack([front, (1.0 - front) * back], dim=1)
    torch.testing.assert_close(shares, seen / seen.sum(dim=1, keepdim=True))
    torch.testing.assert_close(colour[:, 0], shares[:, 0])
    assert front.max() > 0.9 and front.min() < 0.1


@pytest.mark.parametrize('distance', [0.5, 1.0, 2.0])
def test_what_is_in_front_does_not_colour_what_is_beside_it(distance):
    R, t, radii, look, places = two_in_a_row(distance)
    ellipses = ellipses_of(R, t, radii, look, camera_behind(3.0))
    _, colour, _ = render_ellipses(ellipses, places, 0.002, 0.03)
    outline = 0.04 / (3.0 - distance)
    beside = torch.linspace(0.0, 0.09, 60) > outline + 6 * 0.002
    assert beside.any()
    assert float(colour[0, 0, beside].max()) < 0.01


def turned_round(T: torch.Tensor) -> torch.Tensor:
    """Return the camera on the other side of the origin."""
    other = T.clone()
    other[0, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    other[0, 2, 3] = -T[0, 2, 3]
    return other


def test_texture_moves_with_the_part_and_light_does_not():
    textures = torch.zeros(1, 3, 3)
    textures[0, 0, 2] = 0.5  # red grows along the part's z axis
    plain = Appearance(torch.full((1, 3), 0.4), torch.zeros(1, 3, 3), torch.tensor([0, 0, -0.5]))
    painted = Appearance(torch.full((1, 3), 0.4), textures, torch.zeros(3))
    flipped = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    middle = monomials(torch.zeros(1, 1, 2))

    def colour(look, rotation):
        ellipses = ellipses_of(
            rotation[None, None],
            torch.zeros(1, 1, 3),
            torch.full((1, 3), 0.3),
            look,
            camera_behind(3.0, torch.float32),
        )
        return render_ellipses(ellipses, middle, 0.005, 0.02)[1][0, :, 0].numpy()

    # The camera sees the side at -z.
    np.testing.assert_allclose(colour(painted, torch.eye(3)), [-0.1, 0.4, 0.4], atol=2e-3)
    np.testing.assert_allclose(colour(painted, flipped), [0.9, 0.4, 0.4], atol=2e-3)
    for rotation in (torch.eye(3), flipped):
        np.testing.assert_allclose(colour(plain, rotation), [0.6, 0.6, 0.6], atol=2e-3)


def test_gradients_equal_finite_differences():
    R, t, radii, means, textures, light = random_scene(3)
    xy = 0.15 * torch.randn(1, 20, 2, generator=torch.Generator().manual_seed(2)).double()
    inputs = [value.clone().requires_grad_() for value in (R, t, radii, means, textures, light)]

    def render(R, t, radii, means, textures, light):
        look = Appearance(means, textures, light)
        ellipses = ellipses_of(R, t, radii, look, camera_behind(2.0))
        return render_ellipses(ellipses, monomials(xy), 0.05, 0.1)[:2]

    assert torch.autograd.gradcheck(render, inputs, eps=1e-6, atol=1e-4, rtol=1e-3)
