"""Sizes and budgets of articulated models: `cpu` for a laptop, `gpu`, and `paper`."""

from dataclasses import dataclass, replace

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.paper_stage import PaperConfig
from posefield.articulation.part_fitting import PartFittingConfig
from posefield.articulation.skeleton_fitting import SkeletonFittingConfig
from posefield.articulation.surface import SurfaceConfig
from posefield.articulation.surface_stage import SurfaceStageConfig
from posefield.errors import LearningError


@dataclass(frozen=True)
class FastPreset:
    """Parts first, then the surface around them (part_fitting).

    Attributes:
        minutes: to learn, unless the user says otherwise.
        restarts: runs from different frames; the one goes on whose joints, once chosen anew as
            far as there is time, explain the images best.
        processes: that restarts run in; None for one per core, 1 on a GPU.
        fitting: of the parts.
        skeleton: of the joints.
        surface, surface_stage: of the surface.
        image_size: short side of the images that the surface is learned from, at most.
        parts_share, joints_share: of the time, to fit the parts and joints of all restarts.
        proposing_share: to propose joints; what that takes longer, the search has less.
        search_share, last_share, prune_share: to choose joints, to fit those chosen, and to
            remove those that are not missed then.
        surface_share: for the surface; what is left is for reading and writing.
        scene_radius: of the thing in the scene frame.
    """

    minutes: float = 5.5
    restarts: int = 2
    processes: int | None = None
    fitting: PartFittingConfig = PartFittingConfig()
    skeleton: SkeletonFittingConfig = SkeletonFittingConfig()
    surface: SurfaceConfig = SurfaceConfig(
        decoder=DecoderConfig(octaves=6, width=64, depth=4, largest_residual=0.06),
        union_sharpness=80.0,
        exact=False,
        shading=True,
        sharpness=100.0,
        samples=16,
    )
    surface_stage: SurfaceStageConfig = SurfaceStageConfig()
    image_size: int = 128
    parts_share: float = 0.21
    joints_share: float = 0.08
    proposing_share: float = 0.03
    search_share: float = 0.37
    last_share: float = 0.11
    prune_share: float = 0.07
    surface_share: float = 0.1
    scene_radius: float = 1.0


@dataclass(frozen=True)
class PaperPreset:
    """Watch It Move as published.

    Attributes:
        minutes: None, because the published number of iterations is the measure.
        learning: of parts and surface together.
        samples: on a ray, when images of the model are rendered.
        scene_radius: of the thing in the scene frame (section 1.4).
    """

    minutes: float | None = None
    learning: PaperConfig = PaperConfig()
    samples: int = 64
    scene_radius: float = 0.65


PRESETS: dict[str, FastPreset | PaperPreset] = {
    'cpu': FastPreset(),
    'gpu': FastPreset(
        minutes=18.0,
        surface=SurfaceConfig(
            decoder=DecoderConfig(octaves=8, width=128, depth=4, largest_residual=0.06),
            union_sharpness=80.0,
            exact=False,
            shading=True,
            sharpness=400.0,
            samples=16,
        ),
        surface_stage=SurfaceStageConfig(rays=16384, samples=14),
        image_size=512,
    ),
    'paper': PaperPreset(),
}


def preset_named(name: str, device_type: str) -> FastPreset | PaperPreset:
    """Return a preset; `auto` is `gpu` on a CUDA device and `cpu` elsewhere.

    Raises:
        LearningError: for an unknown name.
    """
    if name == 'auto':
        name = 'gpu' if device_type == 'cuda' else 'cpu'
    if name not in PRESETS:
        raise LearningError(
            f'Unknown preset {name!r}, expected auto or one of {", ".join(PRESETS)}.'
        )
    return PRESETS[name]


def with_parts(settings: FastPreset | PaperPreset, parts: int | None) -> FastPreset | PaperPreset:
    """Return a preset with another number of parts; None leaves it as it is.

    Raises:
        LearningError: for fewer than 2.
    """
    if parts is None:
        return settings
    if isinstance(settings, PaperPreset):
        if parts < 2:
            raise LearningError(f'There must be at least 2 parts, found {parts}.')
        model = replace(settings.learning.model, parts=parts)
        return replace(settings, learning=replace(settings.learning, model=model))
    return replace(settings, fitting=replace(settings.fitting, parts=parts))
