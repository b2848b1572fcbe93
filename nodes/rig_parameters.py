"""Parameters of nodes that see through several cameras."""

from dataclasses import dataclass

from posefield.nodes.parameters import ParameterError, parameter


@dataclass(frozen=True)
class RigParameters:
    """What every node with several cameras is told; the base of their tables."""

    cameras: tuple[str, ...] = parameter(
        (),
        'Names of the cameras: `left` has the topics left/image_raw and left/camera_info. Needed.',
    )
    image_name: str = parameter(
        'image_raw', 'Name of the image topic below the name of each camera.'
    )
    image_transport: str = parameter(
        'raw',
        'raw subscribes to the image topics, compressed to <image topic>/compressed.',
        choices=('raw', 'compressed'),
    )
    image_is_rectified: bool = parameter(
        False, 'The images are rectified: use P of camera_info without distortion, not K and D.'
    )
    world_frame: str = parameter('world', 'TF frame in which the cameras stand.')
    sync_tolerance: float = parameter(
        0.01,
        'Largest time between the first and the last image of a set. Less than half the time '
        'between two images of a camera leaves no doubt.',
        unit='s',
        low=1e-6,
        high=10.0,
    )
    min_cameras: int = parameter(
        0,
        'Least number of cameras of a set; 0 asks for all.',
        unit='cameras',
        low=0,
        high=1000,
    )
    sync_timeout: float = parameter(
        0.5, 'How long an image waits for those of other cameras.', unit='s', low=0.01, high=60.0
    )
    sync_buffer: int = parameter(
        30, 'Images of one camera that may wait for others.', unit='images', low=2, high=1000
    )
    jump_threshold: float = parameter(
        1.0,
        'A stamp this much earlier than the one before, or later than its arrival lets expect, is '
        'a jump in time.',
        unit='s',
        low=0.1,
        high=3600.0,
    )
    lost_after: float = parameter(
        1.0, 'A camera is lost when no image has come for this long.', unit='s', low=0.1, high=60.0
    )

    def check_cameras(self) -> None:
        """Raise a ParameterError where no cameras are named, or more are asked for than named."""
        if not self.cameras:
            raise ParameterError(
                'Parameter cameras is empty, expected the names of cameras '
                "(-p cameras:=\"['left', 'right']\")."
            )
        if self.min_cameras > len(self.cameras):
            raise ParameterError(
                f'Parameter min_cameras is {self.min_cameras}, but only {len(self.cameras)} '
                'cameras are named.'
            )
