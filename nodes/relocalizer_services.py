"""What the relocalizer's services do, apart from ROS plumbing."""

from posefield.data.camera_info import camera_from_info
from posefield.errors import CameraError, PoseError, PosefieldError
from posefield.nodes.conversions import covariance_from_message, pose_from_message
from posefield.nodes.images import rgb_from_message
from posefield.nodes.pose_output import result_message
from posefield.relocalization.localization import PosePrior
from posefield_msgs.srv import Relocalize


def relocalize(
    localizer,
    request: Relocalize.Request,
    response: Relocalize.Response,
    *,
    map_frame: str,
    rectified: bool,
) -> Relocalize.Response:
    """Localize the image of a request; every failure is a sentence in the response."""
    try:
        localization = _localize(localizer, request, map_frame, rectified)
    except PosefieldError as error:
        response.success, response.message = False, str(error)
        return response
    response.result = result_message(localization, request.image.header, map_frame)
    response.success = bool(localization.accepted)
    response.message = '' if localization.accepted else localization.reason
    return response


def _localize(localizer, request: Relocalize.Request, map_frame: str, rectified: bool):
    image = rgb_from_message(request.image)
    frames = request.image.header.frame_id, request.camera_info.header.frame_id
    if frames[0] != frames[1]:
        raise CameraError(
            f'The frame_id of the image is "{frames[0]}" but that of camera_info is "{frames[1]}".'
        )
    camera = camera_from_info(request.camera_info, rectified=rectified)
    prior = None
    if request.use_prior:
        frame = request.prior.header.frame_id
        if frame != map_frame:
            raise PoseError(f'The prior is in frame "{frame}", expected "{map_frame}".')
        prior = PosePrior(
            pose_from_message(request.prior.pose.pose, 'the prior'),
            covariance_from_message(request.prior.pose.covariance, 'the prior'),
        )
    return localizer.localize(image, camera, prior)
