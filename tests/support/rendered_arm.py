"""An arm of ellipsoids and exact pictures of it, drawn as the fitting draws."""

from dataclasses import replace

import numpy as np
import torch

from posefield.articulation.ellipsoid_rendering import ellipses_of, monomials, render_ellipses
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.parts import PartMotion
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.tree_fitting import Tree
from posefield.data.camera_hemisphere import hemisphere_directions
from posefield.geometry.camera import Camera
from posefield.geometry.rays import camera_rays, pixel_grid
from support.multiviews import looking_at

FRAMES = 16
SIZE = 40
AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
COLOURS = np.array(
    [[0.5, 0.5, 0.5], [0.9, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.1]]
)
# Positions of a last joint that turns back.
UNDOING = [1.0, 1.0, 1.0, 1.0, -1.0]


def arm_tree() -> Tree:
    """base, then three links in a row with two parts on the second; axes square to each other."""
    time = np.linspace(0.0, 1.0, FRAMES)
    positions = [
        np.zeros(FRAMES),
        0.9 * np.sin(5.0 * time),
        0.7 * np.sin(8.0 * time + 1.0),
        0.8 * np.sin(6.0 * time + 2.0),
    ]
    origins = np.array([[0.0, 0, 0], [0, 0, 0.1], [0.2, 0, 0.2], [0.3, 0, 0]])
    T_parent_joint = np.tile(np.eye(4), (4, 1, 1))
    T_parent_joint[:, :3, 3] = origins
    centres = np.array([[0, 0, -0.1], [0.1, 0, 0.1], [0.1, 0, 0], [0.2, 0, 0.05], [0.15, 0, 0.1]])
    T_link_part = np.tile(np.eye(4), (5, 1, 1))
    T_link_part[:, :3, 3] = centres
    return Tree(
        (-1, 0, 1, 2),
        np.zeros(4, dtype=bool),
        T_parent_joint,
        np.concatenate([[[0.0, 0.0, 1.0]], AXES]),
        np.stack(positions, axis=1),
        np.tile(np.eye(4), (FRAMES, 1, 1)),
        False,
        np.array([0, 1, 2, 2, 3]),
        T_link_part,
    )


def arm_motion(tree: Tree) -> PartMotion:
    """The parts as a tree moves them."""
    poses = tree.part_poses()
    radii = np.array([[0.2, 0.2, 0.1], [0.16, 0.08, 0.1], [0.12, 0.06, 0.08]])
    radii = np.concatenate([radii, [[0.1, 0.05, 0.07], [0.07, 0.05, 0.14]]])
    return PartMotion(radii, poses, COLOURS, (), tuple(range(FRAMES)))


def arm_pictures(tree: Tree) -> FittingPixels:
    """Pictures of the arm from five sides."""
    return pictures_of(SkeletonTracks.from_tree(tree, arm_motion(tree)))


def pictures_of(tracks: SkeletonTracks) -> FittingPixels:
    """Pictures of ellipsoids where the arm is, from five sides."""
    camera = Camera(SIZE, SIZE, 1.6 * SIZE, 1.6 * SIZE, (SIZE - 1) / 2, (SIZE - 1) / 2)
    middle = np.array([0.2, 0.0, 0.1])
    T_scene_cam = np.stack(
        [looking_at(middle + 2.2 * way, middle) for way in hemisphere_directions(5, 0)]
    )
    rays = camera_rays(camera, pixel_grid(SIZE, SIZE))[:, :2]
    images = np.empty((5, FRAMES, SIZE, SIZE, 3), dtype=np.float32)
    masks = np.empty((5, FRAMES, SIZE, SIZE), dtype=np.uint8)
    frames = torch.arange(FRAMES)
    with torch.no_grad():
        R, t = tracks.poses(frames)
        for view in range(5):
            T = torch.tensor(T_scene_cam[view], dtype=torch.float32).expand(FRAMES, 4, 4)
            ellipses = ellipses_of(R, t, tracks.radii_P3, tracks.appearance(), T)
            pixels = monomials(rays.float().expand(FRAMES, -1, 2))
            opaqueness, colours, _ = render_ellipses(ellipses, pixels, 0.3 / SIZE / 1.6, 0.01)
            cover = -torch.expm1(-opaqueness)[:, None]
            drawn = (cover * colours + 1.0 - cover).clamp(0.0, 1.0)
            images[view] = drawn.transpose(1, 2).reshape(FRAMES, SIZE, SIZE, 3).numpy()
            masks[view] = (cover.reshape(FRAMES, SIZE, SIZE) > 0.5).numpy()
    rays_VN2 = rays.float().expand(5, -1, 2).contiguous()
    return FittingPixels(images, masks, rays_VN2, T_scene_cam, 1.0)


def with_axes_turned(tree: Tree, angle: float, generator: np.random.Generator) -> Tree:
    """Return the tree with every axis turned by an angle to a random side."""
    sides = np.cross(tree.axes_L3, generator.normal(size=tree.axes_L3.shape))
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    return replace(tree, axes_L3=np.cos(angle) * tree.axes_L3 + np.sin(angle) * sides)


def assert_same_poses(tracks: SkeletonTracks, expected_FP44: np.ndarray) -> None:
    with torch.no_grad():
        R, t = tracks.poses(torch.arange(len(expected_FP44)))
    np.testing.assert_allclose(R.numpy(), expected_FP44[..., :3, :3], atol=2e-5)
    np.testing.assert_allclose(t.numpy(), expected_FP44[..., :3, 3], atol=2e-5)


def axis_errors_deg(tree: Tree) -> np.ndarray:
    """Return the angles between the axes of three joints in a row and the true ones at rest."""
    resting = replace(
        tree,
        positions_FL=np.zeros((1, len(tree.parents))),
        T_scene_root_F44=tree.T_scene_root_F44[:1],
    ).poses()[0][0]
    found = np.einsum('lij,lj->li', resting[1:, :3, :3], tree.axes_L3[1:])
    true = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree())).unit_axes_J3
    cosines = np.abs((found * true.detach().numpy()).sum(axis=1))
    return np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0)))


def with_a_joint_too_many() -> Tree:
    """The arm with one part of the second link on a joint of its own that hardly moves."""
    tree = arm_tree()
    jitter = 0.03 * np.random.default_rng(0).normal(size=(FRAMES, 1))
    T_joint = tree.T_link_part_P44[3:4].copy()
    T_link_part = tree.T_link_part_P44.copy()
    T_link_part[3] = np.eye(4)
    return replace(
        tree,
        parents=(*tree.parents, 2),
        prismatic_L=np.zeros(5, dtype=bool),
        T_parent_joint_L44=np.concatenate([tree.T_parent_joint_L44, T_joint]),
        axes_L3=np.concatenate([tree.axes_L3, [[1.0, 0.0, 0.0]]]),
        positions_FL=np.concatenate([tree.positions_FL, jitter], axis=1),
        link_of_part=np.array([0, 1, 2, 4, 3]),
        T_link_part_P44=T_link_part,
    )


def jointed(rows, parents, link_of_part, *, in_place=None, factors=1.0) -> Tree:
    """The arm with its joints in other rows, one of them in the frame of its parent.

    Positions are multiplied by factors.
    """
    tree = arm_tree()
    T_parent_joint = tree.T_parent_joint_L44[rows]
    if in_place is not None:
        T_parent_joint[in_place] = np.eye(4)
    return replace(
        tree,
        parents=parents,
        prismatic_L=np.zeros(len(rows), dtype=bool),
        T_parent_joint_L44=T_parent_joint,
        axes_L3=tree.axes_L3[rows],
        positions_FL=tree.positions_FL[:, rows] * factors,
        link_of_part=np.array(link_of_part),
    )


def with_the_second_link_in_two() -> Tree:
    """The arm with the parts of the second link on two joints beside each other that are one."""
    return jointed([0, 1, 2, 2, 3], (-1, 0, 1, 1, 2), [0, 1, 2, 3, 4])


def with_a_turn_shared() -> Tree:
    """The arm with two joints, with nothing between them, that share the second's turns."""
    shares = [1.0, 1.0, 0.3, 0.7, 1.0]
    parents = (-1, 0, 1, 2, 3)
    return jointed([0, 1, 2, 2, 3], parents, [0, 1, 3, 3, 4], in_place=3, factors=shares)


def with_a_turn_undone() -> Tree:
    """The arm with one part of the second link standing on the first, as two joints say it."""
    parents = (-1, 0, 1, 2, 2)
    return jointed([0, 1, 2, 3, 2], parents, [0, 1, 2, 4, 3], in_place=4, factors=UNDOING)


def with_the_second_link_on_the_third() -> Tree:
    """The arm with the parts of the second link on a joint of the third that turns back."""
    parents = (-1, 0, 1, 2, 3)
    tree = jointed([0, 1, 2, 3, 3], parents, [0, 1, 4, 4, 3], in_place=4, factors=UNDOING)
    T_link_part = tree.T_link_part_P44.copy()
    T_link_part[2:4, :3, 3] -= tree.T_parent_joint_L44[3, :3, 3]
    return replace(tree, T_link_part_P44=T_link_part)
