"""What the nodes that record cameras and play videos are to others; see nodes/interfaces.py."""

from posefield.nodes.capture_parameters import (
    CaptureParameters,
    RigFramesParameters,
    VideoRigParameters,
)
from posefield.nodes.interface_types import (
    LATCHED,
    RELIABLE_1,
    RELIABLE_10,
    SENSOR_DATA,
    TF,
    NodeInterface,
    Service,
    Topic,
)

IMAGES = 'best effort, volatile, 20 (qos_overrides)'
CAMERA_TOPICS = (
    Topic(
        '<camera>/image_raw',
        'sensor_msgs/msg/Image',
        IMAGES,
        'Images of each of `cameras`, with `image_transport` raw; `image_name` names another '
        'topic than image_raw. The `frame_id` is the optical frame.',
    ),
    Topic(
        '<camera>/image_raw/compressed',
        'sensor_msgs/msg/CompressedImage',
        IMAGES,
        'The same, with `image_transport` compressed: JPEG or PNG.',
    ),
    Topic(
        '<camera>/camera_info',
        'sensor_msgs/msg/CameraInfo',
        SENSOR_DATA,
        'Calibration; the latest holds, it is never synchronised. Unless remapped it is the '
        'sibling of the image topic. Must have the `frame_id` of the images.',
    ),
    Topic(
        '<camera>/mask',
        'sensor_msgs/msg/Image',
        IMAGES,
        'Optional masks with the stamps of their images: 0 at the background, 255 at the object, '
        '128 where nobody knows.',
    ),
)

CAPTURE = NodeInterface(
    name='capture',
    executable='capture_node',
    summary='Records cameras of a rig on request: sets of images that were taken together, with '
    'their calibrations and TF, into rosbag2 (MCAP) and multi-view folders.',
    parameters=CaptureParameters,
    subscribed=(
        *CAMERA_TOPICS,
        Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'Recorded, and where the cameras are.'),
        Topic('/tf_static', 'tf2_msgs/msg/TFMessage', LATCHED, 'The same.'),
    ),
    published=(
        Topic(
            '/diagnostics',
            'diagnostic_msgs/msg/DiagnosticArray',
            RELIABLE_1,
            'The recording; the sets; and of each camera rate, age, skew, drops, jumps in time.',
        ),
    ),
    services=(
        Service(
            '~/start',
            'std_srvs/srv/Trigger',
            'Begins a recording. Refused, with the reason for each camera, while cameras send '
            'nothing usable, TF does not tell where they are, or the disk is full.',
        ),
        Service('~/stop', 'std_srvs/srv/Trigger', 'Ends it; the bags are closed when it answers.'),
        Service(
            '~/snapshot',
            'std_srvs/srv/Trigger',
            'Writes the last set as PNG files with snapshot.json (calibrations, poses).',
        ),
    ),
    tf_required=('`world_frame` -> frame of the images of each camera, with `require_tf`',),
    notes=(
        'Only sets are recorded: images whose stamps lie within `sync_tolerance`, of at least '
        '`min_cameras`. What is in no set is counted on /diagnostics.',
        'In the bag topics have the names above, whatever they were remapped to, so that '
        '`posefield articulation import` finds them; each image brings a camera_info with its '
        'stamp, and /tf_static is at the beginning. `ros2 bag play` and `bag_player` play it.',
        'A camera that is silent for `lost_after` is named in the log and on /diagnostics; the '
        'others go on where `min_cameras` allows.',
        'A camera that changes resolution, encoding or calibration, and a jump back in time, '
        'end a bag and begin another one (`_2`, `_3`, ...), which the log tells.',
        'A disk that gets full ends the recording; its bag is closed and can be read.',
        'Exit code: 0 after Ctrl-C (which ends a recording first) or `exit_after_recording`, 1 '
        'where a recording failed or the parameters are bad.',
    ),
)

RIG_FRAMES = NodeInterface(
    name='rig_frames',
    executable='rig_frames_node',
    summary='Tells TF where the cameras of a rig file (config/rig_example.yaml) stand.',
    parameters=RigFramesParameters,
    subscribed=(),
    published=(
        Topic(
            '/tf_static',
            'tf2_msgs/msg/TFMessage',
            LATCHED,
            'All cameras with `extrinsics`, in one message.',
        ),
    ),
    tf_provided=('`world_frame` -> `frame` of each camera, as the rig file says, static',),
    notes=('Exit code: 0 after Ctrl-C, 1 where the rig file cannot be used.',),
)

VIDEO_RIG = NodeInterface(
    name='video_rig',
    executable='video_rig_node',
    summary='Plays synchronised videos with a calibration as cameras: images, camera_info and '
    'static TF, as drivers of a rig would publish them.',
    parameters=VideoRigParameters,
    subscribed=(),
    published=(
        Topic(
            '<camera>/image_raw',
            'sensor_msgs/msg/Image',
            RELIABLE_10,
            'Pictures (rgb8) with `image_transport` raw. All cameras of a moment have one stamp.',
        ),
        Topic(
            '<camera>/image_raw/compressed',
            'sensor_msgs/msg/CompressedImage',
            RELIABLE_10,
            'The same as JPEG, with `image_transport` compressed.',
        ),
        Topic(
            '<camera>/camera_info',
            'sensor_msgs/msg/CameraInfo',
            RELIABLE_10,
            'Calibration at the size of the images, with distortion.',
        ),
        Topic('/tf_static', 'tf2_msgs/msg/TFMessage', LATCHED, 'Where the cameras stand.'),
        Topic('/clock', 'rosgraph_msgs/msg/Clock', RELIABLE_10, 'With `publish_clock`.'),
    ),
    tf_provided=('`world_frame` -> `<camera>` + `frame_suffix`, static',),
    notes=(
        'Exit code: 0 at the end of the videos or after Ctrl-C, 1 where they cannot be played.',
    ),
)
