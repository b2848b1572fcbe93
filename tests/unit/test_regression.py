"""Part poses regressed from the joints or vertices of another body model."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.articulation.regression import (
    fit_regression,
    part_points,
    read_points,
    rigid_fits,
)
from posefield.errors import ArticulationError
from support.moving_chains import make_chain

JOINTS = [
    ('revolute', 'base', 'upper', (0.0, 0.0, 0.2), (0, 0, 1)),
    ('revolute', 'upper', 'lower', (0.4, 0.0, 0.1), (0, 1, 0)),
]
PARTS = [
    ('base', (0.0, 0.1, 0.0), (0.1, 0.2, 0.05)),
    ('upper', (0.2, 0.0, 0.05), (0.05, 0.08, 0.2)),
    ('lower', (0.1, 0.0, 0.0), (0.08, 0.1, 0.12)),
]
TRAINED = 40


def _vertices(chain, per_link: int) -> np.ndarray:
    """Return points (F, N, 3) fixed to the links."""
    local = np.random.default_rng(3).normal(size=(per_link, 3)) * 0.2
    T = chain.T_scene_link_FL44
    points = np.einsum('flij,nj->flni', T[..., :3, :3], local) + T[:, :, None, :3, 3]
    return points.reshape(len(T), -1, 3)


@pytest.mark.parametrize('per_link', [8, 400])
def test_parts_that_ride_on_a_body_are_recovered(per_link):
    chain = make_chain(JOINTS, PARTS)
    points, T = _vertices(chain, per_link), chain.motion.T_scene_part_FP44
    regression = fit_regression(points[:TRAINED], T[:TRAINED], chain.motion.radii_P3, ridge=1e-9)
    poses = regression.part_poses(points[TRAINED:])
    np.testing.assert_allclose(poses, T[TRAINED:], atol=1e-4)
    np.testing.assert_allclose(regression.part_poses(points[50]), T[50], atol=1e-4)


def test_the_solution_has_no_gradient():
    chain = make_chain(JOINTS, PARTS)
    points, T = _vertices(chain, 5), chain.motion.T_scene_part_FP44
    ridge = 0.1
    regression = fit_regression(points, T, chain.motion.radii_P3, ridge)
    local = part_points(chain.motion.radii_P3)
    targets = np.einsum('fpij,pkj->fpki', T[..., :3, :3], local) + T[..., None, :3, 3]
    left = regression.weights_KN @ points - targets.reshape(len(points), -1, 3)
    gradient = np.einsum('fki,fni->kn', left, points) + ridge * regression.weights_KN
    np.testing.assert_allclose(gradient, 0.0, atol=1e-8)


def test_both_ways_to_solve_agree():
    chain = make_chain(JOINTS, PARTS, frames=6)
    points, T = _vertices(chain, 6), chain.motion.T_scene_part_FP44
    few = fit_regression(points, T, chain.motion.radii_P3, 0.3)
    # The same regressors twice and more often, at a ridge that makes up for it.
    many = fit_regression(np.tile(points, (1, 40, 1)), T, chain.motion.radii_P3, 0.3 * 40)
    np.testing.assert_allclose(
        many.part_poses(np.tile(points, (1, 40, 1))), few.part_poses(points), atol=1e-9
    )


def test_the_points_of_a_part_sum_to_zero():
    points = part_points(np.array([[0.1, 0.2, 0.3]]))
    np.testing.assert_allclose(points.sum(axis=1), 0.0, atol=1e-15)
    np.testing.assert_allclose(np.abs(points).max(axis=1), [[0.075, 0.15, 0.225]])


def test_rigid_fits_recover_poses_and_never_mirror():
    generator = np.random.default_rng(5)
    local = part_points(generator.uniform(0.05, 0.3, (4, 3)))
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, :3, :3] = Rotation.random(4, random_state=generator).as_matrix()
    T[:, :3, 3] = generator.normal(size=(4, 3))
    moved = local @ np.swapaxes(T[:, :3, :3], -1, -2) + T[:, None, :3, 3]
    np.testing.assert_allclose(rigid_fits(local, moved), T, atol=1e-12)
    mirrored = rigid_fits(local, moved * [-1.0, 1.0, 1.0])
    np.testing.assert_allclose(np.linalg.det(mirrored[:, :3, :3]), 1.0)


def test_points_are_read_from_files(tmp_path):
    joints, vertices = np.zeros((2, 3, 3)), np.ones((2, 9, 3))
    np.save(tmp_path / 'joints.npy', joints)
    np.savez(tmp_path / 'both.npz', joints=joints, vertices=vertices)
    np.savez(tmp_path / 'mesh.npz', vertices=vertices)
    assert read_points(tmp_path / 'joints.npy').shape == (2, 3, 3)
    assert read_points(tmp_path / 'both.npz').shape == (2, 3, 3)
    assert read_points(tmp_path / 'both.npz', 'vertices').shape == (2, 9, 3)
    assert read_points(tmp_path / 'mesh.npz').shape == (2, 9, 3)


def test_wrong_files_are_refused(tmp_path):
    np.savez(tmp_path / 'other.npz', poses=np.zeros(3))
    np.save(tmp_path / 'flat.npy', np.zeros((2, 3)))
    np.save(tmp_path / 'nan.npy', np.full((2, 3, 3), np.nan))
    np.save(tmp_path / 'pickled.npy', np.array([{}]), allow_pickle=True)
    (tmp_path / 'text.npy').write_text('no numbers')
    for name, message in [
        ('other.npz', 'joints or vertices, found poses'),
        ('flat.npy', r'shape \(2, 3\)'),
        ('nan.npy', 'finite'),
        ('pickled.npy', 'does not open'),
        ('text.npy', 'does not open'),
        ('nothing.npy', 'does not open'),
    ]:
        with pytest.raises(ArticulationError, match=message):
            read_points(tmp_path / name)


def test_wrong_arrays_are_refused():
    chain = make_chain(JOINTS, PARTS, frames=6)
    points, T, radii = _vertices(chain, 4), chain.motion.T_scene_part_FP44, chain.motion.radii_P3
    with pytest.raises(ArticulationError, match=r'must have shape \(6, N, 3\)'):
        fit_regression(points[:3], T, radii)
    with pytest.raises(ArticulationError, match='ridge must be positive'):
        fit_regression(points, T, radii, 0.0)
    with pytest.raises(ArticulationError, match='as those that'):
        fit_regression(points, T, radii).part_poses(points[:, :5])
