"""What the articulation node subscribes to, publishes and offers."""

from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.interface_types import (
    LATCHED,
    RELIABLE_1,
    RELIABLE_10,
    SENSOR_DATA,
    TF,
    Action,
    NodeInterface,
    Service,
    Topic,
)

LATCHED_1 = 'reliable, transient local, 1'

SUBSCRIBED = (
    Topic(
        '<camera>/image_raw',
        'sensor_msgs/msg/Image',
        SENSOR_DATA,
        'Every camera in `cameras`, with `image_transport` raw. Its `frame_id` is the optical '
        'frame.',
    ),
    Topic(
        '<camera>/image_raw/compressed',
        'sensor_msgs/msg/CompressedImage',
        SENSOR_DATA,
        'The same with `image_transport` compressed: JPEG or PNG.',
    ),
    Topic(
        '<camera>/camera_info',
        'sensor_msgs/msg/CameraInfo',
        SENSOR_DATA,
        'Its calibration; the latest holds. Must have the `frame_id` of the image.',
    ),
    Topic(
        '<camera>/mask',
        'sensor_msgs/msg/Image',
        SENSOR_DATA,
        'Where the thing is in the image of the same stamp (mono8: 0 background, 255 thing, 128 '
        'unknown). Where nobody publishes it, backgrounds are found while recording and the thing '
        'is what differs from them.',
    ),
    Topic(
        '~/joint_command',
        'sensor_msgs/msg/JointState',
        RELIABLE_10,
        'Positions of some joints, for live re-posing: `~/render` shows them, and where no images '
        'are tracked everything else does, too. An empty message ends it. Unknown joints, NaN and '
        'other numbers of positions than of names are rejected as a whole; `limits` says what '
        'becomes of positions out of limits.',
    ),
    Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'Extrinsics of cameras that move.'),
    Topic('/tf_static', 'tf2_msgs/msg/TFMessage', LATCHED, 'Extrinsics of the cameras.'),
)

PUBLISHED = (
    Topic(
        'robot_description',
        'std_msgs/msg/String',
        LATCHED_1,
        'The URDF of the model, with its meshes as file:// addresses; again when another model is '
        'learned.',
    ),
    Topic(
        'joint_states',
        'sensor_msgs/msg/JointState',
        RELIABLE_10,
        'Positions of all movable joints: at the stamps of the images while tracking, else at '
        '`state_rate`. Not while the thing is lost.',
    ),
    Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'The links, at the same stamps.'),
    Topic(
        '~/skeleton',
        'posefield_msgs/msg/ArticulatedModel',
        RELIABLE_10,
        'Links, joints, parts and positions, with state and score; while the thing is lost, too.',
    ),
    Topic(
        '~/markers',
        'visualization_msgs/msg/MarkerArray',
        RELIABLE_10,
        'Ellipsoids of the parts, bones and axes of the joints.',
    ),
    Topic(
        '~/parts',
        'sensor_msgs/msg/PointCloud2',
        RELIABLE_1,
        'Points on the surface, with colour and index of their part.',
    ),
    Topic(
        '~/render',
        'sensor_msgs/msg/Image',
        RELIABLE_1,
        'The model as `render_camera` would see it, re-posed by `~/joint_command`; made only '
        'while subscribed to.',
    ),
    Topic(
        '~/camera_info',
        'sensor_msgs/msg/CameraInfo',
        RELIABLE_10,
        'Calibration of `~/render`.',
    ),
    Topic(
        '/diagnostics',
        'diagnostic_msgs/msg/DiagnosticArray',
        RELIABLE_1,
        'State, score, rates and latencies of tracking, stage of learning; one status for every '
        'camera.',
    ),
)

ARTICULATION = NodeInterface(
    name='articulation',
    executable='articulation_node',
    summary='Learns parts and joints of a moving thing from several cameras, describes it as a '
    'robot, follows it in the images and renders it in any pose. A lifecycle node: configure '
    'loads `model` if it is set (a failure leaves it unconfigured, to be tried again), activate '
    'subscribes, deactivate stops listening and learning, cleanup lets go of the model.',
    parameters=ArticulationParameters,
    subscribed=SUBSCRIBED,
    published=PUBLISHED,
    services=(
        Service(
            '~/repose',
            'posefield_msgs/srv/Repose',
            'Renders the model with its joints anywhere, as any camera sees it. Does not change '
            'the state of the node.',
        ),
    ),
    actions=(
        Action(
            '~/learn',
            'posefield_msgs/action/Learn',
            'Records the cameras (or takes a recording) and learns a model, which is then taken '
            'up. One goal at a time; a second one is rejected. A goal that is cancelled, or whose '
            'node is stopped or killed, keeps recording and checkpoint; the same goal with '
            '`resume` goes on.',
        ),
    ),
    tf_required=(
        '`world_frame` -> frame of each camera, at the stamps of the images',
        '`world_frame` -> frame of camera_info in a request to `~/repose` without a pose',
    ),
    tf_provided=(
        '`world_frame` -> root link, and every other link from its parent, as in the URDF; all '
        'names after `frame_prefix`',
        '`world_frame` -> `<node>_side_optical_frame` with `~/render` where no camera is known',
    ),
    notes=(
        'States, in `~/skeleton` and `/diagnostics`: `learned` shows the first learned frame; '
        '`tracking` is what the images show; `lost` while their score is below '
        '`tracking.lost_below` (nothing goes to joint_states and TF, the thing is searched for); '
        '`command` is what `~/joint_command` says.',
        'While a goal of `~/learn` is at work, images are recorded or left alone, not tracked.',
        "Lengths are in the units of the cameras' poses on TF, metres as a rule.",
        'robot_state_publisher is not needed, since TF comes from this node; do not run both.',
        'Exit code: 0 after Ctrl-C, 1 with one line where `autostart` cannot configure the node.',
    ),
)
