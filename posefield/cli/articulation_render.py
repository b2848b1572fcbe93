"""Running `articulation render`: pictures of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.data.image_files import write_rgb
from posefield.data.multiview import BACKGROUND_LEVELS, Multiview
from posefield.data.rig_camera import RigCamera
from posefield.errors import DataError
from posefield.evaluation.articulation_pictures import (
    encode_gif,
    paint_parts,
    part_palette,
    turned_camera,
    up_of,
)
from posefield.storage import atomic_write_bytes

# Pictures of one turn.
TURN = 36


@dataclass(frozen=True)
class RenderRequest:
    """The options of `articulation render`."""

    model: Path
    data: Path
    camera: str
    frame: int | None
    joints: Mapping[str, float]
    parts: bool
    size: int | None
    device: str


def run_render(request: RenderRequest, image: Path | None, turntable: Path | None) -> Path:
    """Draw the image or the turntable, whichever is named, and return its file.

    Raises:
        DataError: when the file has another ending than its format, or there is no such camera.
        ArticulationError: for joints that there are not.
        BundleError: for a frame that was not learned.
    """
    _check_suffix(image, '.png')
    _check_suffix(turntable, '.gif')
    model = ArticulatedModel.load(request.model, request.device)
    multiview = Multiview.load(request.data)
    rig = multiview.cameras[multiview.view_named(request.camera)]
    if request.size is not None:
        rig = replace(rig, camera=rig.camera.with_short_side(request.size))
    T_world_part_P44 = _poses(model, request)
    if image is not None:
        picture = _picture(model, rig, T_world_part_P44, request.parts)
        write_rgb(image, np.rint(255.0 * picture.clip(0.0, 1.0)).astype(np.uint8))
        return image
    centre_3 = T_world_part_P44[:, :3, 3].mean(axis=0)
    up_3 = up_of(multiview.cameras)
    views = [
        replace(rig, T_world_cam=turned_camera(rig, step / TURN, centre_3, up_3))
        for step in range(TURN)
    ]
    pictures = [_picture(model, view, T_world_part_P44, request.parts) for view in views]
    atomic_write_bytes(turntable, encode_gif(pictures))
    return turntable


def _check_suffix(path: Path | None, suffix: str) -> None:
    if path is not None and path.suffix.lower() != suffix:
        raise DataError(f'{path} must end with {suffix}, which is the format written.')


def _poses(model: ArticulatedModel, request: RenderRequest) -> np.ndarray:
    """Return T_world_part (P, 4, 4): as learned, or with the joints that were named moved."""
    frame = model.frames[0] if request.frame is None else request.frame
    if not request.joints:
        return model.part_poses(frame)
    positions = dict(zip(model.structure.movable, model.joint_positions(frame), strict=True))
    return model.repose({**positions, **request.joints}, model.root_pose(frame))


def _picture(
    model: ArticulatedModel, rig: RigCamera, T_world_part_P44: np.ndarray, parts: bool
) -> np.ndarray:
    seen = model.render(rig.camera, rig.T_world_cam, T_world_part_P44)
    if not parts:
        return seen.colours_HW3
    palette = part_palette(model.structure, model.motion.parts)
    return paint_parts(seen.parts_HW, palette, BACKGROUND_LEVELS[model.background])
