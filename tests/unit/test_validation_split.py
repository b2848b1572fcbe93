"""The val split stays out of learning."""

from collections.abc import Mapping
from dataclasses import replace
import threading

import pytest

from posefield.data.scene import Scene
from posefield.data.splits import hold_out_validation
from posefield.errors import DataError, LearningInterrupted
from posefield.relocalization.mapping import build_map
from support.tiny_map import tiny_preset


class StopWhenPhotosAreKnown:
    """Progress that stops the learning after the photos were read, before the field is learned."""

    def __init__(self):
        self.stop = threading.Event()

    def start(self, stage: str, total_fraction_known: bool) -> None:
        if stage == 'sparse':
            self.stop.set()

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        pass

    def close(self) -> None:
        pass


def without_images(scene: Scene, split: str) -> Scene:
    """Return the scene with images of a split that cannot be read."""
    gone = scene.splits[split]
    frames = tuple(
        replace(frame, image_path=scene.root / 'gone' / frame.name)
        if frame.name in gone
        else frame
        for frame in scene.frames
    )
    return replace(scene, frames=frames)


def read_photos(scene: Scene, out) -> None:
    progress = StopWhenPhotosAreKnown()
    with tiny_preset() as preset:
        build_map(scene, preset, out, device='cpu', progress=progress, stop=progress.stop)


def test_learning_reads_the_training_photos_and_no_others(tiny_scene, tmp_path):
    splits = hold_out_validation(tiny_scene.splits, 4)
    assert [len(splits[name]) for name in ('train', 'val', 'test')] == [9, 3, 3]
    scene = replace(tiny_scene, splits=splits)
    for split in ('val', 'test'):
        with pytest.raises(LearningInterrupted):
            read_photos(without_images(scene, split), tmp_path / 'map')
    with pytest.raises(DataError, match='gone/train_01.png'):
        read_photos(without_images(scene, 'train'), tmp_path / 'map')
