"""The settings of the scenes of the NeFeS paper, to reproduce it; ours are computed instead.

The field of the paper sees camera centres as s2 (s1 c + v), with c re-centred (see `Recentring`)
and rotations unchanged; the authors tuned s1, s2, v and the ray's range by hand (nefes.md 7.4).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from posefield.data.recentring import Recentring, average_pose
from posefield.errors import DataError
from posefield.geometry.poses import invert


@dataclass(frozen=True)
class PaperScene:
    """How the authors of NeFeS set a scene up.

    Attributes:
        name: of the scene's folder.
        dataset: which benchmark it is of.
        near, far: ray range, field units.
        pose_scale, pose_scale2: s1 and s2; their product is field units per metre.
        move: v, added after s1.
        focal: pixels, at 640x480 (7-Scenes, of the SfM poses) or 854x480 (Cambridge).
    """

    name: str
    dataset: Literal['7scenes', 'cambridge']
    near: float
    far: float
    pose_scale: float
    pose_scale2: float
    move: tuple[float, float, float]
    focal: float

    @property
    def scale(self) -> float:
        """Return field units per metre."""
        return self.pose_scale * self.pose_scale2

    @property
    def form(self) -> Literal['sfm', 'dslam']:
        """Return the form of re-centring that the published poses have."""
        return 'sfm' if self.dataset == '7scenes' else 'dslam'

    def recentring(self, T_map_cam_N44: np.ndarray) -> Recentring:
        """Return the re-centring by the recipe of the authors.

        Their averages for SfM poses are of world-to-camera matrices, for others of camera-to-world
        ones.

        Args:
            T_map_cam_N44: poses of the training images.
        """
        averaged = invert(T_map_cam_N44) if self.form == 'sfm' else T_map_cam_N44
        return Recentring(average_pose(averaged), self.form)

    def to_nerf(self, centres_N3: np.ndarray) -> np.ndarray:
        """Return re-centred camera centres (N, 3) in metres as the paper's field sees them."""
        moved = self.pose_scale * np.asarray(centres_N3) + np.asarray(self.move)
        return self.pose_scale2 * moved

    def centre_in_map(self, recentring: Recentring) -> np.ndarray:
        """Return the map point (3,) at the origin of the paper's field.

        With it, `(map - centre) * scale` are the paper's coordinates up to a rotation: the
        centre and scale of a `SceneTransform`, with `near` and `far`.
        """
        published = np.append(-np.asarray(self.move) / self.pose_scale, 1.0)
        return np.linalg.solve(recentring.T_published_map, published)[:3]

    def focal_at(self, width: int, height: int) -> float:
        """Return the focal length in pixels of an image of this size."""
        return self.focal * min(width, height) / 480.0


PAPER_SCENES = {
    scene.name: scene
    for scene in (
        PaperScene('chess', '7scenes', 0, 2, 0.5, 1, (0, 0, 1), 526.22),
        PaperScene('fire', '7scenes', 0, 3, 1, 1, (0, 0, 1), 526.903),
        PaperScene('heads', '7scenes', 0, 2.5, 1, 1, (0, 0, 1), 527.745),
        PaperScene('office', '7scenes', 0, 2, 0.5, 1, (0, 0, 0.5), 525.143),
        PaperScene('pumpkin', '7scenes', 0, 2.5, 0.5, 1, (0, 0, 1), 525.647),
        PaperScene('redkitchen', '7scenes', 0, 2, 0.5, 1, (0, 0, 0.5), 525.505),
        PaperScene('stairs', '7scenes', 0, 4, 1, 1, (0, 0, 0), 525.505),
        PaperScene('KingsCollege', 'cambridge', 0, 10, 0.3027, 0.2, (0, 0, 0), 744),
        PaperScene('OldHospital', 'cambridge', 0, 10, 0.3027, 0.2, (0, 0, 5), 744),
        PaperScene('ShopFacade', 'cambridge', 0, 20, 0.3027, 0.32, (0, 0, 2.5), 744),
        PaperScene('StMarysChurch', 'cambridge', 0, 10, 0.3027, 0.2, (0, 0, 0), 744),
        PaperScene('GreatCourt', 'cambridge', 0, 10, 0.3027, 0.2, (0, 0, 0), 744),
    )
}


def paper_scene(name: str) -> PaperScene:
    """Return the settings of a scene.

    Raises:
        DataError: when the paper has no such scene.
    """
    if name not in PAPER_SCENES:
        raise DataError(
            f'The paper has no scene {name!r}, expected one of {", ".join(PAPER_SCENES)}.'
        )
    return PAPER_SCENES[name]
