"""The pictures of a report, rendered from a model."""

from collections.abc import Callable, Sequence

import numpy as np

from posefield.articulation.structure import StructureReport
from posefield.data.multiview import Multiview
from posefield.data.rig_camera import RigCamera
from posefield.data.visual_hull import spread
from posefield.evaluation.articulation_pictures import (
    draw_skeleton,
    link_middles,
    paint_parts,
    part_palette,
    swing,
    turned_camera,
    up_of,
)
from posefield.evaluation.articulation_report import PhotoRow
from posefield.evaluation.evaluate_articulation import EvaluatedModel
from posefield.evaluation.image_metrics import ImageScore
from posefield.evaluation.photo_comparison import ShowFrame, compare_photos
from posefield.geometry.images import resize

PICTURE_WIDTH = 340
BONES = 6
STILLS = 6
TURN_TABLE_FRAMES = 36
TURN_TABLE_SIDE = 144


def photo_rows(
    multiview: Multiview,
    show: ShowFrame,
    palette_P3: np.ndarray,
    scores: Sequence[ImageScore],
) -> list[PhotoRow]:
    """Return photo, render and parts of the best, median and worst photo by PSNR."""
    ranked = sorted(scores, key=lambda score: -score.psnr)
    if not ranked:
        return []
    chosen = {0: 'Best', len(ranked) // 2: 'Median', len(ranked) - 1: 'Worst'}
    return [
        photo_row(multiview, show, palette_P3, label, ranked[place])
        for place, label in sorted(chosen.items())
    ]


def photo_row(
    multiview: Multiview, show: ShowFrame, palette_P3: np.ndarray, label: str, score: ImageScore
) -> PhotoRow:
    """Return one photo beside what is shown of it."""
    rig = multiview.cameras[score.view]
    seen = show(rig, score.frame)
    photo, _ = multiview.read_masked(score.view, score.frame)
    parts = paint_parts(seen.parts_HW, palette_P3, multiview.background_level)
    heading = (
        f'{label}: {score.psnr:.1f} dB, overlap {score.mask_iou:.2f} · {rig.name}, '
        f'frame {score.frame}'
    )
    pictures = ((photo, 'photo'), (np.clip(seen.colours_HW3, 0, 1), 'render'), (parts, 'parts'))
    return PhotoRow(heading, [(_sized(image), caption) for image, caption in pictures])


def training_rows(model: EvaluatedModel, multiview: Multiview, show: ShowFrame) -> list[PhotoRow]:
    """Return photos of the first camera beside renders, where no camera was held out."""
    view = multiview.training_views[0]
    scores = compare_photos(multiview, [(view, f) for f in spread(model.frames, 3)], show)
    palette = part_palette(model.structure, len(model.radii_P3))
    return [photo_row(multiview, show, palette, 'Learned', score) for score in scores]


def bone_pictures(model: EvaluatedModel, multiview: Multiview) -> list[tuple[np.ndarray, str]]:
    """Return photos of the first camera, spread over the video, with the skeleton over them."""
    view, skeleton = multiview.training_views[0], model.structure
    rig, pictures = multiview.cameras[view], []
    for frame in spread(model.frames, BONES):
        positions, root = model.joint_positions(frame), model.root_pose(frame)
        links = skeleton.forward(positions, root)
        middles = link_middles(skeleton, model.repose(positions, root))
        photo = multiview.read_image(view, frame)
        picture = draw_skeleton(photo, rig, skeleton, links, middles, PICTURE_WIDTH)
        pictures.append((picture, f'{rig.name}, frame {frame}'))
    return pictures


def turn_table(
    model: EvaluatedModel, cameras: Sequence[RigCamera], told: Callable[[float], None]
) -> list[np.ndarray]:
    """Return images of the model turning while all joints swing; the last leads to the first.

    Args:
        model: to show.
        cameras: it is shown by the first, which is carried round about what is up for all.
        told: the share that is done.
    """
    frames = model.frames
    positions = swing(
        np.stack([model.joint_positions(frame) for frame in frames]), TURN_TABLE_FRAMES
    )
    middle = frames[len(frames) // 2]
    root, centre_3 = model.root_pose(middle), model.part_poses(middle)[:, :3, 3].mean(axis=0)
    camera, up_3 = cameras[0].camera.with_short_side(TURN_TABLE_SIDE), up_of(cameras)
    images = []
    for index, pose in enumerate(positions):
        T_world_cam = turned_camera(cameras[0], index / len(positions), centre_3, up_3)
        seen = model.render(camera, T_world_cam, model.repose(pose, root))
        images.append(np.clip(np.asarray(seen.colours_HW3), 0.0, 1.0))
        told((index + 1) / len(positions))
    return images


def stills_of(images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, str]]:
    """Return a few images of a turn-table with captions."""
    chosen = range(0, len(images), max(1, len(images) // STILLS))
    return [
        (_sized(images[index]), f'turned by {360 * index // len(images)}°') for index in chosen
    ][:STILLS]


def merge_rows(report: StructureReport) -> list[list[tuple[str, str]]]:
    """Return the merges made, and the one that would have come next, as named texts."""
    rows = []
    for level in report.levels:
        first, second = (', '.join(map(str, parts)) for parts in level.members)
        is_made = level.motion < 1.0
        rows.append(
            [
                ('parts', first),
                ('with', second),
                ('links after', str(level.bodies - 1)),
                ('motion, of the noise floor', f'{level.motion:.2f}'),
                ('', 'merged' if is_made else 'runner-up, kept apart'),
            ]
        )
    return rows


def _sized(image_HW3: np.ndarray) -> np.ndarray:
    height, width = image_HW3.shape[:2]
    image = np.ascontiguousarray(image_HW3, dtype=np.float32)
    return np.clip(resize(image, PICTURE_WIDTH, round(PICTURE_WIDTH * height / width)), 0, 1)
