"""A few photos of the textured room for tests of training a feature synthesizer."""

import numpy as np
import torch

from posefield.features.extractors import DenseExtractor
from posefield.features.gradient import GradientFeatures
from posefield.fields.scene_transform import SceneTransform
from posefield.relocalization.nefes_data import NefesPhoto, NefesViews
from posefield.relocalization.photos import to_u8
from support.textured_room import TexturedRoom, pinhole
from support.tiny_map import photo_poses

ROOM = TexturedRoom(seed=11, finest=0.6)
CAMERA = pinhole(48, 36, 40.0)
SHORT_SIDE = 18
# The field frame is the map frame, with the room inside [-1, 1].
TRANSFORM = SceneTransform((0.0, 0.0, 0.0), 0.45, 0.1, 4.0)


def room_photos(count: int = 6, static_HW: np.ndarray | None = None) -> list[NefesPhoto]:
    """Photos of the room, all with the same mask."""
    return [
        NefesPhoto(f'{index}.png', T, to_u8(ROOM.view(CAMERA, T)[0]), CAMERA, static_HW)
        for index, T in enumerate(photo_poses(count))
    ]


def room_views(
    photos: list[NefesPhoto] | None = None,
    extractor: DenseExtractor | None = None,
    **options,
) -> NefesViews:
    """Photos of the room with labels, gradient features by default."""
    return NefesViews(
        photos or room_photos(),
        TRANSFORM,
        SHORT_SIDE,
        extractor or GradientFeatures(),
        torch.device('cpu'),
        **options,
    )
