"""Films of a simulated robot: true to PyBullet and to URDF, the same for the same seed."""

import filecmp
import os
from pathlib import Path
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip('pybullet', reason='the extra `sim` (pybullet) is not installed')

from posefield.data.articulation_truth import ArticulationTruth  # noqa: E402
from posefield.data.multiview import Multiview  # noqa: E402
from posefield.data.simulate_articulation import simulate_articulation  # noqa: E402
from posefield.data.simulated_robot import SimulatedRobot, find_urdf  # noqa: E402
from posefield.data.visual_geometry import outline_points  # noqa: E402
from posefield.errors import BundleError, DataError, Interrupted  # noqa: E402
from posefield.geometry.poses import invert  # noqa: E402
from support.tiny_robot import (  # noqa: E402
    TINY_JOINTS,
    TINY_LINKS,
    TINY_URDF,
    film_tiny_robot,
    write_tiny_urdf,
)

SIZE = 96
# What the URDF paints the links, as shares of the strongest of red, green and blue.
TINT_RGB = {
    1: (1, 1, 1),
    2: (1, 0.2, 0.1),
    3: (0.15, 1, 0.25),
    4: (0.1, 0.35, 1),
    5: (1, 0.9, 0.1),
}


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> tuple[Multiview, ArticulationTruth]:
    recording = film_tiny_robot(tmp_path_factory.mktemp('film') / 'tiny', size=SIZE)
    return Multiview.load(recording.root), ArticulationTruth.load(recording.root)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def read_labels(recording: Multiview, view: int, frame: int) -> np.ndarray:
    name = recording.cameras[view].name
    path = recording.root / 'segmentation' / name / f'{frame:06d}.png'
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_what_is_held_out_is_marked(film):
    recording, _ = film
    assert recording.num_frames == 10 and len(recording.cameras) == 4
    assert recording.held_out_views == (3,)
    assert recording.held_out_frames_sorted == (8, 9)
    assert recording.background == 'white' and recording.units == 'metres'
    np.testing.assert_allclose(np.diff(recording.stamps_s), 1 / 3)


def test_the_truth_is_that_of_the_urdf(film):
    _, truth = film
    assert truth.links == TINY_LINKS
    assert [(joint.name, joint.kind) for joint in truth.joints] == [
        ('shoulder', 'continuous'),
        ('elbow', 'revolute'),
        ('rail', 'prismatic'),
        ('end', 'fixed'),
    ]
    elbow = truth.joints[1]
    assert (elbow.parent, elbow.child, elbow.lower, elbow.upper) == ('upper', 'lower', -1.5, 1.0)
    np.testing.assert_allclose(elbow.T_parent_joint[:3, 3], [0, 0, 0.5], atol=1e-6)
    turned = Rotation.from_euler('y', 0.2).as_matrix()
    np.testing.assert_allclose(elbow.T_parent_joint[:3, :3], turned, atol=1e-6)
    rail = truth.joints[2]
    np.testing.assert_allclose(rail.axis_3, [np.cos(0.1), np.sin(0.1), 0], atol=1e-6)


@pytest.mark.parametrize('axis', ['1 0 0', '2 0 0'])
def test_the_poses_follow_from_the_joints_by_the_rules_of_urdf(axis, tmp_path):
    path = tmp_path / 'axis.urdf'
    path.write_text(TINY_URDF.replace('<axis xyz="1 0 0"/>', f'<axis xyz="{axis}"/>'))
    simulate_articulation(
        path, tmp_path / 'film', views=2, held_out_views=0, frames=5, size=16, rate_hz=2
    )
    truth = ArticulationTruth.load(tmp_path / 'film')
    for frame in range(truth.num_frames):
        poses = {'base': np.eye(4)}
        for joint in truth.joints:
            motion = np.eye(4)
            axis = joint.T_parent_joint[:3, :3].T @ joint.axis_3
            position = truth.positions_of(joint)[frame] if joint.can_move else 0.0
            if joint.kind == 'prismatic':
                motion[:3, 3] = position * axis
            else:
                motion[:3, :3] = Rotation.from_rotvec(position * axis).as_matrix()
            poses[joint.child] = poses[joint.parent] @ joint.T_parent_joint @ motion
        expected = np.stack([poses[link] for link in truth.links])
        np.testing.assert_allclose(truth.T_world_link_FL44[frame], expected, atol=1e-6)


@pytest.mark.parametrize('urdf', ['tiny', 'kuka_iiwa/model.urdf'])
def test_another_reader_of_urdf_agrees(urdf, tmp_path):
    yourdfpy = pytest.importorskip('yourdfpy', reason='the outside check of URDF is missing')
    path = write_tiny_urdf(tmp_path) if urdf == 'tiny' else find_urdf(urdf)
    other = yourdfpy.URDF.load(str(path), build_scene_graph=True, load_meshes=False)
    generator = np.random.default_rng(0)
    with SimulatedRobot(path) as robot:
        for _ in range(3):
            positions = generator.uniform(-0.5, 0.5, len(robot.movable))
            other.update_cfg({j.name: q for j, q in zip(robot.movable, positions, strict=True)})
            base = robot.links[0]
            expected = [other.get_transform(link, base) for link in robot.links]
            np.testing.assert_allclose(robot.link_poses(positions), expected, atol=1e-5)


def test_pixels_of_a_link_are_where_the_truth_has_it(film):
    """Every link's pixels lie in the outline of its shape, and the robot's fill theirs."""
    recording, truth = film
    with SimulatedRobot(recording.root.parent / 'tiny.urdf') as robot:
        outlines = outline_points(robot.visual_shapes(), len(robot.links))
    for view, rig in enumerate(recording.cameras):
        for frame in range(0, truth.num_frames, 3):
            labels = read_labels(recording, view, frame)
            T_cam_link = invert(rig.T_world_cam) @ truth.T_world_link_FL44[frame]
            corners = []
            for link, points in enumerate(outlines):
                seen = points @ T_cam_link[link, :3, :3].T + T_cam_link[link, :3, 3]
                pixels, visible = rig.camera.project(seen)
                assert visible.all()
                corners.append(pixels)
                hull = cv2.convexHull(pixels.astype(np.float32))
                for y, x in np.argwhere(labels == link + 1):
                    assert cv2.pointPolygonTest(hull, (float(x), float(y)), True) > -0.75
            rows, columns = np.nonzero(labels)
            found = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
            corners = np.concatenate(corners)
            expected = [*corners.min(axis=0), *corners.max(axis=0)]
            np.testing.assert_allclose(found, expected, atol=1.5)


def test_colours_masks_and_links_are_of_one_picture(film):
    recording, _ = film
    background = shown = 0
    for view in range(4):
        image, mask = recording.read_image(view, 5), recording.read_mask(view, 5)
        labels = read_labels(recording, view, 5)
        np.testing.assert_array_equal(labels > 0, mask == 1)
        near = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
        assert (image[~near] == 1.0).all()
        background += (~near).sum()
        for label, tint in TINT_RGB.items():
            inside = cv2.erode((labels == label).astype(np.uint8), np.ones((3, 3))) > 0
            shown += inside.sum()
            painted = image[inside] / image[inside].max(axis=1, keepdims=True)
            assert (np.abs(painted - tint) < 0.1).all()
    assert background > 0.7 * 4 * SIZE**2 and shown > 300


def test_the_sun_shades(film):
    recording, _ = film
    image, labels = recording.read_image(0, 5), read_labels(recording, 0, 5)
    inside = cv2.erode((labels == 2).astype(np.uint8), np.ones((3, 3))) > 0
    red = image[inside][:, 0]
    assert red.max() > 1.2 * red.min()
    grey = cv2.erode((labels == 1).astype(np.uint8), np.ones((3, 3))) > 0
    warmth = image[grey][:, 0] - image[grey][:, 2]
    assert warmth.min() >= 0.0 and warmth.max() > 0.02


def test_the_scene_radius_is_that_of_the_swept_shapes(film):
    recording, truth = film
    urdf = recording.root.parent / 'tiny.urdf'
    with SimulatedRobot(urdf) as robot:
        outlines = outline_points(robot.visual_shapes(), len(robot.links))
    swept = np.concatenate(
        [
            points @ T[:3, :3].T + T[:3, 3]
            for poses in truth.T_world_link_FL44
            for points, T in zip(outlines, poses, strict=True)
        ]
    )
    middle = (swept.min(axis=0) + swept.max(axis=0)) / 2
    np.testing.assert_allclose(truth.scene_centre, middle, atol=1e-9)
    distance = np.linalg.norm(swept - middle, axis=1).max()
    assert truth.scene_radius == pytest.approx(distance)
    assert swept[:, 2].min() == pytest.approx(0.0, abs=1e-6)


def test_every_joint_that_can_move_does(film):
    _, truth = film
    assert [joint.name for joint in truth.movable] == list(TINY_JOINTS)
    moved = np.ptp(truth.positions_FJ, axis=0)
    assert (moved > [0.5, 0.5, 0.05]).all()
    for joint, link in TINY_JOINTS.items():
        assert np.abs(np.diff(truth.T_world_link_FL44[:, link], axis=0)).max() > 1e-3, joint


def test_a_seed_gives_the_same_files_by_any_number_of_processes(film, tmp_path):
    recording, _ = film
    options = {'size': 16, 'views': 2, 'frames': 4}
    folders = [tmp_path / name / 'film' for name in ('one', 'two', 'other')]
    for folder, more in zip(folders, ({}, {'processes': 2}, {'seed': 1}), strict=True):
        folder.parent.mkdir()
        film_tiny_robot(folder, **options, **more)
        # Where the URDF is differs by design; it is noted in multiview.json.
        (folder / 'multiview.json').write_text(
            (folder / 'multiview.json').read_text().replace(str(folder.parent), '')
        )
    one, two, other = folders
    names = files_of(one)
    assert names == files_of(two) and len(names) == 2 + 3 * 4 * 3
    assert filecmp.cmpfiles(one, two, names, shallow=False) == (names, [], [])
    _, different, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    assert len(different) > 20


def test_a_robot_of_pybullet_is_found_by_name(tmp_path):
    recording = simulate_articulation(
        'kuka_iiwa/model.urdf',
        tmp_path / 'kuka',
        views=2,
        held_out_views=0,
        frames=2,
        held_out_frames=0.0,
        size=32,
        processes=1,
    )
    truth = ArticulationTruth.load(tmp_path / 'kuka')
    assert len(truth.links) == 8 and len(truth.movable) == 7
    assert recording.provenance['urdf'] == 'kuka_iiwa/model.urdf'
    assert recording.held_out_frames == frozenset() and recording.held_out_views == ()
    assert (recording.read_mask(0, 1) == 1).sum() > 30


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('hello', 'cannot load .*XML'),
        ('<robot name="x"></robot>', 'No links found'),
        (TINY_URDF.replace('"continuous"', '"floating"'), "shoulder .*of type 'floating'"),
        (TINY_URDF.replace('<sphere radius="0.07"/>', '<mesh filename="no.obj"/>'), "'no.obj'"),
        (TINY_URDF.replace('parent link="lower"', 'parent link="none"'), 'cannot load'),
        ('<robot name="x"><link name="a"/></robot>', 'no joint that can move'),
        (
            '<robot name="x"><link name="a"/><link name="b"/><joint name="j" type="continuous">'
            '<parent link="a"/><child link="b"/><axis xyz="0 0 1"/></joint></robot>',
            'no <visual>',
        ),
    ],
)
def test_a_bad_urdf_is_refused(text, message, tmp_path, capfd):
    path = tmp_path / 'bad.urdf'
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        simulate_articulation(path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    assert capfd.readouterr().out == ''


def test_a_mesh_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / 'broken.stl').write_bytes(b'solid nothing')
    path = tmp_path / 'robot.urdf'
    path.write_text(TINY_URDF.replace('<sphere radius="0.07"/>', '<mesh filename="broken.stl"/>'))
    with pytest.raises(DataError, match=r'broken\.stl'):
        simulate_articulation(path, tmp_path / 'out')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'views': 1}, 'At least 2 views'),
        ({'held_out_views': -1}, 'held out'),
        ({'frames': 1}, 'At least 2 frames'),
        ({'frames': 10, 'held_out_frames': 0.9}, 'At least 2 frames'),
        ({'held_out_frames': 1.0}, 'At least 2 frames'),
        ({'size': 4}, 'at least 16 pixels'),
        ({'rate_hz': 0.0}, 'rate must be positive'),
        ({'max_joint_speed': 0.0}, 'max_joint_speed must be positive'),
        ({'seed': -1}, 'seed must be 0 or more'),
        ({'processes': 0}, 'At least 1 process'),
    ],
)
def test_numbers_that_make_no_film_are_refused(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        film_tiny_robot(tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_a_missing_urdf_is_named(tmp_path):
    with pytest.raises(DataError, match=r'none\.urdf is neither a file'):
        simulate_articulation('none.urdf', tmp_path / 'out')


def test_a_stop_leaves_what_was_there(tmp_path):
    out = tmp_path / 'film'
    before = film_tiny_robot(out, size=16, views=2, frames=3)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match='stopped at frame 0 of 5'):
        film_tiny_robot(out, size=16, views=2, frames=5, stop=stop)
    assert Multiview.load(out).num_frames == before.num_frames == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ['film', 'tiny.urdf']


def test_a_folder_of_something_else_is_kept(tmp_path):
    out = tmp_path / 'film'
    out.mkdir()
    (out / 'letter.txt').write_text('mine')
    with pytest.raises(BundleError, match="files that are not posefield's"):
        film_tiny_robot(out, size=16)
    assert (out / 'letter.txt').read_text() == 'mine'


def test_a_film_is_replaced_by_another(tmp_path):
    film_tiny_robot(tmp_path / 'film', size=16, frames=5)
    film_tiny_robot(tmp_path / 'film', size=16, frames=3)
    assert Multiview.load(tmp_path / 'film').num_frames == 3
    assert ArticulationTruth.load(tmp_path / 'film').num_frames == 3


def test_a_process_that_dies_is_told_about(tmp_path, monkeypatch):
    from posefield.data import articulation_frames

    monkeypatch.setattr(articulation_frames.DrawingWorker, 'draw', end_process)
    with pytest.raises(DataError, match='process that draws ended'):
        film_tiny_robot(tmp_path / 'film', size=16, processes=2)
    assert not (tmp_path / 'film').exists()


def test_processes_that_draw_start_without_torch():
    check = 'import sys, posefield.data.articulation_frames; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check]).returncode == 0


def end_process(_frame: int) -> None:
    os._exit(3)
