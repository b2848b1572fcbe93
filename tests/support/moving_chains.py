"""Made-up articulated objects whose parts move as their joints say, with errors if asked for."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.parts import PartMotion


@dataclass(frozen=True)
class Chain:
    """A true skeleton, its true motion, and the parts that were seen."""

    skeleton: Skeleton
    positions_FD: np.ndarray
    T_scene_link_FL44: np.ndarray
    motion: PartMotion

    def axis(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return point and direction (F, 3) of a joint's axis."""
        joint = self.skeleton.joint(name)
        T = self.T_scene_link_FL44[:, self.skeleton.link_index(joint.child)]
        return T[:, :3, 3], T[:, :3, :3] @ joint.axis_3


def smooth(generator: np.random.Generator, shape: tuple[int, ...], length: float) -> np.ndarray:
    """Return noise of variance about 1 that lasts over so many frames, along the first axis."""
    noise = generator.normal(size=(shape[0] + 60, *shape[1:]))
    filtered = gaussian_filter1d(noise, length, axis=0)[30:-30]
    return filtered * np.sqrt(2.0 * length * np.sqrt(np.pi))


def make_chain(
    joints: list[tuple[str, str, str, tuple, tuple]],
    parts: list[tuple[str, tuple, tuple]],
    *,
    frames: int = 60,
    noise: float = 0.0,
    seed: int = 0,
    amplitude: float = 0.7,
) -> Chain:
    """Return a chain from a short description.

    Args:
        joints: kind, parent, child, origin in the parent, axis; the root is named base.
        parts: link, centre in the link's frame, radii.
        frames: how many.
        noise: standard deviation of the parts' positions, most of it lasting over frames; the
            rotations have as much on their surface, spins about symmetry axes much more.
        seed: of motion and noise.
        amplitude: of the joints, radians; sliding ones have a third of it.
    """
    generator = np.random.default_rng(seed)
    names = ['base'] + [child for _, _, child, _, _ in joints]
    built = []
    for kind, parent, child, origin, axis in joints:
        T = np.eye(4)
        T[:3, 3] = origin
        direction = np.array(axis, dtype=float)
        direction /= np.linalg.norm(direction)
        built.append(Joint(f'to_{child}', kind, parent, child, T, direction, -9.0, 9.0))
    links = tuple(
        Link(name, tuple(n for n, part in enumerate(parts) if part[0] == name)) for name in names
    )
    skeleton = Skeleton(links, tuple(built), 'base')
    positions = amplitude * smooth(generator, (frames, len(skeleton.movable)), 8.0)
    slides = [skeleton.joint(name).kind == 'prismatic' for name in skeleton.movable]
    positions[:, slides] /= 3.0
    T_scene_link = skeleton.forward(positions)
    T_scene_part = np.stack(
        [
            T_scene_link[:, names.index(link)] @ _placed(centre, generator)
            for link, centre, _ in parts
        ],
        axis=1,
    )
    radii = np.array([radii for _, _, radii in parts], dtype=float)
    if noise:
        T_scene_part = T_scene_part @ _errors(generator, frames, radii, noise)
    motion = PartMotion(
        radii, T_scene_part, np.full((len(parts), 3), 0.5), (), tuple(range(frames))
    )
    return Chain(skeleton, positions, T_scene_link, motion)


def _placed(centre: tuple, generator: np.random.Generator) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    T[:3, 3] = centre
    return T


def _errors(
    generator: np.random.Generator, frames: int, radii: np.ndarray, noise: float
) -> np.ndarray:
    gaps = np.abs(radii[:, [1, 2, 0]] - radii[:, [2, 0, 1]])
    angles = np.minimum(noise / np.hypot(gaps, 0.15 * radii.mean(axis=1, keepdims=True)), 1.0)
    shape = (frames, *radii.shape)
    E = np.tile(np.eye(4), (*shape[:2], 1, 1))
    turns = angles * smooth(generator, shape, 5.0)
    E[..., :3, :3] = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(*shape, 3)
    E[..., :3, 3] = noise * (
        0.8 * smooth(generator, shape, 5.0) + 0.6 * generator.normal(size=shape)
    )
    return E
