"""What the simulated rig publishes and takes: its parameters and its page of the documentation."""

from dataclasses import dataclass

from posefield.nodes.interface_types import (
    LATCHED,
    RELIABLE_10,
    TF,
    NodeInterface,
    Service,
    Topic,
)
from posefield.nodes.parameters import parameter


@dataclass(frozen=True)
class SimulatedRigParameters:
    """Parameters of the simulated rig."""

    urdf: str = parameter(
        'kuka_iiwa/model.urdf',
        'Robot to film: a file, or the name of one that comes with PyBullet.',
    )
    cameras: int = parameter(
        5, 'Cameras around the robot, cam_00 and on.', unit='cameras', low=1, high=100
    )
    size: int = parameter(128, 'Width and height of the images.', unit='px', low=16, high=2048)
    rate: float = parameter(
        7.5, 'Images of each camera per second.', unit='Hz', low=0.1, high=120.0
    )
    joint_rate: float = parameter(
        50.0, 'True joint states per second.', unit='Hz', low=0.1, high=1000.0
    )
    motion: str = parameter(
        'random',
        'What moves the robot: random goals until a command comes, or commands alone.',
        choices=('random', 'commands'),
    )
    duration: float = parameter(
        60.0,
        'How long the random motion goes on before it goes back the same way, again and again.',
        unit='s',
        low=0.1,
        high=3600.0,
    )
    max_joint_speed: float = parameter(
        0.5,
        'Speed of joints; one that slides crosses its range in the time of half a turn.',
        unit='rad/s',
        low=0.001,
        high=100.0,
    )
    seed: int = parameter(0, 'Of the motion and the places of the cameras.', low=0, high=2**31 - 1)
    processes: int = parameter(
        0,
        'Processes that draw; 0 takes one for every core but one.',
        unit='processes',
        low=0,
        high=256,
    )
    publish_masks: bool = parameter(
        False, 'Publish <camera>/mask too: 255 where the robot is, else 0.'
    )
    publish_link_tf: bool = parameter(
        False, 'Publish the true poses of the links on TF, with `joint_rate`.'
    )
    link_prefix: str = parameter('true_', 'What goes before the names of links on TF.')
    world_frame: str = parameter('world', 'TF frame in which the cameras stand.')
    frame_suffix: str = parameter(
        '_optical_frame', "What follows a camera's name in the name of its TF frame."
    )
    paused: bool = parameter(False, 'Begin paused, until ~/pause says otherwise.')


SIMULATED_RIG = NodeInterface(
    name='simulated_rig',
    executable='simulated_rig_node',
    summary='A robot in PyBullet, filmed by cameras: images without hardware, with the truth '
    'about its joints. Needs PyBullet (`pip install "posefield[sim]"`).',
    parameters=SimulatedRigParameters,
    subscribed=(
        Topic(
            '~/joint_command',
            'sensor_msgs/msg/JointState',
            RELIABLE_10,
            'Positions to go to at `max_joint_speed`, all joints arriving together; the joints '
            'that are not named stop where they are.',
        ),
        Topic(
            '~/joint_trajectory',
            'trajectory_msgs/msg/JointTrajectory',
            RELIABLE_10,
            'Points to go through at their times, straight between them; where trajectory_msgs is '
            'installed.',
        ),
    ),
    published=(
        Topic(
            '<camera>/image_raw',
            'sensor_msgs/msg/Image',
            RELIABLE_10,
            'rgb8, the robot before white. The stamp is of the moment that is drawn; the image '
            'comes when it is drawn. All cameras have the same stamps.',
        ),
        Topic(
            '<camera>/camera_info', 'sensor_msgs/msg/CameraInfo', RELIABLE_10, 'Its calibration.'
        ),
        Topic(
            '<camera>/mask',
            'sensor_msgs/msg/Image',
            RELIABLE_10,
            'mono8, exact, with `publish_masks`.',
        ),
        Topic(
            '~/joint_states',
            'sensor_msgs/msg/JointState',
            RELIABLE_10,
            'True positions of the joints that can move.',
        ),
        Topic('/tf_static', 'tf2_msgs/msg/TFMessage', LATCHED, 'Where the cameras stand.'),
        Topic('/tf', 'tf2_msgs/msg/TFMessage', TF, 'True links, with `publish_link_tf`.'),
    ),
    services=(
        Service(
            '~/pause',
            'std_srvs/srv/SetBool',
            'true stops images and random motion, which go on from there at false; joint states '
            'and commands go on.',
        ),
        Service(
            '~/restart',
            'std_srvs/srv/Trigger',
            'Puts the robot at the beginning of its random motion, whatever moved it before.',
        ),
    ),
    tf_provided=(
        '`world_frame` -> <camera>`frame_suffix`, static',
        '`world_frame` -> `link_prefix`<link>, with `publish_link_tf`',
    ),
    notes=(
        'Images that cannot be drawn in time are left out, and a warning says so: fewer or '
        'smaller cameras, a lower `rate` or more `processes` help. Five cameras of 128 pixels '
        'take 0.1 s of one core for each moment.',
        'A command that names unknown joints, has another number of positions than names, or a '
        'NaN is rejected with a warning; positions beyond the limits are cut to them.',
        'Exit code: 0 after Ctrl-C, 1 with one line where the robot cannot be used.',
    ),
)
