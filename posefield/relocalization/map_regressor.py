"""Training the regressor of a map, whichever kind it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math

import numpy as np
import torch

from posefield.data.scene import Frame, Scene
from posefield.errors import DataError, LearningError
from posefield.fields.act import luminance_histogram
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.radiance import RadianceField
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.images import undistort
from posefield.geometry.poses import pose_errors
from posefield.learning import distributed
from posefield.learning.randomness import global_randomness
from posefield.learning.stage import Stage
from posefield.relocalization.map_budget import StageLength
from posefield.relocalization.mapping_run import MappingRun
from posefield.relocalization.nefes_data import image_tensor
from posefield.relocalization.photos import SizedImage, to_u8
from posefield.relocalization.reference_view import to_reference_view
from posefield.relocalization.regressors.dfnet import DFNet
from posefield.relocalization.regressors.dfnet_stage import DFNetStage, RenderView
from posefield.relocalization.regressors.ms_transformer import MsTransformer, MsTransformerConfig
from posefield.relocalization.regressors.ms_transformer_stage import MsTransformerStage
from posefield.relocalization.regressors.posenet import CompactPoseNet
from posefield.relocalization.regressors.posenet12 import PoseNet
from posefield.relocalization.regressors.posenet_stage import PoseNetStage
from posefield.relocalization.regressors.registry import REGRESSORS, build_regressor
from posefield.relocalization.regressors.regressor import PoseRegressor, RegressorConfig
from posefield.relocalization.regressors.stage import RegressorStage
from posefield.relocalization.view_synthesis import ReferenceViews, synthesise_views


@dataclass(frozen=True)
class RegressorSources:
    """What a regressor is trained on; poses are in the field frame.

    Attributes:
        camera: of all views.
        photos: the training photos.
        validation: photos of the scene's `val` split; None where it has none.
        rendered: random views, small (compact), as that regressor and retrieval share them.
        synthesizer, transform, scene_scale: of the map, for renders (dfnet).
        others: views of other scenes by name, to be told apart from this one (ms-transformer).
        scene: name of this scene.
    """

    camera: Camera
    photos: ReferenceViews
    validation: ReferenceViews | None
    rendered: ReferenceViews
    synthesizer: FeatureSynthesizer
    transform: SceneTransform
    scene_scale: float
    others: dict[str, ReferenceViews]
    scene: str


def check_scenes(config: RegressorConfig, scene: Scene, others: Sequence[Scene]) -> None:
    """Refuse other scenes that the regressor could not learn, before anything is learned.

    Raises:
        LearningError: for a regressor of one scene, or scenes of the same name.
        DataError: for a scene without photos to learn from.
    """
    if not others:
        return
    if not isinstance(config, MsTransformerConfig):
        raise LearningError(
            'Other scenes were given, but only the regressor ms-transformer tells scenes apart.'
        )
    names = [scene_name(one) for one in (scene, *others)]
    for name in names:
        if names.count(name) > 1:
            raise LearningError(
                f'{names.count(name)} scenes are named {name}; a network tells scenes apart by '
                'the names of their folders.'
            )
    for other in others:
        if not _posed_photos(other):
            raise DataError(
                f'{other.root} has no posed training photos, expected some to tell it apart.'
            )


def frame_views(
    frames: Sequence[Frame], camera: Camera, transform: SceneTransform, poses: np.ndarray
) -> ReferenceViews:
    """Read frames as `camera` would see them.

    Args:
        frames: images to read.
        camera: of the views.
        transform: to the field frame.
        poses: T_map_cam (N, 4, 4) to use for them.
    """
    images = [
        to_reference_view(SizedImage(*undistort(frame.read_image(), frame.camera)), camera)
        for frame in frames
    ]
    return ReferenceViews(to_u8(np.stack(images)), transform.camera_to_field(poses))


def validation_views(
    scene: Scene, camera: Camera, transform: SceneTransform
) -> ReferenceViews | None:
    """Return the views of the scene's `val` split, None where it has none."""
    if 'val' not in scene.splits:
        return None
    frames = [frame for frame in scene.split('val') if frame.T_map_cam is not None]
    if not frames:
        return None
    poses = np.stack([frame.T_map_cam for frame in frames])
    return frame_views(frames, camera, transform, poses)


def other_views(scenes: Sequence[Scene], camera: Camera) -> dict[str, ReferenceViews]:
    """Return the training views of other scenes, each in a field frame of its own cameras."""
    views = {}
    for scene in scenes:
        frames = _posed_photos(scene)
        poses = np.stack([frame.T_map_cam for frame in frames])
        transform = SceneTransform.from_content(poses, np.zeros((0, 3)))
        views[scene_name(scene)] = frame_views(frames, camera, transform, poses)
    return views


def scene_name(scene: Scene) -> str:
    """Return the name by which a network tells scenes apart: that of its folder."""
    return scene.root.resolve().name


def learn_regressor(run: MappingRun, sources: RegressorSources) -> PoseRegressor:
    """Return the trained regressor of the preset, frozen."""
    network, stage = _stage(run, sources)
    run.train(stage, _length(run, sources))
    return network.eval().requires_grad_(False)


def coarse_errors(
    run: MappingRun,
    regressor: PoseRegressor,
    camera: Camera,
    field: RadianceField,
    transform: SceneTransform,
    T_field_cam_N44: np.ndarray,
) -> tuple[float, float]:
    """Return the regressor's rms errors per axis, field units and radians, on unseen views."""
    check_stop = run.stopper('synthesise')
    unseen = synthesise_views(
        field, transform, camera, T_field_cam_N44, check_stop, lambda fraction: None
    )
    errors = []
    for image, T_true in zip(unseen.images_NHW3, unseen.T_field_cam_N44, strict=True):
        tensor = torch.from_numpy(image).to(run.device, torch.float32) / 255.0
        found = pose_errors(regressor.pose(tensor).numpy(), T_true)
        errors.append([found.translation, np.deg2rad(found.rotation_deg)])
    if not errors:
        # Nothing is known, so nothing is claimed: as far off as the cameras are apart.
        centres = T_field_cam_N44[:, :3, 3]
        return float(centres.std(axis=0).max()) + transform.near, 1.0
    rms = np.sqrt(np.square(errors).mean(axis=0) / 3.0)
    return float(rms[0]), float(rms[1])


def _posed_photos(scene: Scene) -> list[Frame]:
    return [frame for frame in scene.split('train') if frame.T_map_cam is not None]


def _stage(run: MappingRun, sources: RegressorSources) -> tuple[PoseRegressor, Stage]:
    recipe, device = run.preset.regressor, run.device
    if isinstance(recipe.config, MsTransformerConfig):
        return _multi_scene_stage(run, sources)
    kind = next(k for k, r in REGRESSORS.items() if isinstance(recipe.config, r.config_type))
    if kind == CompactPoseNet.kind:
        with global_randomness(run.generator):
            stage = RegressorStage(
                sources.photos, sources.rendered, recipe.config, recipe.stage, device
            )
        return stage.network, stage
    network = build_regressor(kind, recipe.config, run.generator)
    if kind == PoseNet.kind:
        return network, PoseNetStage(
            network, sources.photos, sources.validation, recipe.stage, device
        )
    return network, _dfnet_stage(run, sources, network)


def _dfnet_stage(run: MappingRun, sources: RegressorSources, network: DFNet) -> DFNetStage:
    return DFNetStage(
        network,
        sources.photos,
        sources.validation,
        _renderer(run, sources),
        sources.scene_scale,
        run.preset.regressor.stage,
        run.device,
        run.seed,
    )


def _multi_scene_stage(
    run: MappingRun, sources: RegressorSources
) -> tuple[PoseRegressor, MsTransformerStage]:
    recipe = run.preset.regressor
    views = {sources.scene: sources.photos, **sources.others}
    config = replace(recipe.config, scenes=tuple(sorted(views)), scene=sources.scene)
    network = build_regressor(MsTransformer.kind, config, run.generator)
    return network, MsTransformerStage(network, views, recipe.stage, run.device)


def _renderer(run: MappingRun, sources: RegressorSources) -> RenderView:
    """Return what renders the field for random view synthesis, a quarter of the photos' size."""
    transform, synthesizer = sources.transform, sources.synthesizer
    small = sources.camera.with_short_side(max(8, run.preset.regressor.short_side // 4))

    def render(T_field_cam: np.ndarray, photo_u8: np.ndarray) -> torch.Tensor | None:
        pose = torch.tensor(T_field_cam, dtype=torch.float32, device=run.device)
        histogram_10 = luminance_histogram(image_tensor(photo_u8, run.device))[0]
        view = synthesizer.render_view(
            small, pose, transform.near, transform.far, histogram_10, transient=False
        )
        if float(view.depths_HW.median()) < 2.0 * transform.near:
            return None
        return view.colours_3HW.permute(1, 2, 0).clamp(0.0, 1.0)

    return render


def _length(run: MappingRun, sources: RegressorSources) -> StageLength:
    """Return the regressor's part of the budget, or its published epochs as steps."""
    length = run.budget.regressor()
    if length.steps is not None or length.seconds is not None:
        return length
    recipe = run.preset.regressor
    photos = len(sources.photos.images_NHW3) + sum(
        len(views.images_NHW3) for views in sources.others.values()
    )
    together = recipe.stage.batch * distributed.world_size()
    return StageLength(steps=recipe.epochs * math.ceil(photos / together))
