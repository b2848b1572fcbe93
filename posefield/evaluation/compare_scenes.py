"""Two sets of poses of the same images: how far they are apart, as they are and aligned.

This is the one place where poses are aligned before they are compared: two ground truths, such
as depth SLAM and SfM of 7-Scenes, may lie in different frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.data.scene import Scene
from posefield.errors import DataError, PoseError
from posefield.evaluation.trajectories import statistics
from posefield.geometry.poses import pose_errors
from posefield.geometry.similarity import Similarity, align_centres


@dataclass(frozen=True)
class Differences:
    """How far apart the poses of the same images are.

    Attributes:
        poses_N44: of the second set, in the frame of the first.
        translations_N: between camera centres, units of the first set.
        rotations_deg_N: between rotations.
        alignment: from the frame of the second set to that of the first; None as they are.
    """

    poses_N44: np.ndarray
    translations_N: np.ndarray
    rotations_deg_N: np.ndarray
    alignment: Similarity | None = None

    def figures(self) -> dict:
        """Return the figures for JSON."""
        figures: dict = {
            'translation': statistics(self.translations_N),
            'rotation_deg': statistics(self.rotations_deg_N),
        }
        if self.alignment is not None:
            figures['alignment'] = {
                'scale': self.alignment.scale,
                'rotation': self.alignment.R.tolist(),
                'translation': self.alignment.t.tolist(),
            }
        return figures


@dataclass(frozen=True)
class SceneComparison:
    """What two scenes say about the poses of the same images.

    Attributes:
        names: of the images that have a pose in both, sorted.
        only_first, only_second: names of images with a pose in one scene only.
        first_N44: T_map_cam of the first scene.
        raw: differences as the poses are.
        rigid, similar: after the SE(3) or Sim(3) that best aligns the camera centres; None
            where the centres do not determine one.
        failure: why there is no alignment; empty otherwise.
    """

    names: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    first_N44: np.ndarray
    raw: Differences
    rigid: Differences | None
    similar: Differences | None
    failure: str = ''

    @property
    def stages(self) -> list[tuple[str, Differences]]:
        """The differences there are, with the key of each in JSON."""
        stages = (('raw', self.raw), ('se3', self.rigid), ('sim3', self.similar))
        return [(name, differences) for name, differences in stages if differences is not None]

    @property
    def best(self) -> Differences:
        """The differences after rigid alignment; as they are where that is not determined."""
        return self.rigid or self.raw


def compare_scenes(first: Scene, second: Scene) -> SceneComparison:
    """Compare the poses of the images that two scenes share by name.

    Raises:
        DataError: when no image has a pose in both.
    """
    of_first, of_second = (
        {f.name: f.T_map_cam for f in scene.frames if f.T_map_cam is not None}
        for scene in (first, second)
    )
    names = tuple(sorted(of_first.keys() & of_second.keys()))
    if not names:
        raise DataError(
            f'{first.root} and {second.root} have no image with a pose in common, expected two '
            f'sets of poses of the same images; their first images are {min(of_first)} and '
            f'{min(of_second)}.'
        )
    first_N44, second_N44 = (
        np.array([poses[name] for name in names]) for poses in (of_first, of_second)
    )
    rigid = similar = None
    failure = ''
    try:
        rigid, similar = (
            _aligned(first_N44, second_N44, with_scale) for with_scale in (False, True)
        )
    except PoseError as error:
        failure = str(error)
    return SceneComparison(
        names,
        tuple(sorted(of_first.keys() - of_second.keys())),
        tuple(sorted(of_second.keys() - of_first.keys())),
        first_N44,
        differences(first_N44, second_N44),
        rigid,
        similar,
        failure,
    )


def differences(
    first_N44: np.ndarray, second_N44: np.ndarray, alignment: Similarity | None = None
) -> Differences:
    """Return the differences between poses, with the second set already in the first's frame."""
    errors = [pose_errors(*pair) for pair in zip(second_N44, first_N44, strict=True)]
    return Differences(
        second_N44,
        np.array([error.translation for error in errors]),
        np.array([error.rotation_deg for error in errors]),
        alignment,
    )


def _aligned(first_N44: np.ndarray, second_N44: np.ndarray, with_scale: bool) -> Differences:
    alignment = align_centres(second_N44[:, :3, 3], first_N44[:, :3, 3], with_scale)
    return differences(first_N44, alignment.poses(second_N44), alignment)


def comparison_figures(comparison: SceneComparison, scenes: Sequence[Scene]) -> dict:
    """Return the content of comparison.json."""
    first, second = scenes
    return {
        'schema': 1,
        'kind': 'scene_comparison',
        'images': len(comparison.names),
        'only_in_first': len(comparison.only_first),
        'only_in_second': len(comparison.only_second),
        'units': first.units,
        'first': _about(first),
        'second': _about(second),
        'alignment_failure': comparison.failure or None,
        **{name: found.figures() for name, found in comparison.stages},
    }


def _about(scene: Scene) -> dict:
    return {
        **scene.provenance,
        'name': scene.root.resolve().name,
        'units': scene.units,
        'images': len(scene.frames),
    }
