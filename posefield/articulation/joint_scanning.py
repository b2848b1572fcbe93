"""How a joint turned in every frame, found by trying all angles.

Gradients find only the nearest angle that explains an image: a joint whose line was wrong has
positions of which most are far from the right ones.
"""

import copy
import math

import numpy as np
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_fitting_stage import misfits
from posefield.articulation.skeleton_stage import SkeletonLossConfig
from posefield.articulation.skeleton_tracks import SkeletonTracks

ANGLES = 20
# Every so many frames are tried; in those between the joint is halfway.
STRIDE = 2
# Of the pixels of a step, which are drawn again for all images.
PIXEL_SHARE = 0.3
# Loss of a turn by a radian from one frame to the next.
UNSTEADINESS = 0.05
IMAGES_AT_ONCE = 60


@torch.no_grad()
def scanned(
    tracks: SkeletonTracks, joint: int, pixels: FittingPixels, config: SkeletonLossConfig
) -> SkeletonTracks:
    """Return tracks with the steady turns of one turning joint that explain the images best."""
    angles_K = np.arange(ANGLES) * 2.0 * math.pi / ANGLES - math.pi
    frames_T = np.arange(0, pixels.frames, STRIDE)
    found, costs_KT = copy.deepcopy(tracks), []
    for angle in angles_K:
        found.positions_FJ[:, joint] = angle
        costs_KT.append(_costs_T(found, frames_T, pixels, config))
    costs_TK = np.stack(costs_KT, axis=1)
    # Turning at the same speed costs the same, however many frames are between.
    unsteadiness = UNSTEADINESS / STRIDE**2
    chosen_T = np.unwrap(angles_K[steadiest(costs_TK, angles_K, unsteadiness)])
    chosen_F = np.interp(np.arange(pixels.frames), frames_T, chosen_T)
    found.positions_FJ[:, joint] = torch.from_numpy(chosen_F).to(found.positions_FJ)
    return found


def steadiest(costs_FK: np.ndarray, angles_K: np.ndarray, unsteadiness: float) -> np.ndarray:
    """Return which angle of every frame costs least in all (F,), by dynamic programming.

    Args:
        costs_FK: of every angle in every frame.
        angles_K: radians; turns between them go the shorter way.
        unsteadiness: what the square of a turn from one frame to the next costs, per radian^2.
    """
    gaps = angles_K[:, None] - angles_K
    turns = (gaps + math.pi) % (2.0 * math.pi) - math.pi
    steps_KK = unsteadiness * turns**2
    total, came_from = costs_FK[0], []
    for costs_K in costs_FK[1:]:
        ways = total[:, None] + steps_KK
        came_from.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + costs_K
    path = [int(total.argmin())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _costs_T(
    tracks: SkeletonTracks,
    frames_T: np.ndarray,
    pixels: FittingPixels,
    config: SkeletonLossConfig,
) -> np.ndarray:
    """Return the loss of the images of some frames, the same pixels of them at every call."""
    generator = torch.Generator(pixels.device).manual_seed(0)
    counts = tuple(max(1, round(PIXEL_SHARE * count)) for count in config.counts)
    softness = config.sharp_px * pixels.pixel_size
    found = []
    firsts_V = np.arange(pixels.views) * pixels.frames
    images_VT = torch.from_numpy(firsts_V[:, None] + frames_T).to(pixels.device)
    for images in images_VT.flatten().split(IMAGES_AT_ONCE):
        silhouette, square, is_object = misfits(
            tracks, pixels, images, counts, softness, config.depth_blur, generator
        )
        colour = square.sum(dim=1) / is_object.sum(dim=1).clamp(min=1)
        found.append(silhouette.mean(dim=1) + config.colour_weight * colour)
    costs = torch.cat(found).reshape(pixels.views, len(frames_T))
    return costs.mean(dim=0).double().cpu().numpy()
