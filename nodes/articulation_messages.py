"""A model in one of its poses as messages: joint states, TF, markers, skeleton."""

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, TransformStamped, Vector3
import numpy as np
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from posefield.articulation.described_model import DescribedModel, ModelPose
from posefield.geometry.camera import Camera
from posefield.nodes.conversions import pose_to_message, transform_to_message
from posefield_msgs.msg import ArticulatedJoint, ArticulatedModel, ArticulatedPart

# How thick bones and axes are drawn, and how long axes, as shares of the thing's size.
BONE, AXIS_WIDTH, AXIS_LENGTH = 0.012, 0.006, 0.08
BONE_COLOUR = ColorRGBA(r=1.0, g=0.85, b=0.1, a=1.0)
AXIS_COLOUR = ColorRGBA(r=0.1, g=0.6, b=1.0, a=1.0)
PART_OPACITY = 0.6


def joint_state(described: DescribedModel, pose: ModelPose, stamp: Time) -> JointState:
    """Return the positions of all movable joints."""
    return JointState(
        header=Header(stamp=stamp),
        name=list(described.skeleton.movable),
        position=[float(position) for position in pose.positions_D],
    )


def link_transforms(
    described: DescribedModel, pose: ModelPose, stamp: Time, world_frame: str, prefix: str
) -> list[TransformStamped]:
    """Return the root in the world, and every other link in its parent, as in the URDF."""
    skeleton = described.skeleton
    position = dict(zip(skeleton.movable, pose.positions_D, strict=True))
    transforms = [
        transform_to_message(pose.T_world_root, world_frame, f'{prefix}{skeleton.root}', stamp)
    ]
    for joint in skeleton.ordered_joints():
        T_parent_child = joint.T_parent_joint
        if joint.movable:
            T_parent_child = T_parent_child @ joint.motion(np.array(position[joint.name]))
        parent, child = f'{prefix}{joint.parent}', f'{prefix}{joint.child}'
        transforms.append(transform_to_message(T_parent_child, parent, child, stamp))
    return transforms


def skeleton_message(
    described: DescribedModel, pose: ModelPose, header: Header, state: str, score: float
) -> ArticulatedModel:
    """Return links, joints and parts as they are now."""
    skeleton = described.skeleton
    position = dict(zip(skeleton.movable, pose.positions_D, strict=True))
    return ArticulatedModel(
        header=header,
        model=str(described.folder),
        state=state,
        score=float(score),
        root=skeleton.root,
        root_pose=pose_to_message(pose.T_world_root),
        links=[link.name for link in skeleton.links],
        link_poses=[pose_to_message(T) for T in described.link_poses(pose)],
        joints=[
            ArticulatedJoint(
                name=joint.name,
                type=joint.kind,
                parent=joint.parent,
                child=joint.child,
                origin=pose_to_message(joint.T_parent_joint),
                axis=_vector(joint.axis_3),
                lower=float(joint.lower),
                upper=float(joint.upper),
                position=float(position.get(joint.name, 0.0)),
            )
            for joint in skeleton.joints
        ],
        parts=[
            ArticulatedPart(
                link=link.name,
                pose=pose_to_message(described.model.found.T_link_part_P44[part]),
                radii=_vector(described.model.radii_P3[part]),
                colour=_colour(described.model.motion.colours_P3[part], 1.0),
            )
            for link in skeleton.links
            for part in link.parts
        ],
    )


def clear_markers() -> MarkerArray:
    """Return what removes the markers of another model."""
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])


def markers(described: DescribedModel, pose: ModelPose, header: Header) -> MarkerArray:
    """Return the parts' ellipsoids, bones between joints, and the joints' axes."""
    T_part = described.part_poses(pose)
    T_link = described.link_poses(pose)
    model = described.model
    size = 2.0 / model.normalisation.scale
    found = []
    for part, (T, radii_3) in enumerate(zip(T_part, model.radii_P3, strict=True)):
        marker = Marker(header=header, ns='parts', id=part, type=Marker.SPHERE)
        marker.pose = pose_to_message(T)
        marker.scale = _vector(2.0 * radii_3)
        marker.color = _colour(model.motion.colours_P3[part], PART_OPACITY)
        found.append(marker)
    bones, axes = _lines(described, T_link, AXIS_LENGTH * size)
    for name, points, width, colour in (
        ('bones', bones, BONE * size, BONE_COLOUR),
        ('axes', axes, AXIS_WIDTH * size, AXIS_COLOUR),
    ):
        marker = Marker(header=header, ns=name, type=Marker.LINE_LIST, color=colour)
        marker.pose.orientation.w = 1.0
        marker.scale.x = float(width)
        marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
        found.append(marker)
    return MarkerArray(markers=found)


def _lines(
    described: DescribedModel, T_link_L44: np.ndarray, axis_length: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the ends of lines from link to link, and along the axes of movable joints."""
    skeleton = described.skeleton
    index = {link.name: place for place, link in enumerate(skeleton.links)}
    bones, axes = [], []
    for joint in skeleton.joints:
        T_child = T_link_L44[index[joint.child]]
        bones += [T_link_L44[index[joint.parent], :3, 3], T_child[:3, 3]]
        if joint.movable:
            along = T_child[:3, :3] @ joint.axis_3 * axis_length / 2.0
            axes += [T_child[:3, 3] - along, T_child[:3, 3] + along]
    return bones, axes


def depth_message(depths_HW: np.ndarray, header: Header) -> Image:
    """Return depths in metres as 32FC1; 0, where nothing is seen, becomes NaN (REP-118)."""
    depths = np.where(depths_HW > 0, depths_HW, np.nan).astype('<f4')
    height, width = depths.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding='32FC1',
        is_bigendian=0,
        step=4 * width,
        data=depths.tobytes(),
    )


def side_view(described: DescribedModel, short_side: int) -> tuple[Camera, np.ndarray]:
    """Return a camera that sees all of a thing from the side, and its pose T_world_cam."""
    normalisation = described.model.normalisation
    camera = Camera(
        short_side,
        short_side,
        1.2 * short_side,
        1.2 * short_side,
        (short_side - 1) / 2,
        (short_side - 1) / 2,
    )
    forward = np.array([-0.85, -0.4, -0.35]) / np.linalg.norm([-0.85, -0.4, -0.35])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T_scene_cam = np.eye(4)
    T_scene_cam[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T_scene_cam[:3, 3] = -3.0 * forward
    return camera, normalisation.pose_to_world(T_scene_cam)


def rgb_bytes(colours_HW3: np.ndarray) -> np.ndarray:
    """Return colours in [0, 1] as (H, W, 3) uint8."""
    return np.rint(255.0 * np.clip(colours_HW3, 0.0, 1.0)).astype(np.uint8)


def _vector(values_3: np.ndarray) -> Vector3:
    x, y, z = (float(value) for value in values_3)
    return Vector3(x=x, y=y, z=z)


def _colour(rgb_3: np.ndarray, opacity: float) -> ColorRGBA:
    r, g, b = (float(value) for value in np.clip(rgb_3, 0.0, 1.0))
    return ColorRGBA(r=r, g=g, b=b, a=opacity)
