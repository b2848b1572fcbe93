"""Pictures of articulated models: coloured parts, the skeleton over a photo, a turn-table."""

from collections.abc import Sequence
import colorsys
import io

import cv2
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Skeleton
from posefield.data.rig_camera import RigCamera
from posefield.geometry.camera import Camera

# Hues of links that follow each other are this share of the circle apart.
HUE_STEP = 0.381966
AXIS_LENGTH = 0.12
GIF_FRAME_MS = 80
INK = (29, 39, 51)


def part_palette(skeleton: Skeleton, parts: int) -> np.ndarray:
    """Return a colour (P, 3) in [0, 1] for every part: a hue for each link, lighter and darker."""
    palette = np.full((parts, 3), 0.5)
    for index, link in enumerate(link for link in skeleton.links if link.parts):
        for place, part in enumerate(link.parts):
            lightness = 0.46 + 0.16 * (place % 3)
            palette[part] = colorsys.hls_to_rgb((0.58 + index * HUE_STEP) % 1.0, lightness, 0.72)
    return palette


def paint_parts(
    parts_HW: np.ndarray, palette_P3: np.ndarray, background: float = 1.0
) -> np.ndarray:
    """Return parts in their colours, (H, W, 3); -1 is the background."""
    colours = np.concatenate([palette_P3, np.full((1, 3), background)])
    return colours[parts_HW]


def draw_skeleton(
    photo_HW3: np.ndarray,
    rig: RigCamera,
    skeleton: Skeleton,
    T_world_link_L44: np.ndarray,
    ends_L3: np.ndarray,
    width: int,
) -> np.ndarray:
    """Draw links, joints and axes over a photo.

    Args:
        photo_HW3: RGB in [0, 1].
        rig: its camera.
        skeleton: what to draw.
        T_world_link_L44: poses of the links.
        ends_L3: the middle of every link in the world; NaN for a massless one.
        width: of the picture, pixels.
    """
    height = round(width * photo_HW3.shape[0] / photo_HW3.shape[1])
    picture = cv2.resize(
        np.round(255 * np.clip(photo_HW3, 0, 1)).astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    # Pale behind the lines.
    picture = (0.5 * picture + 0.5 * 255).astype(np.uint8)
    pen = _Pen(picture, rig.camera.resized(width, height), rig.T_world_cam)
    hues = part_palette(skeleton, max(_parts(skeleton), default=-1) + 1)
    solid = ends_L3[np.isfinite(ends_L3).all(axis=1)]
    size = float(np.ptp(solid, axis=0).max()) if len(solid) > 1 else 1.0
    for joint in skeleton.joints:
        parent, child = (skeleton.link_index(name) for name in (joint.parent, joint.child))
        centre = T_world_link_L44[child, :3, 3]
        colour = _link_colour(skeleton, child, hues)
        pen.line(ends_L3[parent], centre, _link_colour(skeleton, parent, hues), 3)
        pen.line(centre, ends_L3[child], colour, 3)
        if joint.movable:
            reach = AXIS_LENGTH * size * (T_world_link_L44[child, :3, :3] @ joint.axis_3)
            pen.line(centre - reach, centre + reach, INK, 1)
            pen.dot(centre, colour)
    return picture.astype(np.float32) / 255.0


class _Pen:
    """Draws points of the world into a picture."""

    def __init__(self, picture: np.ndarray, camera: Camera, T_world_cam: np.ndarray):
        self._picture, self._camera = picture, camera
        self._T_cam_world = np.linalg.inv(T_world_cam)

    def line(
        self, start_3: np.ndarray, end_3: np.ndarray, colour: Sequence[int], width: int
    ) -> None:
        pixels = self._pixels(np.stack([start_3, end_3]))
        if pixels is not None:
            cv2.line(self._picture, pixels[0], pixels[1], colour, width, cv2.LINE_AA)

    def dot(self, point_3: np.ndarray, colour: Sequence[int]) -> None:
        pixels = self._pixels(point_3[None])
        if pixels is not None:
            cv2.circle(self._picture, pixels[0], 6, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(self._picture, pixels[0], 5, colour, -1, cv2.LINE_AA)

    def _pixels(self, points_N3: np.ndarray) -> list[tuple[int, int]] | None:
        """Return where points are seen; None when one of them is nowhere or far outside."""
        seen = points_N3 @ self._T_cam_world[:3, :3].T + self._T_cam_world[:3, 3]
        if not np.isfinite(seen).all() or (seen[:, 2] <= 1e-6).any():
            return None
        pixels = self._camera.project(seen)[0]
        if np.abs(pixels).max() > 1e5:
            return None
        return [(round(x), round(y)) for x, y in pixels]


def _parts(skeleton: Skeleton) -> list[int]:
    return [part for link in skeleton.links for part in link.parts]


def _link_colour(skeleton: Skeleton, link: int, palette_P3: np.ndarray) -> tuple[int, ...]:
    parts = skeleton.links[link].parts
    if not parts:
        return (120, 120, 120)
    return tuple(int(255 * level) for level in palette_P3[parts[0]])


def link_middles(skeleton: Skeleton, T_world_part_P44: np.ndarray) -> np.ndarray:
    """Return the middle (L, 3) of the parts of every link; NaN for a massless one."""
    middles = np.full((len(skeleton.links), 3), np.nan)
    for index, link in enumerate(skeleton.links):
        if link.parts:
            middles[index] = T_world_part_P44[list(link.parts), :3, 3].mean(axis=0)
    return middles


def turned_camera(
    rig: RigCamera, turn: float, centre_3: np.ndarray, up_3: np.ndarray
) -> np.ndarray:
    """Return T_world_cam (4, 4) of a camera carried round the thing by a share of a turn."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(2.0 * np.pi * turn * up_3).as_matrix()
    T[:3, 3] = centre_3 - T[:3, :3] @ centre_3
    return T @ rig.T_world_cam


def up_of(cameras: Sequence[RigCamera]) -> np.ndarray:
    """Return the unit vector that is up for cameras taken together."""
    up = -sum(rig.T_world_cam[:3, 1] for rig in cameras)
    length = np.linalg.norm(up)
    return up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def swing(positions_FD: np.ndarray, count: int) -> np.ndarray:
    """Return positions (count, D) in which every joint swings over what it was seen to do.

    The joints take turns, so that poses come up that were in no frame; the last leads back to
    the first.
    """
    low, high = positions_FD.min(axis=0), positions_FD.max(axis=0)
    joints = positions_FD.shape[1]
    phases = np.arange(count)[:, None] / count + np.arange(joints) / max(joints, 1)
    return 0.5 * (low + high) + 0.5 * (high - low) * np.sin(2.0 * np.pi * phases)


def encode_gif(images: Sequence[np.ndarray], frame_ms: int = GIF_FRAME_MS) -> bytes:
    """Return RGB float images in [0, 1] as an endless GIF."""
    frames = [
        Image.fromarray(np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)) for image in images
    ]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, 'GIF', save_all=True, append_images=frames[1:], duration=frame_ms, loop=0
    )
    return buffer.getvalue()
