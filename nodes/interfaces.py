"""What each node subscribes to, publishes and offers: the tables behind docs/nodes.md."""

from posefield.nodes.articulation_interface import ARTICULATION
from posefield.nodes.capture_interfaces import CAPTURE, RIG_FRAMES, VIDEO_RIG
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
from posefield.nodes.parameters import BagPlayerParameters, RelocalizerParameters
from posefield.nodes.simulated_rig_interface import SIMULATED_RIG

RELOCALIZER = NodeInterface(
    name='relocalizer',
    executable='relocalizer_node',
    summary='Localizes a camera in a learned map. A lifecycle node: configure loads the map '
    '(a failure leaves it unconfigured, to be tried again), activate subscribes, deactivate '
    'stops listening, cleanup lets go of the map.',
    parameters=RelocalizerParameters,
    subscribed=(
        Topic(
            'image',
            'sensor_msgs/msg/Image',
            SENSOR_DATA,
            'The camera, with `image_transport` raw. Its `frame_id` is the optical frame.',
        ),
        Topic(
            'image/compressed',
            'sensor_msgs/msg/CompressedImage',
            SENSOR_DATA,
            'The camera, with `image_transport` compressed: JPEG or PNG, below the image topic.',
        ),
        Topic(
            'camera_info',
            'sensor_msgs/msg/CameraInfo',
            SENSOR_DATA,
            'Its calibration; the latest holds. Unless remapped it is the sibling of the image '
            'topic. Must have the `frame_id` of the image.',
        ),
        Topic(
            'initialpose',
            'geometry_msgs/msg/PoseWithCovarianceStamped',
            RELIABLE_10,
            'A guess of the pose of `base_frame` in `map_frame` (RViz: 2D Pose Estimate): the '
            'prior of the next image, never published itself. Zero variances are filled in. In '
            '`map_to_camera` it is the pose of the optical frame.',
        ),
        Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'Odometry.'),
        Topic('/tf_static', 'tf2_msgs/msg/TFMessage', LATCHED, 'Extrinsics of the camera.'),
    ),
    published=(
        Topic(
            'pose',
            'geometry_msgs/msg/PoseWithCovarianceStamped',
            RELIABLE_10,
            'Pose of `base_frame` (in `map_to_camera`: of the camera) in `map_frame` at the stamp '
            'of the image. Not published while lost or for an image that is not accepted.',
        ),
        Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'The transform that `tf_mode` names.'),
        Topic(
            '~/result',
            'posefield_msgs/msg/LocalizationResult',
            RELIABLE_10,
            'What came of every image, accepted or not: state, score, reason, timings.',
        ),
        Topic(
            '~/overlay',
            'sensor_msgs/msg/Image',
            RELIABLE_1,
            'Render of the map at the estimated pose over the image; computed only while '
            'subscribed to.',
        ),
        Topic(
            '/diagnostics',
            'diagnostic_msgs/msg/DiagnosticArray',
            RELIABLE_1,
            'State, rates, latencies, drops and map.',
        ),
    ),
    services=(
        Service(
            '~/load_map',
            'posefield_msgs/srv/LoadMap',
            'Loads another map; on failure the one in use stays.',
        ),
        Service(
            '~/relocalize',
            'posefield_msgs/srv/Relocalize',
            'Localizes the image in the request. `prior` is a pose of the camera, in `map_frame`. '
            'Does not change the state of the node.',
        ),
        Service(
            '~/reset',
            'std_srvs/srv/Trigger',
            'Forgets the pose: the next image is searched in the whole map.',
        ),
    ),
    tf_required=(
        '`base_frame` -> frame of the image, except in `map_to_camera`',
        '`odom_frame` -> `base_frame` at the stamp of the image, in `map_to_odom` (and in `none` '
        'with `use_odometry`)',
    ),
    tf_provided=(
        '`map_frame` -> `odom_frame` in `map_to_odom`: at the stamp of the image, and '
        '`transform_tolerance` ahead of now, repeated while the pose holds',
        '`map_frame` -> `base_frame` in `map_to_base`, at the stamp of the image',
        '`map_frame` -> frame of the image in `map_to_camera`, at the stamp of the image',
    ),
    notes=(
        'States, in `~/result` and `/diagnostics`: `uninitialized` before the first image; '
        '`searching` the whole map; `confirming` while fewer than `tracking.confirm_k` fixes '
        'agree; `tracking`; `degraded` while fixes fail or disagree with motion (odometry carries '
        'the last one, nothing new is published); `lost` for the image that exhausts '
        '`tracking.lost_after`, after which the node searches again.',
        'A jump of time back (a bag that starts again) resets the node. With a played bag set '
        '`use_sim_time` and play with a clock, and leave a recorded `map` -> `odom` out.',
        'Exit code: 0 after Ctrl-C, 1 with one line where `autostart` cannot configure the node.',
    ),
)

BAG_PLAYER = NodeInterface(
    name='bag_player',
    executable='bag_player_node',
    summary='Plays a bag (rosbag2 in MCAP or SQLite, or ROS 1) with /clock, for machines without '
    'rosbag2. Exits at the end of the bag.',
    parameters=BagPlayerParameters,
    subscribed=(),
    published=(
        Topic(
            '/clock',
            'rosgraph_msgs/msg/Clock',
            RELIABLE_10,
            'The time in the bag; a recorded /clock is left out.',
        ),
        Topic(
            '<topic of the bag>',
            'as recorded',
            'reliable, volatile, 10; transient local, 100 where it was recorded so',
            'Every topic whose message type is installed, except `exclude_topics`. Remap them as '
            'usual.',
        ),
    ),
    notes=(
        'With `start_offset`, transient local messages of before (such as /tf_static) are '
        'published at the start.',
        'Exit code: 0 at the end of the bag or after Ctrl-C, 1 where it cannot be played.',
    ),
)

NODES = (RELOCALIZER, BAG_PLAYER, CAPTURE, RIG_FRAMES, VIDEO_RIG, ARTICULATION, SIMULATED_RIG)
