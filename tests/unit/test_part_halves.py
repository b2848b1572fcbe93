"""Two ellipsoids in place of one, and back."""

import pytest
import roma
import torch

from posefield.articulation.ellipsoid_rendering import (
    ellipses_of,
    monomials,
    render_ellipses,
)
from posefield.articulation.part_halves import HALF_LENGTH, halved, joined
from posefield.articulation.skeleton_tracks import SkeletonTracks
from support.rendered_arm import arm_motion, arm_pictures, arm_tree

PARTS = 5


@pytest.fixture
def tracks():
    """The arm, its parts of all shapes and turned anyhow, with textures."""
    found = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        found.log_radii_P3 += 0.5 * torch.randn(PARTS, 3, generator=random)
        found.rest_quaternions_P4.copy_(torch.randn(PARTS, 4, generator=random))
        found.textures_P33.copy_(0.1 * torch.randn(PARTS, 3, 3, generator=random))
    return found


def test_halves_lie_along_the_longest_axis_on_the_joint_of_the_whole(tracks):
    halves = halved(tracks)
    assert halves.hierarchy.parents == tracks.hierarchy.parents
    assert halves.hierarchy.joint_of_part == 2 * tracks.hierarchy.joint_of_part
    first, second = halves.rest_centres_P3.split(PARTS)
    torch.testing.assert_close(0.5 * (first + second), tracks.rest_centres_P3)
    longest = tracks.radii_P3.max(dim=1)
    torch.testing.assert_close((first - second).norm(dim=1), longest.values)
    across = tracks.rest_rotations_P33.mT @ (first - second)[..., None]
    assert across[..., 0].abs().argmax(dim=1).tolist() == longest.indices.tolist()


def test_halves_have_the_colours_of_the_texture_in_their_middle(tracks):
    halves = halved(tracks)
    first, second = halves.means_P3.split(PARTS)
    torch.testing.assert_close(0.5 * (first + second), tracks.means_P3)
    longest = tracks.log_radii_P3.argmax(dim=1)
    slopes = tracks.textures_P33[torch.arange(PARTS), :, longest]
    torch.testing.assert_close(first - second, slopes)


def test_halves_cover_what_the_whole_does():
    pixels = arm_pictures(arm_tree())
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    images = torch.arange(0, pixels.images, 7)
    places = monomials(pixels.rays_VN2[images // pixels.frames])

    def covered(some):
        R, t = some.poses(images % pixels.frames)
        seen = ellipses_of(R, t, some.radii_P3, some.appearance(), pixels.cameras_of(images))
        opaqueness, *_ = render_ellipses(seen, places, 0.5 * pixels.pixel_size, 0.03)
        return opaqueness > 0.7

    with torch.no_grad():
        whole, halves = covered(tracks), covered(halved(tracks))
    overlap = (whole & halves).sum() / (whole | halves).sum()
    # Halves that both stayed in the middle would have 0.6.
    assert overlap > 0.75


def test_halves_that_are_joined_again_are_the_whole_but_for_their_reach(tracks):
    again = joined(halved(tracks))
    assert again.hierarchy == tracks.hierarchy
    for name in ('axes_J3', 'points_J3', 'positions_FJ', 'light_3', 'means_P3'):
        torch.testing.assert_close(getattr(again, name), getattr(tracks, name))
    torch.testing.assert_close(again.rest_centres_P3, tracks.rest_centres_P3)
    longest, reach = tracks.log_radii_P3.argmax(dim=1), 0.5 + HALF_LENGTH
    radii = tracks.radii_P3.detach().clone()
    radii[torch.arange(PARTS), longest] *= reach
    R = again.rest_rotations_P33
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(PARTS))
    torch.testing.assert_close(
        _shapes(R, again.radii_P3), _shapes(tracks.rest_rotations_P33, radii)
    )


def test_halves_of_different_shapes_are_joined_to_what_holds_both(tracks):
    halves = halved(tracks)
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        halves.log_radii_P3 += 0.3 * torch.randn(2 * PARTS, 3, generator=random)
        halves.rest_centres_P3 += 0.02 * torch.randn(2 * PARTS, 3, generator=random)
        turns = 0.3 * torch.randn(2 * PARTS, 3, generator=random)
        R = roma.rotvec_to_rotmat(turns) @ halves.rest_rotations_P33
        halves.rest_quaternions_P4.copy_(roma.rotmat_to_unitquat(R))
    whole = joined(halves)
    axes = whole.rest_rotations_P33
    for half, of in enumerate(list(range(PARTS)) * 2):
        offset = halves.rest_centres_P3[half] - whole.rest_centres_P3[of]
        reach = (axes[of].mT @ (R[half] * halves.radii_P3[half])).norm(dim=1)
        outermost = (axes[of].mT @ offset).abs() + reach
        assert (outermost <= whole.radii_P3[of] * 1.0001).all()


def _shapes(R_P33, radii_P3):
    return (R_P33 * radii_P3.detach().square()[:, None, :]) @ R_P33.mT
