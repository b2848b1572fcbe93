"""The SMPL baseline (Kundu*, Watch It Move A.9), from body meshes that the user has fitted.

Kundu et al., "Appearance Consensus Driven Self-Supervised Human Mesh Recovery" (2020), colour a
fitted body mesh.  As in Watch It Move the mesh is of one subject and its vertex colours are
averages over all training photos that see them.  SMPL itself is licensed and not part of this: the
meshes come as arrays, one for every frame of the recording.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
import zipfile

import numpy as np

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.regression import fit_regression
from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, RigCamera
from posefield.data.visual_hull import spread
from posefield.errors import DataError
from posefield.evaluation.articulation_baselines import image_figures
from posefield.evaluation.articulation_metrics import a10_errors
from posefield.evaluation.evaluate_articulation import DrivenParts, HeldOutPoses, found_motion
from posefield.evaluation.image_metrics import Lpips
from posefield.evaluation.mesh_painting import MeshRender, paint_mesh
from posefield.evaluation.photo_comparison import Photos

KUNDU = 'Kundu*'
# A vertex is seen where it is no further behind what is nearest than this share of the mesh's
# size and the width of a pixel.
VISIBLE_SHARE = 0.01
COLOURED_FRAMES = 40


@dataclass(frozen=True)
class SmplMeshes:
    """Body meshes in the world of a recording.

    Attributes:
        vertices_TV3: of every frame, world units.
        faces_M3: indices of vertices.
        joints_TJ3: of every frame, where they are known.
    """

    vertices_TV3: np.ndarray
    faces_M3: np.ndarray
    joints_TJ3: np.ndarray | None = None


def read_smpl(path: Path, frames: int) -> SmplMeshes:
    """Read meshes from an .npz file with `vertices`, `faces` and perhaps `joints`.

    Args:
        path: the file.
        frames: T of the recording, held-out ones too.

    Raises:
        DataError: when anything is missing or does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f'The SMPL file {path} does not open as .npz: {error}.') from error
    for key in ('vertices', 'faces'):
        if key not in arrays:
            found = ', '.join(sorted(arrays)) or 'nothing'
            raise DataError(f'The SMPL file {path} has no array {key}, found {found}.')
    for key in ('vertices', 'joints'):
        array = arrays.get(key)
        if array is None:
            continue
        if array.ndim != 3 or array.shape[0] != frames or array.shape[2] != 3:
            raise DataError(
                f'The {key} of {path} must have shape ({frames}, N, 3), found {array.shape}.'
            )
        if not np.isfinite(array).all():
            raise DataError(f'The {key} of {path} must be finite numbers.')
    faces, count = arrays['faces'], arrays['vertices'].shape[1]
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise DataError(f'The faces of {path} must be whole numbers (M, 3), found {faces.shape}.')
    if faces.size and not 0 <= faces.min() <= faces.max() < count:
        raise DataError(f'The faces of {path} name the vertex {faces.max()} of {count}.')
    joints = arrays.get('joints')
    return SmplMeshes(
        arrays['vertices'].astype(np.float64),
        faces.astype(np.int64),
        None if joints is None else joints.astype(np.float64),
    )


def mean_colours(multiview: Multiview, meshes: SmplMeshes) -> np.ndarray:
    """Return the colour (V, 3) of every vertex, averaged over the training photos that see it.

    A vertex that no photo sees has the mean of the others.
    """
    count = meshes.vertices_TV3.shape[1]
    sums, seen = np.zeros((count, 3)), np.zeros(count)
    blank = np.zeros((count, 3))
    for frame in spread(multiview.training_frames, COLOURED_FRAMES):
        vertices = meshes.vertices_TV3[frame]
        tolerance = VISIBLE_SHARE * float(np.ptp(vertices, axis=0).max())
        for view in multiview.training_views:
            rig = multiview.cameras[view]
            image, mask = multiview.read_masked(view, frame)
            depths = paint_mesh(
                rig.camera, rig.T_world_cam, vertices, meshes.faces_M3, blank, 0.0
            ).depths_HW
            inverse = np.linalg.inv(rig.T_world_cam)
            points = vertices @ inverse[:3, :3].T + inverse[:3, 3]
            pixels, inside = rig.camera.project(points)
            x, y = np.round(pixels[inside]).astype(int).T
            x = np.clip(x, 0, rig.camera.width - 1)
            y = np.clip(y, 0, rig.camera.height - 1)
            behind = points[inside, 2] - depths[y, x]
            allowed = tolerance + points[inside, 2] / rig.camera.fx
            visible = (behind <= allowed) & (mask[y, x] == OBJECT)
            chosen = np.flatnonzero(inside)[visible]
            sums[chosen] += image[y[visible], x[visible]]
            seen[chosen] += 1
    colours = sums / np.maximum(seen, 1)[:, None]
    if (seen > 0).any():
        colours[seen == 0] = colours[seen > 0].mean(axis=0)
    return colours


def poses_from_smpl(model: ArticulatedModel, meshes: SmplMeshes) -> HeldOutPoses:
    """Return held-out poses by the regression of the supplement (A.10) from the user's bodies.

    It goes from joints, or from vertices without any, to the points of every part.
    """
    points_TN3 = meshes.vertices_TV3 if meshes.joints_TJ3 is None else meshes.joints_TJ3
    points_TN3 = model.normalisation.point_to_scene(points_TN3)
    motion = model.motion
    regression = fit_regression(
        points_TN3[list(motion.frames_F)], motion.T_scene_part_FP44, motion.radii_P3
    )

    def drive(frame: int) -> DrivenParts:
        poses = regression.part_poses(points_TN3[frame])
        return DrivenParts(model.normalisation.pose_to_world(poses))

    return HeldOutPoses('smpl', drive)


def smpl_joint_errors(model: ArticulatedModel, meshes: SmplMeshes) -> dict[str, float | None]:
    """Return the A.10 errors of the user's joints, in units of the recording."""
    if meshes.joints_TJ3 is None:
        return {'a10_joint_error': None, 'a10_joint_error_static': None}
    return a10_errors(found_motion(model).points_FK3, meshes.joints_TJ3[list(model.frames)], 1.0)


def kundu_figures(
    multiview: Multiview, meshes: SmplMeshes, photos: Photos, lpips: Lpips | None = None
) -> dict[str, Any]:
    """Return the figures of the coloured meshes; their joints are not compared with anything."""
    colours = mean_colours(multiview, meshes)

    def show(rig: RigCamera, frame: int) -> MeshRender:
        return paint_mesh(
            rig.camera,
            rig.T_world_cam,
            meshes.vertices_TV3[frame],
            meshes.faces_M3,
            colours,
            multiview.background_level,
        )

    return {
        'joint_error': None,
        'a10_joint_error': None,
        **image_figures(multiview, photos, show, lpips),
    }
