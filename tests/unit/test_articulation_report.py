"""The report of an articulated model and its pictures."""

import io
import re

import numpy as np
from PIL import Image
import pytest

from posefield.articulation.merging import MergeLevel
from posefield.articulation.structure import StructureReport
from posefield.evaluation.articulation_baselines import static_figures
from posefield.evaluation.articulation_pictures import (
    draw_skeleton,
    encode_gif,
    link_middles,
    paint_parts,
    part_palette,
    swing,
    turned_camera,
    up_of,
)
from posefield.evaluation.articulation_report import ArticulationReport, write_report
from posefield.evaluation.articulation_report_rows import (
    bone_pictures,
    merge_rows,
    photo_rows,
    stills_of,
    training_rows,
    turn_table,
)
from posefield.evaluation.evaluate_articulation import (
    evaluate_model,
    load_truth,
    poses_from_truth,
    show_driven,
    show_learned,
)
from posefield.learning.progress import QuietProgress
from support import sphere_arm

LEARNED = tuple(range(18))


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    return sphere_arm.record(tmp_path_factory.mktemp('arm') / 'data')


@pytest.fixture(scope='module')
def model():
    return sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED))


def evaluated(model, recording, truth):
    poses = poses_from_truth(model, truth) if truth else None
    return evaluate_model(model, recording, truth, poses, QuietProgress(), per_camera=3)


def page_of(model, recording, truth, path) -> str:
    evaluation = evaluated(model, recording, truth)
    static = static_figures(model, recording, evaluation.photos, evaluation.summary)
    images = turn_table(model, recording.cameras, lambda share: None)
    palette = part_palette(model.structure, 6)
    learned, driven = show_learned(model), show_driven(model, evaluation.driven)
    levels = (MergeLevel(3, ((0,), (1, 2)), 0.2), MergeLevel(2, ((0,), (3,)), 7.0))
    write_report(
        path,
        ArticulationReport(
            title='Model of <an arm>',
            lead='6 parts.',
            summary={**evaluation.summary, 'methods': {'static': static}},
            skeleton=model.structure,
            views=photo_rows(recording, learned, palette, evaluation.views),
            poses=photo_rows(recording, driven, palette, evaluation.poses),
            bones=bone_pictures(model, recording),
            turn_table=encode_gif(images),
            stills=stills_of(images),
            levels=merge_rows(StructureReport(0.01, levels, ())),
            facts=[('machine', 'a <fast> one')],
        ),
    )
    return path.read_text()


def test_the_page_is_whole_and_needs_no_other_file(model, recording, tmp_path):
    page = page_of(model, recording, load_truth(recording), tmp_path / 'report.html')
    assert 'Model of &lt;an arm&gt;' in page and 'a &lt;fast&gt; one' in page
    sources = re.findall(r'src="([^"]+)"', page)
    assert all(source.startswith('data:image/') for source in sources)
    assert sum(source.startswith('data:image/gif') for source in sources) == 1
    # Three rows of three for cameras and for poses, six photos with bones, six stills.
    assert sum(source.startswith('data:image/png') for source in sources) == 9 + 9 + 6 + 6
    for text in ('tilt', 'runner-up, kept apart', 'static', 'axis off by', 'Held-out poses'):
        assert text in page


def test_a_page_without_truth_leaves_out_what_is_not_known(model, recording, tmp_path):
    page = page_of(model, recording, None, tmp_path / 'report.html')
    assert 'True joints' not in page and 'Held-out poses' not in page
    assert 'Joints found' in page


def test_what_stands_still_is_no_better_than_the_model(model, recording):
    truth = load_truth(recording)
    evaluation = evaluated(model, recording, truth)
    static = static_figures(model, recording, evaluation.photos, evaluation.summary)
    assert static['held_out_views']['psnr'] < evaluation.summary['held_out_views']['psnr'] - 10
    assert static['held_out_poses']['mask_iou'] < 0.9
    assert static['joint_error'] == evaluation.summary['joint_error_static']
    assert static['a10_joint_error'] == evaluation.summary['a10_joint_error_static']


def test_learned_photos_stand_in_where_no_camera_was_held_out(model, recording):
    rows = training_rows(model, recording, show_learned(model))
    assert len(rows) == 3
    assert [caption for _, caption in rows[0].images] == ['photo', 'render', 'parts']
    photo, render = (image for image, _ in rows[0].images[:2])
    np.testing.assert_allclose(photo, render, atol=0.01)


def test_every_link_has_a_hue_of_its_own():
    palette = part_palette(sphere_arm.skeleton(), 6)
    assert len({tuple(colour) for colour in palette}) == 6
    painted = paint_parts(np.array([[0, -1]]), palette, 1.0)
    np.testing.assert_array_equal(painted[0], [palette[0], np.ones(3)])


def test_joints_are_drawn_where_they_are_seen(model, recording):
    rig, arm = recording.cameras[0], model.structure
    links = arm.forward(model.joint_positions(0), model.root_pose(0))
    blank = np.ones((30, 40, 3))
    middles = link_middles(arm, model.part_poses(0))
    picture = draw_skeleton(blank, rig, arm, links, middles, 400)
    assert picture.shape == (300, 400, 3)
    inverse = np.linalg.inv(rig.T_world_cam)
    tilt = inverse[:3, :3] @ links[2, :3, 3] + inverse[:3, 3]
    x, y = rig.camera.resized(400, 300).project(tilt)[0][0]
    around = picture[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
    assert (around.min(axis=2) < 0.9).any()
    assert (picture[:10] == 1.0).all()


def test_axes_are_drawn_where_a_link_has_no_mass(model, recording):
    rig, arm = recording.cameras[0], model.structure
    links = arm.forward(model.joint_positions(0), model.root_pose(0))
    middles = link_middles(arm, model.part_poses(0))
    blank = np.ones((30, 40, 3))
    whole = draw_skeleton(blank, rig, arm, links, middles, 400)
    middles[-1] = np.nan
    without = draw_skeleton(blank, rig, arm, links, middles, 400)
    ink = [(picture.max(axis=2) < 0.5).sum() for picture in (whole, without)]
    # Ink is dark, links are not.
    assert min(ink) > 0


def test_a_skeleton_behind_the_camera_is_not_drawn(model, recording):
    rig, arm = recording.cameras[0], model.structure
    links = arm.forward(model.joint_positions(0), rig.T_world_cam @ sphere_arm.at(0, 0, -5))
    picture = draw_skeleton(np.ones((30, 40, 3)), rig, arm, links, links[:, :3, 3], 80)
    assert (picture == 1.0).all()


def test_the_camera_goes_round_at_one_distance(recording):
    rig, centre = recording.cameras[0], np.array([0.1, 0.0, 0.25])
    up = up_of(recording.cameras)
    np.testing.assert_allclose(up, [0, 0, 1], atol=0.05)
    T = turned_camera(rig, 0.3, centre, up)
    distances = [np.linalg.norm(pose[:3, 3] - centre) for pose in (T, rig.T_world_cam)]
    assert distances[0] == pytest.approx(distances[1])
    np.testing.assert_allclose(turned_camera(rig, 1.0, centre, up), rig.T_world_cam, atol=1e-9)


def test_joints_swing_within_what_they_did():
    positions = sphere_arm.positions()
    swung = swing(positions, 40)
    assert (swung <= positions.max(axis=0) + 1e-9).all()
    assert (swung >= positions.min(axis=0) - 1e-9).all()
    np.testing.assert_allclose(swung.max(axis=0), positions.max(axis=0), atol=0.01)


def test_a_gif_moves():
    gif = encode_gif([np.full((8, 9, 3), level) for level in (0.0, 0.5, 1.0)])
    with Image.open(io.BytesIO(gif)) as image:
        assert image.n_frames == 3 and image.size == (9, 8)
        assert image.info['loop'] == 0
