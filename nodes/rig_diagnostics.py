"""The cameras of a rig on /diagnostics."""

from diagnostic_msgs.msg import DiagnosticStatus

from posefield.data.camera_synchroniser import CameraCounters, CameraSynchroniser
from posefield.nodes.diagnostics import diagnostic_status


def camera_status(
    prefix: str,
    hardware_id: str,
    counters: CameraCounters,
    *,
    rejected: int,
    silence: str | None,
    complaint: str | None,
) -> DiagnosticStatus:
    """Return the status of one camera.

    Args:
        prefix: of the status: node and camera.
        hardware_id: of the status.
        counters: of its images.
        rejected: images that could not be used.
        silence: why no image may come; None unless it is lost.
        complaint: what is wrong with its images; None where nothing is.
    """
    if silence is not None:
        level, message = DiagnosticStatus.ERROR, f'lost: {silence}'
    elif complaint is not None:
        level, message = DiagnosticStatus.WARN, complaint
    elif counters.rate_hz is None:
        level, message = DiagnosticStatus.WARN, 'waiting for images'
    else:
        level, message = DiagnosticStatus.OK, f'{counters.rate_hz:.1f} Hz'
    values = {
        'images received': counters.received,
        'images rejected': rejected,
        'images in no set': counters.dropped,
        'images late': counters.late,
        'images out of order': counters.out_of_order,
        'images twice': counters.duplicates,
        'images since the last set': counters.since_set,
        'jumps in time': counters.jumps,
    }
    for key, value, digits in (
        ('image rate [Hz]', counters.rate_hz, 1),
        ('image age [s]', counters.age_s, 2),
        ('skew [s]', counters.skew_s, 4),
        ('offset to the others [s]', counters.offset_s, 4),
        ('last jump [s]', counters.last_jump_s if counters.jumps else None, 3),
    ):
        if value is not None:
            values[key] = f'{value:.{digits}f}'
    texts = {key: str(value) for key, value in values.items()}
    return diagnostic_status(prefix, level, message, hardware_id, texts)


def synchronisation_status(
    prefix: str, hardware_id: str, synchroniser: CameraSynchroniser, lost: tuple[str, ...]
) -> DiagnosticStatus:
    """Return the status of the sets."""
    count = len(synchroniser.names)
    if lost:
        level, message = DiagnosticStatus.ERROR, f'lost {", ".join(lost)}'
    elif not synchroniser.complete_sets + synchroniser.partial_sets:
        level, message = DiagnosticStatus.WARN, 'no set yet'
    else:
        level, message = DiagnosticStatus.OK, f'all {count} cameras'
    values = {
        'cameras': str(count),
        'complete sets': str(synchroniser.complete_sets),
        'sets without some camera': str(synchroniser.partial_sets),
    }
    return diagnostic_status(prefix, level, message, hardware_id, values)
