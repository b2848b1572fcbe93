"""How sure each found joint is."""

from dataclasses import dataclass

import numpy as np

from posefield.articulation.merging import grouped
from posefield.articulation.rigid_bodies import Bodies
from posefield.articulation.skeleton_building import BuiltSkeleton, sides
from posefield.articulation.tree_fitting import Tree
from posefield.geometry.poses import invert

# Candidate joints of a part: this share of each radius out along every axis, both ways.
CANDIDATE_SHARE = 0.75


@dataclass(frozen=True)
class JointReport:
    """How sure a joint is.

    Attributes:
        name: of the joint.
        kind: of it.
        evidence: what freezing it would cost, in units of the noise of one coordinate in every
            frame; chance would give about 1.
        fixed_point_residual: how far, root mean square, the joint's centre is from staying in
            the bodies on both sides as they were seen; scene units.
        candidate_residual: the same of the midpoint of the parts' nearest candidates, which is
            where Watch It Move has the joint.
    """

    name: str
    kind: str
    evidence: float
    fixed_point_residual: float
    candidate_residual: float


def report_joints(
    built: BuiltSkeleton,
    tree: Tree,
    evidence_L: np.ndarray,
    parts: Bodies,
    radii_P3: np.ndarray,
) -> tuple[JointReport, ...]:
    """Return a report of every joint.

    Args:
        built: the skeleton of the tree, in the same frames.
        tree: fitted.
        evidence_L: of every joint, see `freezing_costs`.
        parts: every part as a body, as seen.
        radii_P3: of the parts.
    """
    skeleton = built.skeleton
    T_scene_link = skeleton.forward(built.positions_FD, built.T_scene_root_F44)
    between = sides(tree)
    reports = []
    for link, joint in enumerate(skeleton.joints, start=1):
        above, below = (np.flatnonzero(side).tolist() for side in between[link])
        T_above, T_below = grouped(parts, [above, below]).T_scene_body_BF44
        centre_F3 = T_scene_link[:, skeleton.link_index(joint.child), :3, 3]
        candidates_F3 = _candidate_midpoint(parts, radii_P3, above, below)
        reports.append(
            JointReport(
                joint.name,
                joint.kind,
                float(evidence_L[link]),
                _unsteadiness(centre_F3, T_above, T_below),
                _unsteadiness(candidates_F3, T_above, T_below),
            )
        )
    return tuple(reports)


def _unsteadiness(points_F3: np.ndarray, T_i_F44: np.ndarray, T_j_F44: np.ndarray) -> float:
    """Return how far a point that stands in body i gets from where it stands in body j."""
    carried = []
    for T in (T_i_F44, T_j_F44):
        back = invert(T)
        seen = np.einsum('fij,fj->fi', back[:, :3, :3], points_F3) + back[:, :3, 3]
        carried.append(T[:, :3, :3] @ np.median(seen, axis=0) + T[:, :3, 3])
    return float(np.sqrt(np.median(((carried[0] - carried[1]) ** 2).sum(axis=-1))))


def _candidate_midpoint(
    parts: Bodies, radii_P3: np.ndarray, above: list[int], below: list[int]
) -> np.ndarray:
    """Return the midpoint (F, 3) of the candidates on both sides that are nearest on average."""
    signs = np.concatenate([np.eye(3), -np.eye(3)])
    T = parts.T_scene_body_BF44
    local = CANDIDATE_SHARE * radii_P3[:, None] * signs
    points = np.einsum('pfij,pkj->pfki', T[..., :3, :3], local) + T[..., None, :3, 3]
    one = np.moveaxis(points[above], 1, 0).reshape(T.shape[1], -1, 3)
    other = np.moveaxis(points[below], 1, 0).reshape(T.shape[1], -1, 3)
    squares = ((one[:, :, None] - other[:, None]) ** 2).sum(axis=-1).mean(axis=0)
    m, n = np.unravel_index(squares.argmin(), squares.shape)
    return 0.5 * (one[:, m] + other[:, n])
