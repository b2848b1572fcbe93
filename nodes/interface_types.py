"""What describes a node to people: topics, services, actions, parameters and TF."""

from dataclasses import dataclass, field

SENSOR_DATA = 'best effort, volatile, 5 (qos_overrides)'
RELIABLE_10 = 'reliable, volatile, 10'
RELIABLE_1 = 'reliable, volatile, 1'
TF = 'reliable, volatile, 100'
LATCHED = 'reliable, transient local, 100'


@dataclass(frozen=True)
class Topic:
    """A topic of a node; `~/x` is below the node's name, `x` below its namespace."""

    name: str
    message_type: str
    qos: str
    description: str


@dataclass(frozen=True)
class Service:
    """A service of a node."""

    name: str
    service_type: str
    description: str


@dataclass(frozen=True)
class Action:
    """An action of a node."""

    name: str
    action_type: str
    description: str


@dataclass(frozen=True)
class NodeInterface:
    """Everything outside a node that it touches."""

    name: str
    executable: str
    summary: str
    parameters: type
    subscribed: tuple[Topic, ...]
    published: tuple[Topic, ...]
    services: tuple[Service, ...] = ()
    actions: tuple[Action, ...] = ()
    tf_required: tuple[str, ...] = ()
    tf_provided: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
