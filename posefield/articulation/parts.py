"""Rigid parts in motion: ellipsoids and their poses over the frames that were learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from posefield.errors import BundleError

# The names of `PartMotion.to_tensors`, with the number of dimensions of each.
TENSOR_DIMENSIONS = {
    'frames': 1,
    'radii': 2,
    'part_poses': 4,
    'part_colours': 2,
    'edges': 2,
}


@dataclass(frozen=True)
class PartMotion:
    """Posed ellipsoids, everything in the scene frame.

    Attributes:
        radii_P3: semi-axes of every part's ellipsoid along its own axes.
        T_scene_part_FP44: pose of every part in every frame, float64.
        colours_P3: mean colour of every part, RGB in [0, 1].
        edges: the tree of joints, as (part i, part j, candidate m of i, candidate n of j).  The
            candidates 0 to 5 are the points at +x, -x, +y, -y, +z, -z, 3/4 of the radius out
            (watch_it_move 5.7).  P - 1 edges, or none where nobody looked.
        frames_F: index in the video of each of the F frames, rising.
    """

    radii_P3: np.ndarray
    T_scene_part_FP44: np.ndarray
    colours_P3: np.ndarray
    edges: tuple[tuple[int, int, int, int], ...]
    frames_F: tuple[int, ...]

    def __post_init__(self):
        parts, frames = len(self.radii_P3), len(self.frames_F)
        expected = {
            'radii_P3': (parts, 3),
            'T_scene_part_FP44': (frames, parts, 4, 4),
            'colours_P3': (parts, 3),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise BundleError(
                    f'{name} of {parts} parts in {frames} frames must have shape {shape}, found '
                    f'{getattr(self, name).shape}.'
                )

    @property
    def parts(self) -> int:
        """Number of parts P."""
        return len(self.radii_P3)

    @property
    def centres_FP3(self) -> np.ndarray:
        """Centres of all parts in all frames, scene frame."""
        return self.T_scene_part_FP44[:, :, :3, 3]

    def frame_index(self, frame: int) -> int:
        """Return where a frame of the video is along F.

        Raises:
            BundleError: when the parts were not learned there.
        """
        if frame not in self.frames_F:
            raise BundleError(
                f'Frame {frame} is not among the {len(self.frames_F)} learned frames '
                f'{self.frames_F[0]} to {self.frames_F[-1]}.'
            )
        return self.frames_F.index(frame)

    def subset(self, parts: Sequence[int]) -> 'PartMotion':
        """Return these parts alone, in this order, and without edges."""
        index = list(parts)
        return PartMotion(
            self.radii_P3[index],
            self.T_scene_part_FP44[:, index],
            self.colours_P3[index],
            (),
            self.frames_F,
        )

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Return all of it as named tensors, for safetensors."""
        return {
            'frames': torch.tensor(self.frames_F, dtype=torch.int64),
            'radii': torch.from_numpy(np.array(self.radii_P3, dtype=np.float64)),
            'part_poses': torch.from_numpy(np.array(self.T_scene_part_FP44, dtype=np.float64)),
            'part_colours': torch.from_numpy(np.array(self.colours_P3, dtype=np.float64)),
            'edges': torch.tensor(self.edges, dtype=torch.int64).reshape(-1, 4),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> 'PartMotion':
        """Take back `to_tensors`; other tensors in the mapping are left alone.

        Raises:
            BundleError: when one is missing or has another shape than it must have.
        """
        for name, dimensions in TENSOR_DIMENSIONS.items():
            if name not in tensors or tensors[name].dim() != dimensions:
                found = f'shape {tuple(tensors[name].shape)}' if name in tensors else 'none'
                raise BundleError(
                    f'Parts need a tensor {name} of {dimensions} dimensions, found {found}.'
                )
        edges = tuple(tuple(int(value) for value in edge) for edge in tensors['edges'])
        return cls(
            tensors['radii'].numpy().astype(np.float64),
            tensors['part_poses'].numpy().astype(np.float64),
            tensors['part_colours'].numpy().astype(np.float64),
            edges,
            tuple(int(frame) for frame in tensors['frames']),
        )
