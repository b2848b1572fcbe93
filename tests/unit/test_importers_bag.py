"""Bags of every kind become scenes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from posefield.cli.app import main
from posefield.data.bag import BagTopics, Thinning, read_bag
from posefield.data.bag_reader import (
    TransformTree,
    camera_trajectory,
    cameras_by_stamp,
    open_bag,
)
from posefield.data.scene import Scene
from posefield.errors import DataError, PoseError
from posefield.geometry.poses import from_quat_xyzw, invert
from support.image_bags import (
    CAMERA,
    CAMERA_FRAME,
    COUNT,
    IMAGE_TOPIC,
    INFO_TOPIC,
    POSE_TOPIC,
    START_NS,
    STEP_NS,
    STORAGES,
    Messages,
    image_ns,
    images,
    picture,
    write_bag,
)

T_BASE_CAM = from_quat_xyzw([-0.5, 0.5, -0.5, 0.5], [0.2, 0.0, 0.5])
BY_TOPIC = BagTopics(pose=POSE_TOPIC)
# The camera moves straight, so the base, which is interpolated, moves on an arc.
ARC = 5e-4


def camera_pose(index: float) -> np.ndarray:
    """T_map_cam when image number `index` is taken, on a straight path at a steady turn."""
    turns = Rotation.from_rotvec([[0.0, 0.1 * COUNT * end, 0.0] for end in (-1, 2)])
    T = np.eye(4)
    T[:3, :3] = Slerp([-COUNT, 2 * COUNT], turns)(index).as_matrix()
    T[:3, 3] = [0.2 * index, 0.0, 0.05 * index]
    return T


def pose_times() -> list[tuple[int, float]]:
    """Times in ns with their image number: a quarter of a step after every image, and before."""
    return [(round(START_NS + at * STEP_NS), at) for at in np.arange(-0.75, COUNT + 0.5)]


def tf_messages(make: Messages, until: float = COUNT + 1):
    """Yield a static base -> camera, and map -> odom -> base that moves."""
    T_map_odom = from_quat_xyzw([0.0, 0.0, 0.3, 1.0], [1.0, 2.0, 0.0])
    static = make.transform(START_NS, 'base_link', CAMERA_FRAME, T_BASE_CAM)
    yield START_NS, '/tf_static', make.tf(static)
    for time_ns, at in pose_times():
        if at > until:
            break
        T_odom_base = invert(T_map_odom) @ camera_pose(at) @ invert(T_BASE_CAM)
        yield time_ns, '/tf', make.tf(
            make.transform(time_ns, 'map', 'odom', T_map_odom),
            make.transform(time_ns, 'odom', 'base_link', T_odom_base),
        )  # fmt: skip


def pose_messages(make: Messages):
    for time_ns, at in pose_times():
        yield time_ns, POSE_TOPIC, make.pose_stamped(time_ns, camera_pose(at))


def assert_poses_are_right(scene: Scene, indices=range(COUNT), atol=1e-5) -> None:
    assert len(scene.frames) == len(indices)
    for frame, index in zip(scene.frames, indices, strict=True):
        np.testing.assert_allclose(frame.T_map_cam, camera_pose(index), atol=atol)


@pytest.mark.parametrize('storage', STORAGES)
def test_images_get_poses_of_a_topic(tmp_path, storage):
    make = Messages(ros1=storage == 'ros1')
    bag = write_bag(tmp_path / 'bag', storage, [*images(make), *pose_messages(make)])
    scene = read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)
    assert_poses_are_right(scene)
    assert scene.units == 'metres' and scene.skipped == ()
    assert {frame.camera for frame in scene.frames} == {CAMERA}
    for index, frame in enumerate(scene.frames):
        assert frame.name == f'1700000000_{index * STEP_NS:09d}.png'
        assert frame.stamp_s == pytest.approx(image_ns(index) / 1e9, abs=1e-6)
        pixels = np.round(255 * frame.read_image()).astype(np.uint8)
        np.testing.assert_array_equal(pixels, picture(index))
    assert [len(scene.split(name)) for name in ('train', 'test')] == [6, 2]


@pytest.mark.parametrize('storage', STORAGES)
def test_images_get_poses_of_tf(tmp_path, storage):
    make = Messages(ros1=storage == 'ros1')
    bag = write_bag(tmp_path / 'bag', storage, [*images(make), *tf_messages(make)])
    assert_poses_are_right(read_bag(bag, tmp_path / 'images'), atol=ARC)


@pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
def test_the_file_alone_is_a_bag_too(tmp_path, suffix):
    make = Messages()
    folder = write_bag(tmp_path / 'bag', suffix[1:], [*images(make), *pose_messages(make)])
    (file,) = folder.glob(f'*{suffix}')
    alone = file.rename(tmp_path / f'alone{suffix}')
    assert_poses_are_right(read_bag(alone, tmp_path / 'images', topics=BY_TOPIC))


@pytest.mark.parametrize('kind', ['covariance', 'odometry', 'transform'])
def test_other_messages_with_poses(tmp_path, kind):
    make = Messages()

    def message(time_ns: int, at: float):
        T = camera_pose(at)
        if kind == 'covariance':
            return make.pose_with_covariance(time_ns, T)
        if kind == 'odometry':
            return make.odometry(time_ns, T @ invert(T_BASE_CAM), 'base_link')
        return make.transform(time_ns, 'map', CAMERA_FRAME, T)

    poses = [(time_ns, POSE_TOPIC, message(time_ns, at)) for time_ns, at in pose_times()]
    fixed = make.tf(make.transform(START_NS, 'base_link', CAMERA_FRAME, T_BASE_CAM))
    bag = write_bag(
        tmp_path / 'bag', 'mcap', [*images(make), *poses, (START_NS, '/tf_static', fixed)]
    )
    assert_poses_are_right(read_bag(bag, tmp_path / 'images', topics=BY_TOPIC), atol=ARC)


def test_odometry_of_a_body_without_extrinsics_is_refused(tmp_path):
    make = Messages()
    poses = [(t, '/odom', make.odometry(t, np.eye(4), 'base_link')) for t, _ in pose_times()]
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *poses])
    with pytest.raises(DataError, match='/odom are of base_link, and TF .* base_link -> cam_opt'):
        read_bag(bag, tmp_path / 'images', topics=BagTopics(pose='/odom'))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_compressed_images_stay_as_they_are(tmp_path, suffix):
    make = Messages()
    topic = f'{IMAGE_TOPIC}/compressed'
    sent = {image_ns(i): make.compressed(image_ns(i), picture(i), suffix) for i in range(COUNT)}
    messages = [(time_ns, topic, message) for time_ns, message in sent.items()]
    messages.append((START_NS, INFO_TOPIC, make.camera_info(START_NS)))
    bag = write_bag(tmp_path / 'bag', 'mcap', [*messages, *pose_messages(make)])
    scene = read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)
    assert_poses_are_right(scene)
    for frame, message in zip(scene.frames, sent.values(), strict=True):
        assert frame.name.endswith(suffix)
        assert frame.image_path.read_bytes() == bytes(message.data)


def test_images_further_than_50_ms_from_a_pose_are_skipped(tmp_path):
    make = Messages()
    # The last pose is at image 3.25, so nothing is known after it.
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *tf_messages(make, until=3.5)])
    scene = read_bag(bag, tmp_path / 'images')
    assert_poses_are_right(scene, range(4), atol=ARC)
    assert scene.skipped == tuple(f'1700000000_{i * STEP_NS:09d}.png' for i in range(4, COUNT))


def test_a_stamp_that_comes_twice_is_taken_once(tmp_path):
    make = Messages()
    again = (image_ns(2) + 1, IMAGE_TOPIC, make.image(image_ns(2), picture(5)))
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *pose_messages(make), again])
    scene = read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)
    assert_poses_are_right(scene)
    assert scene.skipped == (scene.frames[2].name,)
    assert scene.frames[2].read_image()[0, 0, 0] == pytest.approx(40 / 255)


@pytest.mark.parametrize(
    ('thinning', 'taken'),
    [
        (Thinning(), range(COUNT)),
        (Thinning(min_distance=0.4), range(0, COUNT, 2)),
        (Thinning(min_angle_deg=17.0), range(0, COUNT, 3)),
        (Thinning(min_distance=0.4, min_angle_deg=17.0), range(0, COUNT, 2)),
        (Thinning(min_distance=5.0, min_angle_deg=17.0), range(0, COUNT, 3)),
    ],
)
def test_thinning_takes_images_that_are_apart(tmp_path, thinning, taken):
    make = Messages()
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *pose_messages(make)])
    scene = read_bag(bag, tmp_path / 'images', topics=BY_TOPIC, thinning=thinning)
    assert_poses_are_right(scene, taken)
    assert scene.provenance['thinned_out'] == COUNT - len(taken)
    assert len(list((tmp_path / 'images').iterdir())) == len(taken)
    assert scene.skipped == ()


@pytest.mark.parametrize('step', [0.0, -1.0, float('nan')])
def test_thinning_by_nothing_is_refused(step):
    with pytest.raises(DataError, match='positive'):
        Thinning(min_distance=step)


def test_the_camera_of_the_same_stamp_is_taken(tmp_path):
    make = Messages()
    zoomed = CAMERA.resized(32, 24).cropped(8, 6, 16, 12)
    messages = [item for item in images(make) if item[1] == IMAGE_TOPIC]
    for index in range(COUNT):
        camera = zoomed if index == 3 else CAMERA
        messages.append((image_ns(index), INFO_TOPIC, make.camera_info(image_ns(index), camera)))
    bag = write_bag(tmp_path / 'bag', 'mcap', [*messages, *pose_messages(make)])
    scene = read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)
    assert [frame.camera == zoomed for frame in scene.frames] == [i == 3 for i in range(COUNT)]


def test_rectified_images_have_no_distortion(tmp_path):
    make = Messages()
    bag = write_bag(tmp_path / 'bag', 'mcap', images(make))
    with open_bag(bag) as reader:
        cameras = cameras_by_stamp(reader, INFO_TOPIC, rectified=True)
    assert set(cameras.values()) == {CAMERA.pinhole()}


def write_broken(tmp_path: Path, what: str) -> Path:
    make = Messages()
    messages = [*images(make), *pose_messages(make)]
    if what == 'calibration':
        info = make.camera_info(START_NS)
        info.k = np.zeros(9)
        messages.append((START_NS - 1, INFO_TOPIC, info))
    elif what == 'size':
        messages.append(
            (image_ns(9), IMAGE_TOPIC, make.image(image_ns(5) + 1, picture(5)[:6, :8]))
        )
    elif what == 'step':
        image = make.image(image_ns(5) + 1, picture(5))
        image.step = 5
        messages.append((image_ns(9), IMAGE_TOPIC, image))
    elif what == 'encoding':
        image = make.image(image_ns(5) + 1, picture(5))
        image.encoding = '32FC1'
        messages.append((image_ns(9), IMAGE_TOPIC, image))
    elif what == 'nan':
        T = np.eye(4)
        T[0, 3] = np.nan
        messages.append((START_NS, POSE_TOPIC, make.pose_stamped(START_NS, T)))
    elif what == 'quaternion':
        message = make.pose_stamped(START_NS, np.eye(4))
        message.pose.orientation.w = 0.0
        messages.append((START_NS, POSE_TOPIC, message))
    elif what == 'images':
        messages.append((START_NS, '/depth', make.image(START_NS, picture(0))))
    return write_bag(tmp_path / 'bag', 'mcap', messages)


@pytest.mark.parametrize(
    ('what', 'error', 'message'),
    [
        ('calibration', DataError, '/cam/camera_info .* not calibrated'),
        ('size', DataError, '200000001.png is 8x6 but its intrinsics are for 16x12'),
        ('step', DataError, '1700000000_200000001 .* step of the image is 5'),
        ('encoding', DataError, "Unknown image encoding '32FC1'"),
        ('nan', PoseError, '/slam/pose has no rigid pose'),
        ('quaternion', PoseError, '/slam/pose has no rigid pose: the quaternion has norm 0'),
        ('images', DataError, 'one image topic .*, found /cam/image_raw, /depth'),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, what, error, message):
    bag = write_broken(tmp_path, what)
    with pytest.raises(error, match=message):
        read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)


@pytest.mark.parametrize(
    ('topics', 'message'),
    [
        (BagTopics(image='/other'), 'has no topic /other, it has /cam/camera_info'),
        (BagTopics(camera_info='/other'), 'has no topic /other'),
        (BagTopics(pose='/other'), 'has no topic /other'),
        (BagTopics(), r'None of the 8 images on /cam/image_raw .* TF \(map -> the camera\)'),
        (BagTopics(pose=INFO_TOPIC), 'CameraInfo, expected poses'),
    ],
)
def test_what_the_bag_lacks_is_named(tmp_path, topics, message):
    make = Messages()
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *pose_messages(make)])
    with pytest.raises(DataError, match=message):
        read_bag(bag, tmp_path / 'images', topics=topics)


@pytest.mark.parametrize('name', ['x.mcap', 'x.db3', 'x.bag', 'gone.mcap'])
def test_a_file_that_is_no_bag_is_named(tmp_path, name):
    if not name.startswith('gone'):
        (tmp_path / name).write_bytes(b'this is no bag at all, however long it may be' * 9)
    with pytest.raises(DataError, match=name), open_bag(tmp_path / name):
        pytest.fail('it opened')


@pytest.mark.parametrize('storage', STORAGES)
def test_a_bag_cut_short_is_an_error_and_not_a_shorter_drive(tmp_path, storage):
    make = Messages(ros1=storage == 'ros1')
    bag = write_bag(tmp_path / 'bag', storage, [*images(make, 40), *pose_messages(make)])
    file = bag if bag.is_file() else next(bag.glob('*.mcap'), None) or next(bag.glob('*.db3'))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match='bag'):
        read_bag(bag, tmp_path / 'images', topics=BY_TOPIC)


def test_frames_of_ros_1_lose_their_slash(tmp_path):
    make = Messages(ros1=True)
    bag = write_bag(tmp_path / 'bag', 'ros1', [*images(make), *tf_messages(make)])
    with open_bag(bag) as reader:
        tree = TransformTree(reader)
        np.testing.assert_allclose(
            tree.lookup('base_link', CAMERA_FRAME, image_ns(0) / 1e9), T_BASE_CAM, atol=1e-9
        )


def test_a_loop_of_transforms_ends(tmp_path):
    make = Messages()
    loop = [make.transform(START_NS, a, b, np.eye(4)) for a, b in (('a', 'b'), ('b', 'a'))]
    bag = write_bag(tmp_path / 'bag', 'mcap', [(START_NS, '/tf', make.tf(*loop))])
    with open_bag(bag) as reader:
        assert TransformTree(reader).lookup('map', 'a', START_NS / 1e9) is None


def test_poses_of_the_camera_itself_need_no_tf(tmp_path):
    make = Messages()
    bag = write_bag(tmp_path / 'bag', 'mcap', pose_messages(make))
    with open_bag(bag) as reader:
        poses = camera_trajectory(reader, TransformTree(reader), POSE_TOPIC, CAMERA_FRAME)
    assert len(poses) == len(pose_times())


def test_the_command_hands_all_options_on(tmp_path, capsys):
    make = Messages()
    moved = {
        IMAGE_TOPIC: '/left/image', INFO_TOPIC: '/calibration', POSE_TOPIC: '/where',
    }  # fmt: skip
    messages = [
        (time_ns, moved[topic], message)
        for time_ns, topic, message in [*images(make), *pose_messages(make)]
    ]
    bag = write_bag(tmp_path / 'bag', 'mcap', messages)
    command = ['scene', 'import', str(bag), '--out', str(tmp_path / 'new' / 'scene')]
    options = ['--image', '/left/image', '--camera-info', '/calibration', '--pose', '/where']
    more = ['--min-distance', '0.4', '--min-angle-deg', '90', '--hold-out', '2', '--rectified']
    assert main([*command, *options, *more, '--validation', '2']) == 0
    scene = Scene.load(tmp_path / 'new' / 'scene')
    assert_poses_are_right(scene, range(0, COUNT, 2))
    assert [len(scene.split(name)) for name in ('train', 'val', 'test')] == [1, 1, 2]
    assert {frame.camera for frame in scene.frames} == {CAMERA.pinhole()}
    assert cv2.imread(str(scene.frames[1].image_path)).shape == (12, 16, 3)
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['scene']


def test_the_command_takes_tf_of_another_map_frame(tmp_path):
    make = Messages()
    bag = write_bag(tmp_path / 'bag', 'mcap', [*images(make), *tf_messages(make)])
    command = ['scene', 'import', str(bag), '--out', str(tmp_path / 'scene')]
    assert main([*command, '--format', 'bag', '--map-frame', 'odom']) == 0
    scene = Scene.load(tmp_path / 'scene')
    T_odom_map = scene.frames[0].T_map_cam @ invert(camera_pose(0))
    np.testing.assert_allclose(scene.frames[5].T_map_cam, T_odom_map @ camera_pose(5), atol=ARC)
    assert not np.allclose(T_odom_map, np.eye(4))
