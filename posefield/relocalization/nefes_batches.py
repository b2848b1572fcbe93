"""Which pixels of which photos a feature synthesizer learns from in each step."""

from dataclasses import dataclass

import numpy as np
import torch

from posefield.errors import LearningError
from posefield.relocalization.nefes_data import NefesViews


@dataclass(frozen=True)
class RayBatch:
    """One process's share of the rays of a step, drawn on the CPU.

    Attributes:
        photos_R: rows of the photos.
        pixels_R: flat indices of their pixels; patches follow each other, row by row.
        weights_R: of the rays in a mean over the static pixels of the whole batch; summed over
            the share and averaged over the processes they make 1.
        share: of all rays of the batch times the number of processes; 1 where shares are equal.
        unit: rays that belong together: those of a patch, or 1.
    """

    photos_R: torch.Tensor
    pixels_R: torch.Tensor
    weights_R: torch.Tensor
    share: float
    unit: int

    def pieces(self, max_rays: int) -> list['RayBatch']:
        """Return the same rays in batches of whole units, of at most so many rays if possible."""
        total = len(self.photos_R)
        size = max(1, max_rays // self.unit) * self.unit
        pieces = []
        for start in range(0, total, size):
            rows = slice(start, start + size)
            photos = self.photos_R[rows]
            pieces.append(
                RayBatch(
                    photos,
                    self.pixels_R[rows],
                    self.weights_R[rows],
                    self.share * len(photos) / total,
                    self.unit,
                )
            )
        return pieces

    def to(self, device: torch.device) -> 'RayBatch':
        """Return the same rays on a device."""
        tensors = (self.photos_R, self.pixels_R, self.weights_R)
        moved = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return RayBatch(*moved, self.share, self.unit)


class RayBatches:
    """Draws what is rendered in each step, the same in every process, and takes a share of it.

    Every epoch passes over all photos in a new order.

    Args:
        views: the photos.
        batch: photos a step.
        seed: of everything drawn; the same in every process.
        process, processes: which share is taken: rays, or patches, in turns.
    """

    def __init__(
        self, views: NefesViews, batch: int, seed: int, process: int = 0, processes: int = 1
    ):
        self._views = views
        self._batch = min(batch, len(views))
        self._seed = seed
        self._process, self._processes = process, processes

    def photos(self, step: int) -> list[int]:
        """Return the rows of the photos of a step."""
        per_epoch = -(-len(self._views) // self._batch)
        epoch, number = divmod(step, per_epoch)
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(len(self._views))
        return order[number * self._batch : (number + 1) * self._batch].tolist()

    def pixels(self, step: int, count: int) -> RayBatch:
        """Return `count` random static pixels of each photo of a step, each at most once."""
        random = np.random.default_rng([self._seed, 1, step])
        photos, pixels = [], []
        for photo in self.photos(step):
            static = np.flatnonzero(self._views.static[photo])
            chosen = random.choice(static, min(count, len(static)), replace=False)
            photos.append(np.full(len(chosen), photo))
            pixels.append(chosen)
        photos_R, pixels_R = np.concatenate(photos), np.concatenate(pixels)
        return self._shared(photos_R[:, None], pixels_R[:, None])

    def patches(self, step: int, count: int, size: int) -> RayBatch:
        """Return `count` squares of pixels, at the same places in all photos of a step.

        In photos of different sizes they are at the same places relative to the free range.
        """
        random = np.random.default_rng([self._seed, 1, step])
        corners_K2 = random.random((count, 2))
        offsets_y, offsets_x = np.divmod(np.arange(size * size), size)
        photos, pixels = [], []
        for photo in self.photos(step):
            camera = self._views.cameras[photo]
            if size > min(camera.width, camera.height):
                raise LearningError(
                    f'A patch has {size} pixels a side, but a photo is reduced to '
                    f'{camera.width}x{camera.height}; use smaller patches or larger views.'
                )
            free = np.array([camera.width - size + 1, camera.height - size + 1])
            corners = (corners_K2 * free).astype(np.int64)
            rows, columns = corners[:, 1:] + offsets_y, corners[:, :1] + offsets_x
            pixels.append(rows * camera.width + columns)
            photos.append(np.full_like(pixels[-1], photo))
        return self._shared(np.concatenate(photos), np.concatenate(pixels))

    def _shared(self, photos_KS: np.ndarray, pixels_KS: np.ndarray) -> RayBatch:
        """Return this process's share of K units of S rays."""
        if len(photos_KS) < self._processes:
            raise LearningError(
                f'A batch of {len(photos_KS)} parts cannot be shared by {self._processes} '
                'processes; use fewer, or larger batches.'
            )
        static = [
            self._views.static[photo][pixels]
            for photo, pixels in zip(photos_KS[:, 0], pixels_KS, strict=True)
        ]
        weights_KS = np.stack(static).astype(np.float32)
        weights_KS *= self._processes / max(weights_KS.sum(), 1.0)
        mine = slice(self._process, None, self._processes)
        share = len(photos_KS[mine]) * self._processes / len(photos_KS)
        parts = (photos_KS[mine], pixels_KS[mine], weights_KS[mine])
        tensors = (torch.from_numpy(part.reshape(-1)) for part in parts)
        return RayBatch(*tensors, share, photos_KS.shape[1])
