"""Learning training poses of real photos, whose better poses are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from posefield.data.seven_scenes import read_seven_scenes
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.poses import pose_errors
from posefield.relocalization.nefes_data import prepare_nefes_photo
from posefield.relocalization.nefes_training import train_nefes
from posefield.relocalization.pose_correction import alignment
from support.nefes_room import GRID_FIELD, room_synthesizer, room_views, tiny_stages

pytestmark = pytest.mark.real_data


def _rotation_errors(T_N44: np.ndarray, T_true_N44: np.ndarray) -> np.ndarray:
    """Angles in degrees after alignment of the frames."""
    _, R, _ = alignment(torch.tensor(T_N44), torch.tensor(T_true_N44))
    turned = T_N44.copy()
    turned[:, :3, :3] = R.numpy() @ T_N44[:, :3, :3]
    pairs = zip(turned, T_true_N44, strict=True)
    return np.array([pose_errors(T, T_true).rotation_deg for T, T_true in pairs])


def test_learned_poses_come_closer_to_those_of_structure_from_motion(real_data_dir):
    source = real_data_dir / 'redkitchen'
    better = read_seven_scenes(source, poses=source / 'sfm_pgt.txt').frames[::20]
    given = {frame.name: frame.T_map_cam for frame in read_seven_scenes(source).frames}
    # The distributed poses are of another camera, a little off and not of the same moment.
    photos = [
        prepare_nefes_photo(replace(frame, T_map_cam=given[frame.name]), 120) for frame in better
    ]
    poses = np.stack([photo.T_map_cam for photo in photos])
    true = np.stack([frame.T_map_cam for frame in better])
    transform = SceneTransform.from_content(poses, np.zeros((0, 3)))
    field = replace(GRID_FIELD, resolutions=(24, 64), channels=8, proposal_resolution=48)
    result = train_nefes(
        room_synthesizer('grid', field=field.to_dict()),
        room_views(photos, transform=transform, short_side=40),
        tiny_stages('grid')[:1],
        seed=0,
        generator=torch.Generator().manual_seed(0),
        steps=300,
        learn_poses=True,
    )
    learned = transform.camera_to_map(result.T_field_cam_N44)
    before, after = _rotation_errors(poses, true), _rotation_errors(learned, true)
    assert np.median(after) < 0.8 * np.median(before)
    # The frame has not moved: centres and axes are those that were given, on the average.
    scale, R, t = alignment(torch.tensor(learned), torch.tensor(poses))
    assert float(scale) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(R, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(t, np.zeros(3), atol=1e-5)
