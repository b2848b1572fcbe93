"""What a node reports about itself on /diagnostics."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np

# The last images that rates and percentiles are taken over.
WINDOW = 100


class RunningStatistics:
    """Rates and latencies over the last images."""

    def __init__(self):
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self._renders: deque[int] = deque(maxlen=WINDOW)
        self._published: deque[bool] = deque(maxlen=WINDOW)
        self._arrivals_s: deque[float] = deque(maxlen=WINDOW)
        self.images = 0
        self.without_pose = 0

    def arrived(self, now_s: float) -> None:
        """Count an image that came in."""
        self.images += 1
        self._arrivals_s.append(now_s)

    def finished(self, latency_s: float, renders: int, published: bool) -> None:
        """Count an image that was localized."""
        self._latencies_s.append(latency_s)
        self._renders.append(renders)
        self._published.append(published)
        self.without_pose += not published

    def age_s(self, now_s: float) -> float | None:
        """Return how long ago the last image came; None where none did."""
        return now_s - self._arrivals_s[-1] if self._arrivals_s else None

    def values(self, now_s: float) -> dict[str, str]:
        """Return everything known, for people."""
        values = {'images received': str(self.images), 'images without pose': self.without_pose}
        age_s = self.age_s(now_s)
        if age_s is not None:
            values['image age [s]'] = f'{age_s:.2f}'
        if len(self._arrivals_s) > 1 and self._arrivals_s[-1] > self._arrivals_s[0]:
            span_s = self._arrivals_s[-1] - self._arrivals_s[0]
            values['image rate [Hz]'] = f'{(len(self._arrivals_s) - 1) / span_s:.1f}'
        if self._latencies_s:
            median, p95 = np.percentile(self._latencies_s, [50, 95])
            values['latency median [s]'] = f'{median:.3f}'
            values['latency p95 [s]'] = f'{p95:.3f}'
            values['renders per image'] = f'{np.mean(self._renders):.1f}'
            values['published share'] = f'{np.mean(self._published):.2f}'
        return {key: str(value) for key, value in values.items()}


def diagnostic_status(
    name: str, level: bytes, message: str, hardware_id: str, values: Mapping[str, str]
) -> DiagnosticStatus:
    """Return one status."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def diagnostic_array(
    stamp: Any, name: str, level: bytes, message: str, hardware_id: str, values: Mapping[str, str]
) -> DiagnosticArray:
    """Return one status as the message for /diagnostics."""
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [diagnostic_status(name, level, message, hardware_id, values)]
    return array
