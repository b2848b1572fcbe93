"""What the articulation node reports about itself on /diagnostics."""

from collections import deque
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np

from posefield.articulation.described_model import DescribedModel
from posefield.nodes.diagnostics import diagnostic_status
from posefield.nodes.rig_input import RigInput

# The last sets that rates and percentiles are taken over.
WINDOW = 100


class FollowingStatistics:
    """Rates, latencies and scores over the last sets of images."""

    def __init__(self):
        self._arrivals_s: deque[float] = deque(maxlen=WINDOW)
        self._ends_s: deque[float] = deque(maxlen=WINDOW)
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self._scores: deque[float] = deque(maxlen=WINDOW)
        self.sets = self.tracked = self.lost = 0

    def arrived(self, now_s: float) -> None:
        """Count a set that came in."""
        self.sets += 1
        self._arrivals_s.append(now_s)

    def finished(self, now_s: float, latency_s: float, score: float, lost: bool) -> None:
        """Count a set that was tracked."""
        self.tracked += 1
        self.lost += lost
        self._ends_s.append(now_s)
        self._latencies_s.append(latency_s)
        self._scores.append(score)

    def age_s(self, now_s: float) -> float | None:
        """Return how long ago the last set came; None where none did."""
        return now_s - self._arrivals_s[-1] if self._arrivals_s else None

    def values(self, now_s: float) -> dict[str, str]:
        """Return everything known, for people."""
        values = {
            'sets received': str(self.sets),
            'sets tracked': str(self.tracked),
            'sets in which it was lost': str(self.lost),
        }
        age_s = self.age_s(now_s)
        if age_s is not None:
            values['age of the last set [s]'] = f'{age_s:.2f}'
        for key, times_s in (('set', self._arrivals_s), ('tracking', self._ends_s)):
            if len(times_s) > 1 and times_s[-1] > times_s[0]:
                rate = (len(times_s) - 1) / (times_s[-1] - times_s[0])
                values[f'{key} rate [Hz]'] = f'{rate:.1f}'
        if self._latencies_s:
            median, p95 = np.percentile(self._latencies_s, [50, 95])
            values['latency median [s]'] = f'{median:.3f}'
            values['latency p95 [s]'] = f'{p95:.3f}'
            values['score median'] = f'{np.median(self._scores):.3f}'
        return values


def diagnostics(
    name: str,
    hardware_id: str,
    described: DescribedModel | None,
    state: str,
    stage: str,
    rig: RigInput | None,
    values: Mapping[str, str],
) -> DiagnosticArray:
    """Return the status of the node, and those of its cameras.

    Args:
        name, hardware_id: of the node.
        described: the model, if there is one.
        state: what the pose is from, as in ArticulatedModel.msg.
        stage: of learning, where it is at work.
        rig: the cameras, if there are any.
        values: figures of tracking.
    """
    level, message = DiagnosticStatus.OK, state
    if stage:
        message = f'learning: {stage}'
    elif described is None:
        level, message = DiagnosticStatus.WARN, 'no model'
    elif state == 'lost':
        level = DiagnosticStatus.ERROR
    about = (
        {}
        if described is None
        else {
            'model': str(described.folder),
            'links': str(len(described.skeleton.links)),
            'joints': str(len(described.skeleton.movable)),
            'units': str(described.model.info.get('units', '')),
        }
    )
    status = diagnostic_status(
        f'{name}: articulation', level, message, hardware_id, {**about, **values}
    )
    return DiagnosticArray(status=[status, *(rig.diagnostics() if rig is not None else ())])
