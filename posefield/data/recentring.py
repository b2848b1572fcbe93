"""The frame in which NeFeS and DFNet publish poses, and the way there and back.

Four things differ from the poses that a data set holds (nefes.md 7.3), each on its own: camera
axes (OpenGL instead of optical), direction (camera-to-world instead of world-to-camera, settled
when a file is read), the origin (an average pose), and the scale for rendering, which is none of
the pose's business and lies in `PaperScene`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from posefield.data.transforms_json import GL_FROM_CV
from posefield.errors import DataError
from posefield.geometry.poses import as_rigid, invert


@dataclass(frozen=True, eq=False)
class Recentring:
    """How poses T_map_cam of a scene become the published ones.

    Attributes:
        T_map_average: A, the scene's average pose (4, 4); any rigid transform will do, but it
            must stay with everything that was learned from poses re-centred by it.
        form: with C the pose and F = diag(1, -1, -1, 1), `sfm` is A^-1 C F, for 7-Scenes with
            SfM poses; `dslam` is F A^-1 C F, for 7-Scenes with the distributed poses and for
            Cambridge Landmarks.

    Raises:
        DataError, PoseError: for another form, or an average that is not rigid.
    """

    T_map_average: np.ndarray
    form: Literal['sfm', 'dslam']

    def __post_init__(self):
        if self.form not in ('sfm', 'dslam'):
            raise DataError(f'The form of a re-centring must be sfm or dslam, got {self.form!r}.')
        average = as_rigid(self.T_map_average, 'The average pose')
        object.__setattr__(self, 'T_map_average', average)

    @property
    def T_published_map(self) -> np.ndarray:
        """Return the (4, 4) rigid transform of world points to the published world."""
        T = invert(self.T_map_average)
        return GL_FROM_CV @ T if self.form == 'dslam' else T

    def to_published(self, T_map_cam: np.ndarray) -> np.ndarray:
        """Return P' (..., 4, 4): camera-to-world, OpenGL axes, re-centred, in metres."""
        return self.T_published_map @ np.asarray(T_map_cam) @ GL_FROM_CV

    def from_published(self, T_published_cam: np.ndarray) -> np.ndarray:
        """Return T_map_cam (..., 4, 4), the inverse of `to_published`."""
        return invert(self.T_published_map) @ np.asarray(T_published_cam) @ GL_FROM_CV


def average_pose(T_N44: np.ndarray) -> np.ndarray:
    """Return the average (4, 4) of poses by the recipe of LLFF.

    The centre is the mean; z is the mean third column, and x is across it and the mean second.
    The averages that go with the published SfM poses were made of world-to-camera matrices; made
    of camera-to-world ones the scene is really centred.

    Raises:
        DataError: when the mean axes vanish or are parallel, so that there is no average.
    """
    T_N44 = np.asarray(T_N44, dtype=np.float64)
    mean = T_N44[:, :3].mean(axis=0)
    z = mean[:, 2]
    x = np.cross(mean[:, 1], z)
    if min(np.linalg.norm(z), np.linalg.norm(x)) < 1e-9:
        raise DataError(
            f'The {len(T_N44)} poses have no average: their mean axes vanish or are parallel.'
        )
    z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
    average = np.eye(4)
    average[:3, :4] = np.stack([x, np.cross(z, x), z, mean[:, 3]], axis=1)
    return average
