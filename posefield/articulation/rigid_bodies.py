"""Bodies in motion with what is known of their poses: single parts, or parts that move as one.

Errors of a pose are body twists (v, w): T <- T . Exp(v, w).  Images see an ellipsoid's surface
move, so a rotation by w about one of its axes counts as the length w times `rotation_lengths`,
which all but vanishes about an axis of symmetry: the spin of a body of revolution is not seen.
Informations and covariances are relative, in units of the square of a position's error.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.parts import PartMotion
from posefield.geometry.poses import invert

# Share of the mean radius by which a spin about an axis of symmetry is seen all the same, by
# colours and by the joints that the parts were learned with.
SPIN_SHARE = 0.15
ITERATIONS = 6
# Residuals beyond this many times the typical one count less and less.
OUTLIER = 3.0


@dataclass(frozen=True)
class Bodies:
    """B bodies over F frames.

    Attributes:
        T_scene_body_BF44: their poses.
        covariances_B66: of their body twists (v, w), the same in all frames.
        members: the parts of each.
        extents_B: largest distance of a body's surface from its origin.
    """

    T_scene_body_BF44: np.ndarray
    covariances_B66: np.ndarray
    members: tuple[tuple[int, ...], ...]
    extents_B: np.ndarray

    @property
    def members_B(self) -> np.ndarray:
        """Number of parts of each."""
        return np.array([len(parts) for parts in self.members])

    def __len__(self) -> int:
        return len(self.members)


def rotation_lengths(radii_P3: np.ndarray) -> np.ndarray:
    """Return by how much the surface of ellipsoids moves per radian about their axes (P, 3)."""
    gaps = np.abs(radii_P3[:, [1, 2, 0]] - radii_P3[:, [2, 0, 1]])
    floor = SPIN_SHARE * radii_P3.mean(axis=1, keepdims=True)
    return np.hypot(gaps, floor)


def skews(vectors: np.ndarray) -> np.ndarray:
    """Return [v]x (..., 3, 3) of vectors (..., 3), with [v]x a = v x a."""
    matrices = np.zeros((*vectors.shape, 3))
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    matrices[..., 0, 1], matrices[..., 0, 2], matrices[..., 1, 2] = -z, y, -x
    matrices[..., 1, 0], matrices[..., 2, 0], matrices[..., 2, 1] = z, -y, x
    return matrices


def adjoints(T: np.ndarray) -> np.ndarray:
    """Return (..., 6, 6) that take twists (v, w) in frame b to frame a, of T_a_b (..., 4, 4)."""
    R = T[..., :3, :3]
    adjoint = np.zeros((*T.shape[:-2], 6, 6))
    adjoint[..., :3, :3] = adjoint[..., 3:, 3:] = R
    adjoint[..., :3, 3:] = skews(T[..., :3, 3]) @ R
    return adjoint


def rotvecs(R: np.ndarray) -> np.ndarray:
    """Return the rotation vectors (..., 3) of rotations (..., 3, 3)."""
    return Rotation.from_matrix(R.reshape(-1, 3, 3)).as_rotvec().reshape(R.shape[:-1])


def moved(T: np.ndarray, twists_6: np.ndarray) -> np.ndarray:
    """Return T (..., 4, 4) turned by w and shifted by v of body twists (..., 6)."""
    step = np.zeros_like(T)
    R = Rotation.from_rotvec(twists_6[..., 3:].reshape(-1, 3)).as_matrix()
    step[..., :3, :3] = R.reshape(*twists_6.shape[:-1], 3, 3)
    step[..., :3, 3] = twists_6[..., :3]
    step[..., 3, 3] = 1.0
    return T @ step


def offsets(T: np.ndarray) -> np.ndarray:
    """Return how far transforms (..., 4, 4) are from the identity, as (v, w) (..., 6)."""
    return np.concatenate([T[..., :3, 3], rotvecs(T[..., :3, :3])], axis=-1)


def mean_poses(T_NF44: np.ndarray, weights_NF: np.ndarray) -> np.ndarray:
    """Return the weighted means (N, 4, 4) of poses over frames, rotations by the chordal mean."""
    weights = weights_NF / weights_NF.sum(axis=1, keepdims=True)
    means = np.einsum('nf,nfij->nij', weights, T_NF44)
    U, _, Vt = np.linalg.svd(means[:, :3, :3])
    signs = np.ones((len(means), 3))
    signs[:, 2] = np.sign(np.linalg.det(U @ Vt))
    means[:, :3, :3] = (U * signs[:, None]) @ Vt
    return means


def bodies_of_parts(motion: PartMotion) -> Bodies:
    """Return every part as a body of its own."""
    lengths = rotation_lengths(motion.radii_P3)
    variances = np.concatenate([np.ones_like(lengths), lengths**-2.0], axis=1)
    return Bodies(
        np.moveaxis(motion.T_scene_part_FP44, 1, 0),
        variances[:, :, None] * np.eye(6),
        tuple((part,) for part in range(motion.parts)),
        motion.radii_P3.max(axis=1),
    )


def merged_body(bodies: Bodies, chosen: tuple[int, ...]) -> Bodies:
    """Return one body, in the frame of the first, that moves as bodies together do.

    In every frame its pose is the robust mean, by what is known of each, of the poses that its
    members ask for; where they sit in it is found along.
    """
    poses = bodies.T_scene_body_BF44[list(chosen)]
    informations = np.linalg.inv(bodies.covariances_B66[list(chosen)])
    T_scene_body = poses[0]
    weights_NF = np.ones(poses.shape[:2])
    for _ in range(ITERATIONS):
        T_body_member = mean_poses(invert(T_scene_body)[None] @ poses, weights_NF)
        # What a member asks the body to do: T_body_member . Exp(error) . T_body_member^-1.
        T_asked = invert(T_scene_body)[None] @ poses @ invert(T_body_member)[:, None]
        errors = offsets(T_asked)
        to_member = adjoints(invert(T_body_member))
        in_body = np.swapaxes(to_member, -1, -2) @ informations @ to_member
        squares = np.einsum('nfi,nij,nfj->nf', errors, in_body, errors)
        weights_NF = 1.0 / (1.0 + squares / (OUTLIER**2 * max(np.median(squares), 1e-12)))
        total = np.einsum('nf,nij->fij', weights_NF, in_body)
        pull = np.einsum('nf,nij,nfj->fi', weights_NF, in_body, errors)
        T_scene_body = moved(T_scene_body, np.linalg.solve(total, pull[..., None])[..., 0])
    reach = np.linalg.norm(T_body_member[:, :3, 3], axis=1) + bodies.extents_B[list(chosen)]
    return Bodies(
        T_scene_body[None],
        np.linalg.inv(in_body.sum(axis=0))[None],
        (tuple(sorted(part for index in chosen for part in bodies.members[index])),),
        reach.max(keepdims=True),
    )
