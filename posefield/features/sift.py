"""Sparse keypoints: SIFT with root-normalised descriptors and mutual matching.

Keypoints are in the pixels of the image that was given (ROS convention: the centre of the
top-left pixel is (0, 0), as OpenCV reports them).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image.

    Attributes:
        pixels_N2: positions, float32.
        scales_N: diameter of the meaningful neighbourhood in pixels.
        descriptors_N128: SIFT histograms, uint8.
    """

    pixels_N2: np.ndarray
    scales_N: np.ndarray
    descriptors_N128: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels_N2)


def detect_sift(image_HW3: np.ndarray, max_keypoints: int) -> Keypoints:
    """Return the strongest SIFT keypoints of an RGB float image in [0, 1].

    One keypoint with several orientations counts once for each.
    """
    grey = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
    grey_u8 = np.clip(grey * 255.0 + 0.5, 0, 255).astype(np.uint8)
    sift = cv2.SIFT_create(
        nfeatures=max_keypoints,
        nOctaveLayers=3,
        contrastThreshold=0.005,
        edgeThreshold=15,
        sigma=1.6,
        # Without it OpenCV places keypoints a quarter pixel off in x and y.
        enable_precise_upscale=True,
    )
    found, descriptors = sift.detectAndCompute(grey_u8, None)
    if not found:
        return Keypoints(
            np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 128), np.uint8)
        )
    return Keypoints(
        np.array([keypoint.pt for keypoint in found], dtype=np.float32),
        np.array([keypoint.size for keypoint in found], dtype=np.float32),
        descriptors.astype(np.uint8),
    )


def root_normalised(descriptors_N128: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return unit-length root-SIFT descriptors (N, 128) float32 (Hellinger distance)."""
    values = torch.as_tensor(descriptors_N128).to(torch.float32)
    return torch.sqrt(values / values.sum(dim=1, keepdim=True).clamp(min=1.0))


def match_mutual(
    first_N128: torch.Tensor, second_M128: torch.Tensor, max_ratio: float
) -> np.ndarray:
    """Return index pairs (K, 2) of mutual nearest descriptors that pass Lowe's ratio test.

    Args:
        first_N128, second_M128: unit-length descriptors.
        max_ratio: largest ratio of the nearest to the second nearest distance.
    """
    if len(first_N128) < 2 or len(second_M128) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    similarity = first_N128 @ second_M128.T
    best, nearest = similarity.topk(2, dim=1)
    distance = (2.0 - 2.0 * best).clamp(min=0.0).sqrt()
    back = similarity.argmax(dim=0)
    index = torch.arange(len(first_N128))
    keep = (distance[:, 0] < max_ratio * distance[:, 1]) & (back[nearest[:, 0]] == index)
    return torch.stack([index[keep], nearest[keep, 0]], dim=1).numpy()
