"""What a bag needs of TF at its beginning: all static transforms, and the last seconds of /tf."""

from collections import deque
from collections.abc import Callable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from posefield.nodes.transforms import TF_QOS, TF_STATIC_QOS

TF, TF_STATIC = '/tf', '/tf_static'
# The first image may be older than the bag.
KEPT_NS = 2_000_000_000


class TransformHistory:
    """Remembers TF; not safe for threads by itself."""

    def __init__(self):
        self._static: dict[str, TransformStamped] = {}
        self._recent: deque[tuple[int, TFMessage]] = deque()

    def add(self, topic: str, message: TFMessage, now_ns: int) -> None:
        """Take a message of /tf or /tf_static."""
        if topic == TF_STATIC:
            self._static.update({t.child_frame_id: t for t in message.transforms})
            return
        self._recent.append((now_ns, message))
        # After a jump back of the clock what is older than now is of another time.
        while not 0 <= now_ns - self._recent[0][0] <= KEPT_NS:
            self._recent.popleft()

    def opening(self) -> list[tuple[str, TFMessage]]:
        """Return topics and messages to begin a bag with."""
        messages = [(TF, message) for _, message in self._recent]
        if self._static:
            messages.insert(0, (TF_STATIC, TFMessage(transforms=list(self._static.values()))))
        return messages

    def copy(self) -> 'TransformHistory':
        """Return another that changes by itself."""
        other = TransformHistory()
        other._static.update(self._static)
        other._recent.extend(self._recent)
        return other


class TransformTap:
    """Hands over every message of /tf and /tf_static."""

    def __init__(self, node: Node, on_message: Callable[[str, TFMessage], None]):
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                TFMessage, topic, lambda message, topic=topic: on_message(topic, message), qos
            )
            for topic, qos in ((TF, TF_QOS), (TF_STATIC, TF_STATIC_QOS))
        ]

    def destroy(self) -> None:
        """Leave the graph."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
