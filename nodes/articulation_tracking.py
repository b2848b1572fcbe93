"""From synchronised sets of messages to what the library records and tracks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from posefield.articulation.described_model import DescribedModel
from posefield.articulation.live_learning import recording_beside
from posefield.articulation.live_views import live_view
from posefield.articulation.tracking import TrackedPose
from posefield.data.background import Background
from posefield.data.background_files import read_backgrounds
from posefield.data.live_recording import LiveView
from posefield.errors import PosefieldError
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.conversions import NANOSECONDS
from posefield.nodes.images import rgb_from_message
from posefield.nodes.rig_input import RigInput, RigSet


def camera_name(name: str) -> str:
    """Return the name of a camera as folders have it."""
    return name.strip('/').replace('/', '_')


def live_views(
    rig: RigInput,
    found: RigSet,
    parameters: ArticulationParameters,
    on_problem: Callable[[str], None],
) -> dict[str, LiveView]:
    """Return what the cameras of a set saw; for threads other than the executor's.

    Args:
        rig: that gave the set.
        found: the set.
        parameters: of the node.
        on_problem: told of images and masks that cannot be decoded; their cameras are left out.

    Raises:
        InputError: naming the cameras whose TF is missing.
    """
    poses = rig.extrinsics(parameters.world_frame, found.stamp_ns, parameters.tf_timeout)
    views = {}
    for name, view in found.views.items():
        try:
            picture = rig.picture(name, view.message)
            mask_grey = None if view.mask is None else rgb_from_message(view.mask)[..., 0]
        except PosefieldError as error:
            on_problem(f'An image of camera {name} is left out: {error}')
            continue
        if mask_grey is not None and mask_grey.shape != picture.shape[:2]:
            on_problem(
                f'An image of camera {name} is left out: it is {picture.shape[1]}x'
                f'{picture.shape[0]} but its mask is {mask_grey.shape[1]}x{mask_grey.shape[0]}.'
            )
            continue
        views[camera_name(name)] = LiveView(picture, mask_grey, view.camera, poses[name])
    return views


class Follower:
    """Tracks a model from set to set.

    Args:
        described: the model.
        tracker: what finds poses in views.
        parameters: of the node.
    """

    def __init__(
        self, described: DescribedModel, tracker: Any, parameters: ArticulationParameters
    ):
        self.described = described
        self._tracker = tracker
        self._short_side = parameters.tracking_short_side
        self._backgrounds = self._read_backgrounds(parameters)
        self._previous: TrackedPose | None = None

    def _read_backgrounds(self, parameters: ArticulationParameters) -> Mapping[str, Background]:
        folder = parameters.tracking_backgrounds
        return read_backgrounds(
            Path(folder) if folder else recording_beside(self.described.folder)
        )

    def follow(self, stamp_ns: int, views: Mapping[str, LiveView]) -> TrackedPose:
        """Return the pose at the moment of the views.

        Raises:
            PosefieldError: for views that cannot be tracked in.
        """
        tracked_views = [
            live_view(
                view.image,
                view.mask_grey,
                view.camera,
                view.T_world_cam,
                short_side=self._short_side,
                background=self._backgrounds.get(name),
            )
            for name, view in views.items()
        ]
        self._previous = self._tracker.track(tracked_views, self._previous, stamp_ns / NANOSECONDS)
        return self._previous

    def forget(self) -> None:
        """Search for the thing in the next views."""
        self._previous = None
