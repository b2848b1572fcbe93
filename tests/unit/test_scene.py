"""Scenes: what is checked on loading, and what is written."""

from dataclasses import replace
import json

import numpy as np
import pytest

from posefield.data.scene import Frame, Scene, frame_name
from posefield.errors import BundleError, CameraError, DataError, PoseError
from posefield.geometry.camera import Camera
from support.scenes import CAMERA, make_scene, pose, write_picture


@pytest.fixture
def saved(tmp_path) -> Scene:
    return make_scene(tmp_path / 'source').save(tmp_path / 'scene')


def edit(scene: Scene, name: str, **keys) -> None:
    """Change keys at the top of a JSON file of a scene."""
    path = scene.root / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def edit_frame(scene: Scene, index: int, **keys) -> None:
    frames = json.loads((scene.root / 'transforms.json').read_text())['frames']
    frames[index].update(keys)
    edit(scene, 'transforms.json', frames=frames)


def assert_same(one: Scene, other: Scene) -> None:
    assert [frame.name for frame in one.frames] == [frame.name for frame in other.frames]
    for a, b in zip(one.frames, other.frames, strict=True):
        np.testing.assert_allclose(a.T_map_cam, b.T_map_cam, atol=1e-12)
        assert a.camera == b.camera
        assert a.stamp_s == b.stamp_s
        np.testing.assert_array_equal(a.read_image(), b.read_image())
    assert one.splits == other.splits
    assert (one.units, one.skipped) == (other.units, other.skipped)
    assert one.provenance == other.provenance


def test_a_saved_scene_is_the_same_scene(tmp_path, saved):
    assert_same(saved, make_scene(tmp_path / 'again'))
    loaded = Scene.load(tmp_path / 'scene')
    assert_same(loaded, saved)
    assert [frame.name for frame in loaded.split('train')] == ['001.png', '002.png', '003.png']
    assert [frame.name for frame in loaded.split('test')] == ['000.png']
    assert loaded.split('all') == loaded.frames


def test_a_scene_can_be_saved_onto_itself(saved):
    saved.save(saved.root)
    assert_same(Scene.load(saved.root), saved)


def test_images_can_stay_where_they_are(tmp_path):
    scene = make_scene(tmp_path / 'source')
    scene.save(tmp_path / 'scene', copy_images=False)
    assert not (tmp_path / 'scene' / 'images').exists()
    assert_same(Scene.load(tmp_path / 'scene'), scene)


CAMERAS = [
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75),
    CAMERA,
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'plumb_bob', (0.1, 0.2, 0.3, 0.4, 0.5)),
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'rational_polynomial', tuple(np.arange(1.0, 9.0))),
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'rational_polynomial', tuple(np.arange(1.0, 13.0))),
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'rational_polynomial', tuple(np.arange(1.0, 15.0))),
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'equidistant', (0.0, 0.0, 0.0, 0.0)),
    Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'equidistant', (0.1, 0.2, 0.3, 0.4)),
]


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda c: f'{c.model}-{len(c.distortion)}')
def test_every_camera_survives_the_file(tmp_path, camera):
    make_scene(tmp_path / 'source', camera=camera).save(tmp_path / 'scene')
    assert {frame.camera for frame in Scene.load(tmp_path / 'scene').frames} == {camera}


@pytest.mark.parametrize('other', CAMERAS, ids=lambda c: f'{c.model}-{len(c.distortion)}')
def test_frames_may_have_cameras_of_their_own(tmp_path, other):
    scene = make_scene(tmp_path / 'source')
    frames = (*scene.frames[:3], replace(scene.frames[3], camera=other))
    replace(scene, frames=frames).save(tmp_path / 'scene')
    loaded = Scene.load(tmp_path / 'scene')
    assert [frame.camera for frame in loaded.frames] == [CAMERA] * 3 + [other]
    entries = json.loads((tmp_path / 'scene' / 'transforms.json').read_text())['frames']
    own = ['fl_x' in entry for entry in entries]
    assert own == [False, False, False, other != CAMERA]


def test_other_tools_find_their_conventions_in_the_file(saved):
    transforms = json.loads((saved.root / 'transforms.json').read_text())
    assert (transforms['cx'], transforms['cy']) == (CAMERA.cx + 0.5, CAMERA.cy + 0.5)
    assert transforms['camera_model'] == 'OPENCV'
    assert transforms['test_filenames'] == ['images/000.png']
    opengl = np.array(transforms['frames'][2]['transform_matrix'])
    np.testing.assert_allclose(opengl[:3, 1:3], -pose(2)[:3, 1:3])
    np.testing.assert_allclose(opengl[:3, 3], pose(2)[:3, 3])


def test_frames_read_rgb_floats(tmp_path):
    frame = make_scene(tmp_path).frames[3]
    image = frame.read_image()
    assert image.dtype == np.float32 and image.shape == (12, 16, 3)
    np.testing.assert_allclose(image, 30 / 255, atol=1e-6)


def test_an_image_changed_after_loading_is_refused(tmp_path):
    scene = make_scene(tmp_path)
    write_picture(tmp_path / '000.png', size=(8, 6))
    with pytest.raises(DataError, match='8x6 but its intrinsics are for 16x12'):
        scene.frames[0].read_image()
    (tmp_path / '001.png').write_bytes((tmp_path / '002.png').read_bytes()[:30])
    with pytest.raises(DataError, match=r'001.png does not open'):
        scene.frames[1].read_image()


def test_paths_cannot_leave_the_images_folder():
    assert frame_name('./images/a/1.png') == 'a/1.png'
    assert frame_name('../../etc/1.png') == 'etc/1.png'
    assert frame_name('/etc/1.png') == 'etc/1.png'


def broken_image(scene: Scene) -> None:
    (scene.root / 'images' / '001.png').write_bytes(b'not a picture')


def small_image(scene: Scene) -> None:
    write_picture(scene.root / 'images' / '001.png', size=(8, 6))


def bad_pose(value: object):
    matrix = np.eye(4).tolist()
    matrix[0][0] = value
    return lambda scene: edit_frame(scene, 1, transform_matrix=matrix)


BROKEN = {
    'image that does not open': (broken_image, DataError, r'001.png does not open'),
    'image that is missing': (
        lambda scene: (scene.root / 'images' / '001.png').unlink(), DataError, r'001.png',
    ),
    'size that disagrees': (small_image, DataError, '8x6 but its intrinsics are for 16x12'),
    'NaN pose': (bad_pose(float('nan')), PoseError, r'001.png has entries that are not finite'),
    'scaled pose': (bad_pose(2.0), PoseError, r'001.png is not rigid'),
    'reflected pose': (bad_pose(-1.0), PoseError, 'reflection'),
    'pose of words': (bad_pose('one'), PoseError, 'not a 4x4 matrix'),
    'pose of another shape': (
        lambda scene: edit_frame(scene, 1, transform_matrix=[[1, 2]]), PoseError, 'shape',
    ),
    'no frames': (
        lambda scene: edit(scene, 'transforms.json', frames=[]), DataError, 'no list of frames',
    ),
    'frame without file': (
        lambda scene: edit(scene, 'transforms.json', frames=[{}]), DataError, 'no file_path',
    ),
    'focal length of 0': (
        lambda scene: edit(scene, 'transforms.json', fl_x=0.0), CameraError, 'fx=0.0',
    ),
    'intrinsics of words': (
        lambda scene: edit(scene, 'transforms.json', cx='middle'), DataError, "'middle'",
    ),
    'unknown camera model': (
        lambda scene: edit(scene, 'transforms.json', camera_model='FOV'), DataError, "'FOV'",
    ),
    'distortion beyond the model': (
        lambda scene: edit(scene, 'transforms.json', k6=0.1), DataError, 'k6',
    ),
    'split of unknown names': (
        lambda scene: edit(scene, 'transforms.json', test_filenames=['x.png']), DataError, 'x.png',
    ),
    'overlapping splits': (
        lambda scene: edit(scene, 'transforms.json', test_filenames=['images/001.png']),
        DataError, 'in the train and the test split',
    ),
    'validation on test images': (
        lambda scene: edit(scene, 'transforms.json', val_filenames=['images/000.png']),
        DataError, 'in the val and the test split',
    ),
    'validation on training images': (
        lambda scene: edit(scene, 'transforms.json', val_filenames=['images/002.png']),
        DataError, 'in the train and the val split',
    ),
    'newer schema': (
        lambda scene: edit(scene, 'scene.json', schema=99), BundleError, 'schema 99',
    ),
    'another kind': (lambda scene: edit(scene, 'scene.json', kind='map'), BundleError, "'map'"),
    'units': (lambda scene: edit(scene, 'scene.json', units='feet'), DataError, "'feet'"),
    'truncated scene.json': (
        lambda scene: (scene.root / 'scene.json').write_text('{"schema"'), BundleError, 'JSON',
    ),
    'truncated transforms.json': (
        lambda scene: (scene.root / 'transforms.json').write_text('{"frames"'),
        DataError, r'transforms.json cannot be read',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', BROKEN, ids=lambda case: case.replace(' ', '_'))
def test_what_cannot_be_used_is_named(saved, case):
    breaking, error, message = BROKEN[case]
    breaking(saved)
    with pytest.raises(error, match=message) as raised:
        Scene.load(saved.root)
    assert '\n' not in str(raised.value)


def test_a_folder_that_is_no_scene_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match='no scene.json.*posefield scene import'):
        Scene.load(tmp_path)


def without_poses(scene: Scene, count: int) -> tuple[Frame, ...]:
    return (
        *(replace(frame, T_map_cam=None) for frame in scene.frames[:count]),
        *scene.frames[count:],
    )


def test_two_posed_images_are_needed(tmp_path):
    scene = make_scene(tmp_path)
    with pytest.raises(DataError, match='no image with a pose .1 skipped.; at least 2'):
        replace(scene, frames=without_poses(scene, 4))
    with pytest.raises(DataError, match='only 1 image with a pose'):
        replace(scene, frames=without_poses(scene, 3))
    assert len(replace(scene, frames=without_poses(scene, 2)).frames) == 4


def test_frames_without_a_pose_survive_the_file(tmp_path):
    scene = make_scene(tmp_path / 'source')
    replace(scene, frames=without_poses(scene, 1)).save(tmp_path / 'scene')
    loaded = Scene.load(tmp_path / 'scene')
    assert [frame.T_map_cam is None for frame in loaded.frames] == [True, False, False, False]


def test_names_are_unique(tmp_path):
    scene = make_scene(tmp_path)
    with pytest.raises(DataError, match='two images of the same name'):
        replace(scene, frames=(*scene.frames, scene.frames[0]))


def test_an_unknown_split_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(DataError, match="no split 'val', found train, test, all"):
        make_scene(tmp_path).split('val')


def test_a_failed_save_keeps_the_old_scene(tmp_path, saved):
    (tmp_path / 'source' / '002.png').unlink()
    with pytest.raises(DataError, match=r'002.png cannot be copied'):
        replace(
            saved,
            frames=tuple(
                replace(frame, image_path=tmp_path / 'source' / frame.name)
                for frame in saved.frames
            ),
        ).save(saved.root)
    assert_same(Scene.load(saved.root), saved)
