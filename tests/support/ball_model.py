"""An articulated model of the two balls that nobody had to learn."""

import numpy as np
import torch

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.merging import MergeLevel
from posefield.articulation.structure import JointReport, Structure, StructureReport
from posefield.articulation.surface import Surface, SurfaceConfig
from posefield.data.scene_normalisation import SceneNormalisation
from support.two_balls import JOINT_3, angles, motion

# The world is twice as large as the scene, and elsewhere.
NORMALISATION = SceneNormalisation(np.array([1.0, -2.0, 0.5]), 0.5)
# The world is the scene: the model of the recording of the two balls.
AS_RECORDED = SceneNormalisation(np.zeros(3), 1.0)


def ball_structure() -> Structure:
    """Return the true links and joint, scene frame; the root's frame is that of its part."""
    parts = motion()
    frames = list(parts.frames_F)
    T_joint, T_part = np.eye(4), np.tile(np.eye(4), (2, 1, 1))
    T_joint[:3, 3] = JOINT_3
    T_part[1, :3, 3] = [0.4, 0.0, 0.0]
    joint = Joint('swing', 'revolute', 'body', 'arm', T_joint, np.array([0, 1.0, 0]), -0.8, 0.8)
    report = StructureReport(
        0.001,
        (MergeLevel(2, ((0,), (1,)), float('inf')),),
        (JointReport('swing', 'revolute', float('inf'), 0.001, 0.02),),
    )
    return Structure(
        Skeleton((Link('body', (0,)), Link('arm', (1,))), (joint,), 'body'),
        T_part,
        angles()[frames][:, None],
        parts.T_scene_part_FP44[:, 0],
        report,
    )


def ball_model(normalisation: SceneNormalisation = NORMALISATION) -> ArticulatedModel:
    """Return the model, with a surface that is just the ellipsoids."""
    parts = motion()
    config = SurfaceConfig(
        DecoderConfig(2, 8, 2, 0.02),
        union_sharpness=100.0,
        exact=False,
        shading=True,
        sharpness=100.0,
        samples=12,
    )
    radii = torch.from_numpy(parts.radii_P3)
    surface = Surface(radii, config, torch.Generator().manual_seed(0))
    return ArticulatedModel(
        info={'preset': 'cpu', 'seconds_to_learn': 1.5, 'units': 'metres'},
        normalisation=normalisation,
        motion=parts,
        found=ball_structure().to_world(normalisation),
        surface=surface.eval().requires_grad_(False),
        background='white',
    )
