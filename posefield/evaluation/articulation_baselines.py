"""What else could have been done with a recording, measured like a model."""

from collections.abc import Mapping
from typing import Any

from posefield.data.multiview import Multiview
from posefield.evaluation.evaluate_articulation import EvaluatedModel
from posefield.evaluation.image_metrics import Lpips, summarise_images
from posefield.evaluation.photo_comparison import Photos, ShowFrame, compare_photos

STATIC = 'static'


def image_figures(
    multiview: Multiview, photos: Photos, show: ShowFrame, lpips: Lpips | None = None
) -> dict[str, Any]:
    """Return held_out_views and held_out_poses of a method."""
    return {
        'held_out_views': summarise_images(compare_photos(multiview, photos.views, show, lpips)),
        'held_out_poses': summarise_images(compare_photos(multiview, photos.poses, show, lpips)),
    }


def static_figures(
    model: EvaluatedModel,
    multiview: Multiview,
    photos: Photos,
    summary: Mapping[str, Any],
    lpips: Lpips | None = None,
) -> dict[str, Any]:
    """Return the figures of a thing that stands still as it was in the middle of the video.

    Its joints are points that stand still where that errs least, which takes the truth to know.
    """
    poses = model.part_poses(model.frames[len(model.frames) // 2])

    def show(rig, frame):
        return model.render(rig.camera, rig.T_world_cam, poses)

    return {
        'joint_error': summary['joint_error_static'],
        'a10_joint_error': summary['a10_joint_error_static'],
        **image_figures(multiview, photos, show, lpips),
    }
