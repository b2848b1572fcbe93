"""Parameters of the nodes that record cameras and play videos as cameras."""

from dataclasses import dataclass

from posefield.nodes.parameters import ParameterError, parameter
from posefield.nodes.rig_parameters import RigParameters


@dataclass(frozen=True)
class CaptureParameters(RigParameters):
    """Parameters of capture."""

    output: str = parameter('captures', 'Folder in which recordings are made.')
    name: str = parameter('capture', 'How the names of recordings begin; date and time follow.')
    bag: bool = parameter(
        True, 'Keep a rosbag2 (MCAP) of images, masks, camera_info, /tf and /tf_static.'
    )
    multiview: bool = parameter(
        False,
        'After each recording, import it as a multi-view folder to learn from, as '
        '`posefield articulation import` does: undistorted, with masks, made where none came.',
    )
    multiview_size: int = parameter(
        256,
        'Pixels of the longer side of the images of the multi-view folder.',
        unit='px',
        low=8,
        high=8192,
    )
    with_masks: bool = parameter(
        True, 'Record <camera>/mask too, where somebody publishes it; images wait for theirs.'
    )
    require_tf: bool = parameter(
        True,
        'Refuse to start while TF does not tell where every camera is, from `world_frame`.',
    )
    tf_timeout: float = parameter(
        0.5, 'How long the start waits for late TF.', unit='s', low=0.0, high=10.0
    )
    record_at_start: bool = parameter(
        False, 'Start to record as soon as the cameras are there, without the service.'
    )
    duration: float = parameter(
        0.0, 'Stop a recording after this long; 0 goes on.', unit='s', low=0.0, high=1e6
    )
    exit_after_recording: bool = parameter(
        False, 'End the node when a recording is done (and imported, with `multiview`).'
    )
    min_free_space: float = parameter(
        1e9,
        'Do not start with less disk space than this, and stop a recording that reaches it.',
        unit='B',
        low=0.0,
        high=1e15,
    )
    queue_size: int = parameter(
        30,
        'Sets that may wait to be written; the oldest is dropped, and counted.',
        unit='sets',
        low=1,
        high=1000,
    )
    progress_period: float = parameter(
        1.0,
        'Time between two lines of progress while recording; 0 writes none.',
        unit='s',
        low=0.0,
        high=60.0,
    )
    diagnostics_period: float = parameter(
        1.0, 'Time between two messages on /diagnostics.', unit='s', low=0.1, high=60.0
    )

    def check(self) -> None:
        """Raise a ParameterError for parameters that do not go together."""
        self.check_cameras()
        if not (self.bag or self.multiview):
            raise ParameterError(
                'Parameters bag and multiview are both false, so nothing would be recorded.'
            )
        if self.multiview and not self.require_tf:
            raise ParameterError(
                'Parameter multiview needs the poses of the cameras, so require_tf must be true.'
            )
        if self.multiview and len(self.cameras) < 2:
            raise ParameterError(
                f'Parameter multiview needs at least 2 cameras, found {len(self.cameras)}.'
            )


@dataclass(frozen=True)
class VideoRigParameters:
    """Parameters of the player of videos."""

    videos: str = parameter(
        '', 'Folder with one video a camera, here or one folder below; the file names the camera.'
    )
    calibration: str = parameter(
        '',
        'Calibration: Qualisys (.qca.txt), OpenCV YAML, or a folder with intri.yml and extri.yml; '
        'empty looks for it beside the videos.',
    )
    cameras: tuple[str, ...] = parameter((), 'Cameras to play; empty plays all.')
    size: int = parameter(
        0,
        'Pixels of the longer side of the images; 0 keeps them as they are.',
        unit='px',
        low=0,
        high=8192,
    )
    rate: float = parameter(1.0, 'Speed relative to the recording.', low=0.01, high=100.0)
    every: int = parameter(
        1, 'Play every N-th picture of the videos.', unit='pictures', low=1, high=1000
    )
    loop: bool = parameter(False, 'Start again at the end. Stamps go on rising.')
    image_transport: str = parameter(
        'raw',
        'raw publishes <camera>/image_raw, compressed <camera>/image_raw/compressed (JPEG).',
        choices=('raw', 'compressed'),
    )
    world_frame: str = parameter('world', 'TF frame in which the cameras stand.')
    frame_suffix: str = parameter(
        '_optical_frame', "What follows a camera's name in the name of its TF frame."
    )
    publish_clock: bool = parameter(
        False,
        'Publish /clock, which starts at 1 s and runs at `rate`; stamps are of that clock then. '
        'Otherwise stamps are the time at which the images are sent.',
    )
    wait_for_subscribers: bool = parameter(
        False, 'Play the first picture when every image topic has a subscriber.'
    )
    wait_timeout: float = parameter(
        30.0, 'How long to wait for subscribers before giving up.', unit='s', low=0.0, high=3600.0
    )

    def check(self) -> None:
        """Raise a ParameterError where no videos are named."""
        if not self.videos:
            raise ParameterError(
                'Parameter videos is empty, expected a folder with videos (-p videos:=/path).'
            )


@dataclass(frozen=True)
class RigFramesParameters:
    """Parameters of rig_frames."""

    rig: str = parameter('', 'Rig file (YAML) with the `extrinsics` of its cameras; needed.')
