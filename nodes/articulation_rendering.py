"""Images of a model in poses that it was asked for: the service and the topic."""

from dataclasses import dataclass

from builtin_interfaces.msg import Time
import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from posefield.articulation.described_model import DescribedModel, ModelPose
from posefield.articulation.joint_commands import commanded_positions
from posefield.data.camera_info import camera_from_info
from posefield.errors import CameraError, PoseError
from posefield.geometry.camera import Camera
from posefield.nodes.articulation_messages import (
    depth_message,
    rgb_bytes,
    side_view,
)
from posefield.nodes.articulation_output import ArticulationOutput
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.camera_publisher import info_from_camera
from posefield.nodes.conversions import pose_from_message, stamp_ns, transform_to_message
from posefield.nodes.images import message_from_rgb
from posefield.nodes.rig_input import RigInput
from posefield.nodes.transform_buffer import TransformMissing
from posefield.nodes.transforms import Transforms
from posefield_msgs.srv import Repose

# A request for more pixels than this would keep the node busy for minutes.
MOST_PIXELS = 4096 * 4096


@dataclass(frozen=True, eq=False)
class View:
    """Where an image is seen from.

    Attributes:
        camera: pinhole.
        T_world_cam: (4, 4).
        frame: its optical frame.
        is_own: whether TF has it from nobody else.
    """

    camera: Camera
    T_world_cam: np.ndarray
    frame: str
    is_own: bool = False


class RenderTopic:
    """Makes `~/render` in the worker, one at a time, and no pose twice.

    Args:
        parameters: of the node.
        output: what publishes.
        transforms: where cameras are looked up.
        rig: the cameras, if there are any.
        own_frame: of the view from the side, where no camera is known.
    """

    def __init__(
        self,
        parameters: ArticulationParameters,
        output: ArticulationOutput,
        transforms: Transforms,
        rig: RigInput | None,
        own_frame: str,
    ):
        self._parameters = parameters
        self._output = output
        self._transforms = transforms
        self._rig = rig
        self._own_frame = own_frame
        self._is_pending = False
        self._last: tuple[tuple, Image, CameraInfo] | None = None

    def reconfigure(self, parameters: ArticulationParameters) -> None:
        """Take over parameters that can change while running."""
        self._parameters = parameters

    def begin(self) -> bool:
        """Return whether a render may be ordered: the one before is done."""
        if self._is_pending:
            return False
        self._is_pending = True
        return True

    def send(self, described: DescribedModel, pose: ModelPose, stamp: Time) -> None:
        """Render a model and publish what is seen; for threads other than the executor's."""
        try:
            view = self._view(described, stamp)
            header = Header(stamp=stamp, frame_id=view.frame)
            what = (described, pose, view.camera, view.frame, view.T_world_cam.tobytes())
            if self._last is None or not _same(self._last[0], what):
                image, _, info = render_messages(described, pose, view, header)
                self._last = (what, image, info)
            _, image, info = self._last
            image.header = info.header = header
            world = self._parameters.world_frame
            own = [transform_to_message(view.T_world_cam, world, view.frame, stamp)]
            self._output.send_render(image, info, own if view.is_own else [])
        finally:
            self._is_pending = False

    def _view(self, described: DescribedModel, stamp: Time) -> View:
        short_side = self._parameters.render_short_side
        names = self._parameters.cameras if self._rig is not None else ()
        wanted = self._parameters.render_camera
        if wanted and wanted not in names:
            raise CameraError(
                f'Parameter render_camera is "{wanted}", expected one of the cameras '
                f'{", ".join(names) or "(none)"}.'
            )
        for name in (wanted,) if wanted else names:
            seen = self._seen_by(name, short_side, stamp)
            if seen is not None:
                return seen
        camera, T_world_cam = side_view(described, short_side)
        return View(camera, T_world_cam, self._own_frame, is_own=True)

    def _seen_by(self, name: str, short_side: int, stamp: Time) -> View | None:
        camera, frame = self._rig.camera(name), self._rig.frame(name)
        if camera is None or frame is None:
            return None
        camera = camera.pinhole()
        if min(camera.width, camera.height) > short_side:
            camera = camera.with_short_side(short_side)
        try:
            T_world_cam = self._transforms.lookup(
                self._parameters.world_frame, frame, stamp_ns(stamp)
            )
        except TransformMissing:
            # The warning about this camera comes with its images.
            return None
        return View(camera, T_world_cam, frame)


def _same(one: tuple, other: tuple) -> bool:
    """Return whether two renders show the same: the same model and pose, and equal views."""
    return one[0] is other[0] and one[1] is other[1] and one[2:] == other[2:]


def render_messages(
    described: DescribedModel, pose: ModelPose, view: View, header: Header
) -> tuple[Image, Image, CameraInfo]:
    """Return the image, the depths and the calibration of a model as it is seen."""
    seen = described.model.render(view.camera, view.T_world_cam, described.part_poses(pose))
    return (
        message_from_rgb(rgb_bytes(seen.colours_HW3), header),
        depth_message(seen.depths_HW, header),
        info_from_camera(view.camera, header),
    )


def repose(
    described: DescribedModel,
    T_world_root: np.ndarray,
    request: Repose.Request,
    response: Repose.Response,
    parameters: ArticulationParameters,
    transforms: Transforms,
) -> Repose.Response:
    """Fill in the answer to a request; for threads other than the executor's.

    Args:
        described: the model.
        T_world_root: where its root is unless the request says.
        request: what to render.
        response: to fill in.
        parameters: of the node.
        transforms: where cameras are looked up.

    Raises:
        PosefieldError: for what cannot be rendered, in a sentence.
    """
    command = commanded_positions(
        described.skeleton, request.joint_names, request.joint_positions, limits=parameters.limits
    )
    world_frame = parameters.world_frame
    if request.use_root_pose:
        _check_frame('root_pose', request.root_pose.header.frame_id, world_frame)
        T_world_root = pose_from_message(request.root_pose.pose, 'root_pose')
    view = _view(request, parameters, transforms)
    response.image, response.depth, response.camera_info = render_messages(
        described,
        ModelPose(command.positions_D, T_world_root),
        view,
        request.camera_info.header,
    )
    response.success, response.message = True, ' '.join(command.clamped)
    return response


def _view(
    request: Repose.Request, parameters: ArticulationParameters, transforms: Transforms
) -> View:
    info = request.camera_info
    camera = camera_from_info(info, rectified=parameters.image_is_rectified).pinhole()
    if camera.width * camera.height > MOST_PIXELS:
        raise CameraError(
            f'camera_info asks for {camera.width}x{camera.height} pixels, at most {MOST_PIXELS} '
            'are rendered.'
        )
    frame = info.header.frame_id.lstrip('/')
    if request.use_camera_pose:
        _check_frame('camera_pose', request.camera_pose.header.frame_id, parameters.world_frame)
        return View(camera, pose_from_message(request.camera_pose.pose, 'camera_pose'), frame)
    if not frame:
        raise CameraError(
            'The frame_id of camera_info is empty, expected a frame on TF, or use_camera_pose.'
        )
    try:
        T_world_cam = transforms.lookup(
            parameters.world_frame, frame, stamp_ns(info.header.stamp), parameters.tf_timeout
        )
    except TransformMissing as error:
        raise PoseError(
            f'TF has no "{parameters.world_frame}" -> "{frame}" at the stamp of camera_info '
            f'within {parameters.tf_timeout:g} s: {error}.'
        ) from error
    return View(camera, T_world_cam, frame)


def _check_frame(what: str, found: str, expected: str) -> None:
    if found.lstrip('/') != expected:
        raise PoseError(f'The {what} is in frame "{found}", expected "{expected}".')
