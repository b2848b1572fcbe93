"""Parameters of the articulation node."""

from dataclasses import dataclass

from posefield.articulation.joint_commands import LIMIT_RULES
from posefield.articulation.tracking import TrackingConfig
from posefield.nodes.parameters import parameter
from posefield.nodes.rig_parameters import RigParameters

TRACKING = TrackingConfig()


@dataclass(frozen=True)
class ArticulationParameters(RigParameters):
    """Parameters of the node, beside those of its cameras; `tracking_x` here is `tracking.x`."""

    cameras: tuple[str, ...] = parameter(
        (),
        'Names of the cameras: `left` has the topics left/image_raw and left/camera_info, and '
        'left/mask where somebody publishes it. Without any, a model is only shown and re-posed.',
    )
    autostart: bool = parameter(True, 'Configure and activate at start-up.')
    model: str = parameter(
        '', 'Folder of a learned model to load at configure; empty waits for one to be learned.'
    )
    models_dir: str = parameter(
        'models', 'Where ~/learn makes the folders of models that a goal gives no folder for.'
    )
    device: str = parameter('auto', 'Where to learn and render: auto, cpu, cuda or cuda:N.')
    frame_prefix: str = parameter(
        '', 'Put before the names of links on TF, so that they differ from those of other robots.'
    )
    tf_timeout: float = parameter(
        0.5, 'How long images wait for late TF of the cameras.', unit='s', low=0.0, high=10.0
    )
    state_rate: float = parameter(
        10.0,
        'How often a pose that does not come from images (learned, or commanded) is published.',
        unit='Hz',
        low=0.1,
        high=200.0,
    )
    limits: str = parameter(
        'clamp',
        'What becomes of commanded positions outside the limits of their joint: clamp moves them '
        'to the limit and warns, reject refuses the whole command, ignore takes them.',
        choices=LIMIT_RULES,
        live=True,
    )
    render_camera: str = parameter(
        '',
        'Camera from which ~/render looks; empty takes the first one whose calibration and TF are '
        'known, or looks from the side where there are no cameras.',
    )
    render_short_side: int = parameter(
        128, 'Short side of ~/render, at most.', unit='px', low=8, high=2160, live=True
    )
    render_rate: float = parameter(
        2.0, 'How often ~/render is made at most.', unit='Hz', low=0.01, high=100.0, live=True
    )
    points_per_part: int = parameter(
        300, 'Points of each part in ~/parts.', unit='points', low=1, high=100_000
    )
    record_rate: float = parameter(
        7.5,
        'Sets recorded for ~/learn at most, by their stamps; 0 records every one.',
        unit='Hz',
        low=0.0,
        high=1000.0,
    )
    record_size: int = parameter(
        256, 'Longer side of the images that are recorded.', unit='px', low=8, high=4096
    )
    record_timeout: float = parameter(
        10.0,
        'Recording fails when no set has come for this long.',
        unit='s',
        low=0.5,
        high=3600.0,
    )
    feedback_period: float = parameter(
        1.0, 'Time between two feedbacks of ~/learn.', unit='s', low=0.1, high=2.0
    )
    diagnostics_period: float = parameter(
        1.0, 'Time between two messages on /diagnostics.', unit='s', low=0.1, high=60.0
    )
    tracking_enabled: bool = parameter(
        True, 'Follow the thing in the images of the cameras once there is a model.', live=True
    )
    tracking_max_rate: float = parameter(
        0.0,
        'Track at most this often, by stamps; 0 takes every set that there is time for.',
        unit='Hz',
        low=0.0,
        high=1000.0,
        live=True,
    )
    tracking_short_side: int = parameter(
        TRACKING.short_side,
        'Short side at which images are compared, at most.',
        unit='px',
        low=16,
        high=2160,
    )
    tracking_points: int = parameter(
        TRACKING.points, 'Points on the surface.', unit='points', low=100, high=1_000_000
    )
    tracking_coarse_steps: int = parameter(
        TRACKING.coarse_steps, 'Steps of the alignment with smoothed images.', low=0, high=100
    )
    tracking_fine_steps: int = parameter(
        TRACKING.fine_steps, 'Steps of the alignment with sharp images.', low=1, high=100
    )
    tracking_lost_below: float = parameter(
        TRACKING.lost_below,
        'A pose whose score is lower is not believed: the thing is lost and searched for.',
        low=0.0,
        high=1.0,
    )
    tracking_backgrounds: str = parameter(
        '',
        'Folder with backgrounds/CAMERA.png, what cameras without masks see without the thing; '
        'empty takes those that learning found, beside the model.',
    )

    def tracking_config(self) -> TrackingConfig:
        """Return how poses are tracked."""
        return TrackingConfig(
            short_side=self.tracking_short_side,
            points=self.tracking_points,
            coarse_steps=self.tracking_coarse_steps,
            fine_steps=self.tracking_fine_steps,
            lost_below=self.tracking_lost_below,
        )
