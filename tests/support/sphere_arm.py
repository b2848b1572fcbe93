"""An arm of balls on a string: its true motion, a model of it, and its pictures, all exact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.regression import part_points
from posefield.data.articulation_truth import ArticulationTruth, TrueJoint
from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.rig_camera import RigCamera
from posefield.evaluation.articulation_truth_scores import FoundMotion
from posefield.geometry.camera import Camera

FRAMES = 24
BALL = 0.12
RADIUS = 1.0
COLOURS = np.array(
    [
        [0.8, 0.2, 0.2],
        [0.8, 0.2, 0.2],
        [0.2, 0.7, 0.2],
        [0.2, 0.7, 0.2],
        [0.2, 0.3, 0.9],
        [0.2, 0.3, 0.9],
    ]
)
# Where the balls are in their links, two in each.
CENTRES = np.array([[0.0, 0.0, -0.2], [0.0, 0.0, 0.0], [0.0, 0.0, 0.15], [0.0, 0.0, 0.3],
                    [0.0, 0.0, 0.15], [0.15, 0.0, 0.25]])  # fmt: skip


def at(*point: float) -> np.ndarray:
    """A pose without rotation."""
    T = np.eye(4)
    T[:3, 3] = point
    return T


def skeleton() -> Skeleton:
    """base, upper (turns about z at the base's origin), fore (turns about y, 0.4 above)."""
    return Skeleton(
        (Link('base', (0, 1)), Link('upper', (2, 3)), Link('fore', (4, 5))),
        (
            Joint(
                'pan', 'revolute', 'base', 'upper', at(0, 0, 0.05), np.array([0, 0, 1.0]), -2, 2
            ),
            Joint(
                'tilt', 'revolute', 'upper', 'fore', at(0, 0, 0.4), np.array([0, 1.0, 0]), -2, 2
            ),
        ),
        'base',
    )


def positions(frames: int = FRAMES) -> np.ndarray:
    """Joint positions that use more than 60 degrees of each joint."""
    time = np.linspace(0.0, 1.0, frames)
    return np.stack([1.2 * np.sin(4.0 * time), 0.3 + 0.8 * np.sin(7.0 * time + 1.0)], axis=1)


def truth(frames: int = FRAMES) -> ArticulationTruth:
    """What the arm did; its base stands at (0.1, 0, 0)."""
    arm, moves = skeleton(), positions(frames)
    joints = tuple(
        TrueJoint(
            joint.name, joint.kind, joint.parent, joint.child,
            joint.T_parent_joint[:3, :3] @ joint.axis_3, joint.T_parent_joint,
            joint.lower, joint.upper,
        )
        for joint in arm.joints
    )  # fmt: skip
    return ArticulationTruth(
        tuple(link.name for link in arm.links),
        joints,
        arm.forward(moves, at(0.1, 0, 0)),
        moves,
        RADIUS,
        np.zeros(3),
    )


def motion(
    found: Skeleton | None = None, frames: Sequence[int] = tuple(range(FRAMES))
) -> FoundMotion:
    """What a model that found everything says, or one with this skeleton of two moving joints."""
    arm = skeleton() if found is None else found
    moves = positions()[list(frames)]
    roots = np.broadcast_to(at(0.1, 0, 0), (len(moves), 4, 4))
    T_world_true = skeleton().forward(moves, roots)
    return FoundMotion(
        arm,
        tuple(frames),
        moves,
        roots,
        np.stack([T_world_true[:, ball // 2] @ at(*CENTRES[ball]) for ball in range(6)], axis=1),
        part_points(np.full((6, 3), BALL)),
    )


@dataclass(frozen=True)
class BallRender:
    """As a model renders."""

    colours_HW3: np.ndarray
    opacities_HW: np.ndarray
    depths_HW: np.ndarray
    parts_HW: np.ndarray


def render_balls(
    camera: Camera, T_world_cam: np.ndarray, centres_P3: np.ndarray, background: float = 1.0
) -> BallRender:
    """Draw the balls by the first sphere that every ray meets."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = camera.unproject(np.stack([columns.ravel(), rows.ravel()], axis=1))
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    inverse = np.linalg.inv(T_world_cam)
    centres = centres_P3 @ inverse[:3, :3].T + inverse[:3, 3]
    along = rays @ centres.T
    gap = BALL**2 - (np.square(centres).sum(axis=1) - along**2)
    depths = np.where(gap > 0, along - np.sqrt(np.maximum(gap, 0.0)), np.inf)
    nearest = depths.argmin(axis=1)
    hit = np.isfinite(depths.min(axis=1))
    shape = (camera.height, camera.width)
    return BallRender(
        np.where(hit[:, None], COLOURS[nearest], background).reshape(*shape, 3),
        hit.astype(float).reshape(shape),
        depths.min(axis=1).reshape(shape),
        np.where(hit, nearest, -1).reshape(shape),
    )


def without_motion_of(name: str, arm: FoundMotion) -> FoundMotion:
    """The same model with one joint fixed."""
    joints = tuple(
        replace(joint, kind='fixed', lower=0.0, upper=0.0) if joint.name == name else joint
        for joint in arm.skeleton.joints
    )
    kept = [index for index, moving in enumerate(arm.skeleton.movable) if moving != name]
    return replace(
        arm, skeleton=replace(arm.skeleton, joints=joints), positions_FD=arm.positions_FD[:, kept]
    )


class ArmModel:
    """A model as `posefield.evaluation.evaluate_articulation` takes one, of a found motion."""

    def __init__(self, found: FoundMotion, background: float = 1.0):
        self.motion, self.structure, self.frames = found, found.skeleton, found.frames
        self.radii_P3 = np.full((6, 3), BALL)
        self.info = {'seconds_to_learn': 12.5, 'preset': 'cpu'}
        self._background = background
        T_world_link = self.structure.forward(found.positions_FD, found.T_world_root_F44)
        self._link_of_part = np.zeros(6, int)
        for index, link in enumerate(self.structure.links):
            self._link_of_part[list(link.parts)] = index
        T_link_world = np.linalg.inv(T_world_link[0, self._link_of_part])
        self._T_link_part = T_link_world @ found.T_world_part_FP44[0]

    def joint_positions(self, frame: int) -> np.ndarray:
        return self.motion.positions_FD[self.frames.index(frame)]

    def root_pose(self, frame: int) -> np.ndarray:
        return self.motion.T_world_root_F44[self.frames.index(frame)]

    def part_poses(self, frame: int) -> np.ndarray:
        return self.motion.T_world_part_FP44[self.frames.index(frame)]

    def repose(self, joint_positions: np.ndarray, T_world_root: np.ndarray) -> np.ndarray:
        T_world_link = self.structure.forward(joint_positions, T_world_root)
        return T_world_link[self._link_of_part] @ self._T_link_part

    def render(self, camera, T_world_cam, T_world_part_P44) -> BallRender:
        return render_balls(camera, T_world_cam, T_world_part_P44[:, :3, 3], self._background)


def record(folder: Path, *, held_out_views: int = 1, held_out_frames: int = 6) -> Multiview:
    """Write a recording of the arm: two cameras to learn from, truth and segmentation."""
    count = 2 + held_out_views
    cameras = [
        RigCamera(
            f'cam{view}', Camera(40, 30, 40, 40, 19.5, 14.5), looking_in(view, count), view > 1
        )
        for view in range(count)
    ]
    model, links = ArmModel(motion()), np.array([0, 0, 1, 1, 2, 2, -1])
    with MultiviewWriter(folder, cameras) as writer:
        for view, rig in enumerate(cameras):
            for frame in range(FRAMES):
                seen = model.render(rig.camera, rig.T_world_cam, model.part_poses(frame))
                image = np.round(255 * seen.colours_HW3).astype(np.uint8)
                writer.add(view, frame, image, (seen.opacities_HW > 0.5).astype(np.uint8))
                path = writer.folder / 'segmentation' / rig.name / f'{frame:06d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), (links[seen.parts_HW] + 1).astype(np.uint8))
        truth().save(writer.folder / 'truth.json')
        return writer.finish(np.arange(FRAMES) / 15.0, range(FRAMES - held_out_frames, FRAMES))


def looking_in(view: int, count: int) -> np.ndarray:
    """The pose of a camera on a ring of radius 2 around the arm, a little above it."""
    angle = 2.0 * np.pi * view / count + 0.3
    eye = np.array([2.0 * np.cos(angle), 2.0 * np.sin(angle), 0.6])
    z = (np.array([0.1, 0.0, 0.25]) - eye) / np.linalg.norm(np.array([0.1, 0.0, 0.25]) - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x = x / np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = eye
    return T
