"""Every parameter of every node: one frozen dataclass a node, each field with its descriptor.

The tables need no ROS; `declare` and `read` take a running node.
"""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from posefield.errors import PosefieldError
from posefield.relocalization.tracker_config import TrackerConfig

TYPE_NAMES = {
    bool: 'bool',
    int: 'integer',
    float: 'double',
    str: 'string',
    tuple: 'string array',
}
TRACKING = TrackerConfig()
TRACKING_PREFIX = 'tracking_'


class ParameterError(PosefieldError):
    """A parameter of a node has a value of the wrong type or out of range."""


@dataclass(frozen=True)
class Constraint:
    """What a parameter may be.

    Attributes:
        description: one sentence for `ros2 param describe` and docs/nodes.md.
        unit: SI unit or what is counted; empty for names and switches.
        low, high: inclusive range of a number.
        choices: the only strings allowed.
        live: whether it can be set while the node runs; the others are read at configure.
    """

    description: str
    unit: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def range_text(self) -> str:
        """The values allowed, for people."""
        if self.choices:
            return ', '.join(self.choices)
        if self.low is None:
            return ''
        return f'{self.low:g} to {self.high:g}'


def parameter(default: Any, description: str, **constraint: Any) -> Any:
    """Return a dataclass field that is a node parameter."""
    return field(default=default, metadata={'constraint': Constraint(description, **constraint)})


def gate_parameter(name: str, description: str, **constraint: Any) -> Any:
    """Return a parameter whose default is the tracker's own."""
    return parameter(getattr(TRACKING, name), description, live=True, **constraint)


@dataclass(frozen=True)
class RelocalizerParameters:
    """Parameters of the relocalizer; `tracking_x` here is `tracking.x` in ROS."""

    autostart: bool = parameter(True, 'Configure and activate at start-up.')
    map: str = parameter('', 'Folder of the map to localize in; needed to configure.')
    device: str = parameter('auto', 'Where to compute: auto, cpu, cuda or cuda:N.')
    image_transport: str = parameter(
        'raw',
        'raw subscribes to the image topic, compressed to <image topic>/compressed.',
        choices=('raw', 'compressed'),
    )
    image_is_rectified: bool = parameter(
        False, 'The images are rectified: use P of camera_info without distortion, not K and D.'
    )
    map_frame: str = parameter('map', 'Frame of the map.')
    odom_frame: str = parameter('odom', 'Frame of odometry.')
    base_frame: str = parameter('base_link', 'Frame of the robot whose pose is published.')
    tf_mode: str = parameter(
        'map_to_odom',
        'The transform to broadcast. map_to_odom needs odometry on TF; map_to_base gives the base '
        'its parent; map_to_camera gives the camera its parent, needs no TF at all, and the '
        'published pose is the camera itself; none leaves TF to others.',
        choices=('map_to_odom', 'map_to_base', 'map_to_camera', 'none'),
    )
    use_odometry: bool = parameter(
        True,
        'With tf_mode none, predict by odom_frame -> base_frame too (map_to_odom always does).',
    )
    tf_timeout: float = parameter(
        0.2, 'How long an image waits for late TF.', unit='s', low=0.0, high=10.0
    )
    tf_rebroadcast_rate: float = parameter(
        20.0,
        'How often map -> odom is sent again while the pose holds; 0 sends it with images only.',
        unit='Hz',
        low=0.0,
        high=200.0,
    )
    transform_tolerance: float = parameter(
        0.1, 'How far map -> odom is dated into the future.', unit='s', low=0.0, high=10.0
    )
    queue_size: int = parameter(
        1,
        'Images that may wait while one is localized; the oldest is dropped.',
        unit='images',
        low=1,
        high=100,
    )
    max_rate: float = parameter(
        0.0,
        'Localize at most this often, by image stamps; 0 takes every image.',
        unit='Hz',
        low=0.0,
        high=1000.0,
        live=True,
    )
    watchdog_period: float = parameter(
        5.0, 'Warn when no image has come for this long.', unit='s', low=0.5, high=3600.0
    )
    diagnostics_period: float = parameter(
        1.0, 'Time between two messages on /diagnostics.', unit='s', low=0.1, high=60.0
    )
    overlay_short_side: int = parameter(
        240, 'Short side of ~/overlay.', unit='px', low=16, high=2160, live=True
    )
    overlay_blend: float = parameter(
        0.5, 'Share of the render in ~/overlay.', low=0.0, high=1.0, live=True
    )
    tracking_confirm_k: int = gate_parameter(
        'confirm_k',
        'Fixes that must agree before the first pose is published; 1 accepts the first at once.',
        unit='images',
        low=1,
        high=20,
    )
    tracking_confirm_n: int = gate_parameter(
        'confirm_n',
        'Latest images among which the confirm_k agreeing fixes must lie.',
        unit='images',
        low=1,
        high=50,
    )
    tracking_gate_sigmas: float = gate_parameter(
        'gate_sigmas',
        'Largest Mahalanobis distance of a fix from the prediction; 3.55 lets 95 % of honest '
        'fixes pass, 4.10 lets 99 %.',
        unit='sigmas',
        low=1.0,
        high=100.0,
    )
    tracking_lost_after: int = gate_parameter(
        'lost_after',
        'Images in a row without a usable fix before the pose is given up.',
        unit='images',
        low=1,
        high=1000,
    )
    tracking_odometry_translation_ratio: float = gate_parameter(
        'odometry_translation_ratio',
        'Standard deviation of odometry, per distance travelled.',
        low=0.0,
        high=10.0,
    )
    tracking_odometry_rotation_ratio: float = gate_parameter(
        'odometry_rotation_ratio',
        'Standard deviation of odometry, per radian turned and per median depth travelled.',
        unit='rad',
        low=0.0,
        high=10.0,
    )
    tracking_free_speed: float = gate_parameter(
        'free_speed',
        'Standard deviation of the motion where there is no odometry.',
        unit='median depths/s',
        low=0.0,
        high=100.0,
    )
    tracking_free_turn: float = gate_parameter(
        'free_turn',
        'Standard deviation of the rotation where there is no odometry.',
        unit='rad/s',
        low=0.0,
        high=100.0,
    )

    def tracker_config(self) -> TrackerConfig:
        """Return the thresholds of the tracker."""
        return TrackerConfig(
            **{
                spec.name.removeprefix(TRACKING_PREFIX): getattr(self, spec.name)
                for spec in fields(self)
                if spec.name.startswith(TRACKING_PREFIX)
            }
        )


@dataclass(frozen=True)
class BagPlayerParameters:
    """Parameters of the bag player."""

    bag: str = parameter('', 'Bag to play: a rosbag2 folder or an .mcap, .db3 or ROS 1 .bag file.')
    rate: float = parameter(1.0, 'Speed relative to the recording.', low=0.01, high=100.0)
    loop: bool = parameter(False, 'Start again at the end; time jumps back.')
    start_offset: float = parameter(
        0.0, 'Where to start, after the first message.', unit='s', low=0.0, high=1e6
    )
    clock_rate: float = parameter(
        40.0,
        '/clock is sent this often and before every message; 0 sends no /clock.',
        unit='Hz',
        low=0.0,
        high=1000.0,
    )
    exclude_topics: tuple[str, ...] = parameter((), 'Topics that are not played.')
    wait_for_subscribers: tuple[str, ...] = parameter(
        (), 'Topics that must have a subscriber before the playing starts.'
    )
    wait_timeout: float = parameter(
        30.0, 'How long to wait for subscribers before giving up.', unit='s', low=0.0, high=3600.0
    )


Table = TypeVar('Table')


def ros_name(field_name: str) -> str:
    """Return the parameter's name in ROS: groups are separated by dots."""
    if field_name.startswith(TRACKING_PREFIX):
        return field_name.replace('_', '.', 1)
    return field_name


def type_name(spec: Any) -> str:
    """Return the ROS type of a field, which its default tells."""
    return TYPE_NAMES[type(spec.default)]


def constraint_of(spec: Any) -> Constraint:
    """Return what a field may be."""
    return spec.metadata['constraint']


def expected(spec: Any) -> str:
    """Return what a parameter takes, for messages: `a double, 0 to 10 s`."""
    constraint = constraint_of(spec)
    if constraint.choices:
        return f'one of {constraint.range_text}'
    article = 'an' if type_name(spec)[0] in 'aeiou' else 'a'
    parts = [f'{article} {type_name(spec)}']
    if constraint.range_text:
        parts.append(f'{constraint.range_text} {constraint.unit}'.rstrip())
    return ', '.join(parts)


def declare(node: Any, table: type[Table]) -> Table:
    """Declare all parameters of a table on a node and return their values.

    Raises:
        ParameterError: naming the parameter, what was found and what is allowed.
    """
    for spec in fields(table):
        _declare_one(node, spec)
    return read(node, table)


def _declare_one(node: Any, spec: Any) -> None:
    from rclpy.exceptions import ParameterException
    from rclpy.parameter import Parameter

    name = ros_name(spec.name)
    is_array = isinstance(spec.default, tuple)
    # rclpy takes an empty list for an array of bytes; so an array is declared by its type.
    default = Parameter.Type.STRING_ARRAY if is_array else spec.default
    try:
        node.declare_parameter(name, default, _descriptor(node, spec))
    except ParameterException as error:
        hint = ' (write 1.0, not 1)' if isinstance(spec.default, float) else ''
        sentence = str(error).rstrip('.')
        raise ParameterError(
            f'Parameter {name} must be {expected(spec)}{hint}: {sentence}.'
        ) from error


def _descriptor(node: Any, spec: Any) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    constraint = constraint_of(spec)
    descriptor = ParameterDescriptor(
        description=constraint.description,
        # Applying a new value needs the callback that Humble does not have yet.
        read_only=not (constraint.live and hasattr(node, 'add_post_set_parameters_callback')),
        additional_constraints='; '.join(
            part
            for part in (
                f'unit: {constraint.unit}' if constraint.unit else '',
                f'one of: {constraint.range_text}' if constraint.choices else '',
            )
            if part
        ),
    )
    if constraint.low is not None and isinstance(spec.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=constraint.low, to_value=constraint.high, step=0.0)
        ]
    elif constraint.low is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(constraint.low), to_value=int(constraint.high), step=1)
        ]
    return descriptor


def read(node: Any, table: type[Table]) -> Table:
    """Return the present values of a table that was declared on the node.

    Raises:
        ParameterError: for a string that is not one of the choices.
    """
    from rclpy.parameter import Parameter

    values = {}
    for spec in fields(table):
        name = ros_name(spec.name)
        if isinstance(spec.default, tuple):
            unset = Parameter(name, Parameter.Type.STRING_ARRAY, list(spec.default))
            values[spec.name] = tuple(node.get_parameter_or(name, unset).value)
            continue
        value = values[spec.name] = node.get_parameter(name).value
        choices = constraint_of(spec).choices
        if choices and value not in choices:
            raise ParameterError(f'Parameter {name} must be {expected(spec)}, found {value!r}.')
    return table(**values)
