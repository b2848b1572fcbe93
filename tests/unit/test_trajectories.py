"""TUM files and association by stamp, with evo as the outside referee."""

from evo.core import metrics as evo_metrics
from evo.core import sync
from evo.tools import file_interface
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from posefield.errors import DataError
from posefield.evaluation.trajectories import (
    read_tum,
    trajectory_errors,
    write_tum,
)
from posefield.geometry.poses import perturbed, pose_errors
from posefield.geometry.trajectory import Trajectory


def drive(count: int = 20, step_s: float = 0.1) -> Trajectory:
    """A bent path with turning."""
    stamps = 1000.0 + step_s * np.arange(count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    angle = np.linspace(0, 2, count)
    poses[:, :3, :3] = Rotation.from_euler('yx', np.stack([angle, angle / 3], 1)).as_matrix()
    poses[:, :3, 3] = np.stack([np.cos(angle), angle, np.sin(angle)], axis=1)
    return Trajectory(stamps, poses)


def test_a_tum_file_reads_back_and_says_what_it_holds(tmp_path):
    path = tmp_path / 'poses.tum'
    write_tum(path, drive(), 'camera in map')
    again = read_tum(path)
    np.testing.assert_allclose(again.stamps_N, drive().stamps_N, atol=1e-9)
    np.testing.assert_allclose(again.poses_N44, drive().poses_N44, atol=1e-8)
    assert path.read_text().startswith('# camera in map\n')


def test_errors_agree_with_evo(tmp_path):
    generator = np.random.default_rng(2)
    truth = drive()
    poses = np.array(
        [perturbed(pose, generator.gamma(2, 0.05), generator.gamma(2, 3), generator)
         for pose in truth.poses_N44]
    )  # fmt: skip
    write_tum(tmp_path / 'truth.tum', truth, 'truth')
    write_tum(tmp_path / 'estimate.tum', Trajectory(truth.stamps_N, poses), 'estimate')
    ours = trajectory_errors(read_tum(tmp_path / 'estimate.tum'), read_tum(tmp_path / 'truth.tum'))
    pair = sync.associate_trajectories(
        file_interface.read_tum_trajectory_file(str(tmp_path / 'truth.tum')),
        file_interface.read_tum_trajectory_file(str(tmp_path / 'estimate.tum')),
    )
    relations = {
        'translation': evo_metrics.PoseRelation.translation_part,
        'rotation_deg': evo_metrics.PoseRelation.rotation_angle_deg,
    }
    for name, relation in relations.items():
        referee = evo_metrics.APE(relation)
        referee.process_data(pair)
        theirs = referee.get_all_statistics()
        for statistic in ('rmse', 'mean', 'median', 'max'):
            assert ours[name][statistic] == pytest.approx(theirs[statistic], abs=1e-6)


def test_truth_is_interpolated_at_the_stamp_of_the_image():
    truth = drive(step_s=0.04)
    at = truth.at(truth.stamps_N[4] + 0.01)
    expected = 0.75 * truth.poses_N44[4, :3, 3] + 0.25 * truth.poses_N44[5, :3, 3]
    np.testing.assert_allclose(at[:3, 3], expected, atol=1e-8)
    turn = Slerp([0, 1], Rotation.from_matrix(truth.poses_N44[4:6, :3, :3]))(0.25)
    assert (
        pose_errors(at, np.block([[turn.as_matrix(), at[:3, 3:]], [0, 0, 0, 1]])).rotation_deg
        < 1e-5
    )


def test_no_pose_further_away_than_the_gap_is_used():
    truth = drive(step_s=0.2)
    assert truth.at(truth.stamps_N[3] + 0.1) is None
    assert truth.at(truth.stamps_N[3] + 0.1, max_gap_s=0.15) is not None
    assert truth.at(truth.stamps_N[3]) is not None
    assert truth.at(truth.stamps_N[0] - 0.01) is None
    assert truth.at(truth.stamps_N[-1] + 0.01) is None


def test_stamps_without_truth_are_counted_not_scored():
    truth = drive(10)
    estimate = Trajectory(truth.stamps_N + 0.5, truth.poses_N44)
    figures = trajectory_errors(estimate, truth)
    assert figures['matched'] + figures['unmatched'] == 10
    assert figures['unmatched'] == 5
    assert trajectory_errors(Trajectory(truth.stamps_N + 99, truth.poses_N44), truth) == {
        'matched': 0, 'unmatched': 10, 'translation': None, 'rotation_deg': None,
    }  # fmt: skip


def test_pairs_are_sorted_by_stamp():
    poses = drive(3).poses_N44
    trajectory = Trajectory.from_pairs([(2.0, poses[1]), (1.0, poses[0])])
    assert trajectory.stamps_N.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('1 2 3\n', 'line 1 must be 8 finite numbers'),
        ('# header\n1 0 0 0 0 0 0 one\n', 'line 2 is not numbers'),
        ('1 0 0 nan 0 0 0 1\n', '8 finite numbers'),
        ('1 0 0 0 0 0 0 0\n', 'quaternion of length 0'),
        ('# only a header\n', 'has no pose'),
    ],
)
def test_bad_tum_files_say_what_is_wrong_and_where(tmp_path, text, message):
    path = tmp_path / 'bad.tum'
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_tum(path)


def test_a_missing_tum_file_is_named(tmp_path):
    with pytest.raises(DataError, match='none.tum'):
        read_tum(tmp_path / 'none.tum')


def test_stamps_that_go_back_are_refused():
    with pytest.raises(DataError, match='increase'):
        Trajectory(np.array([1.0, 0.5]), np.tile(np.eye(4), (2, 1, 1)))
