"""Learning an articulated model from multi-view video: the order of the work."""

from dataclasses import dataclass
import math
from pathlib import Path
import threading

import torch

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.model_bundle import MODEL_KIND
from posefield.articulation.paper_images import ImageBatchSource
from posefield.articulation.paper_training import train_paper
from posefield.articulation.part_fitting import check_frames
from posefield.articulation.parts import PartMotion
from posefield.articulation.presets import FastPreset, PaperPreset, preset_named, with_parts
from posefield.articulation.restarts import Restart, first_frames
from posefield.articulation.skeleton_fitting import choose_joints
from posefield.articulation.structure import (
    ProposedTree,
    StructureConfig,
    find_structure,
    structure_of,
)
from posefield.articulation.surface import Surface, SurfaceConfig
from posefield.articulation.surface_pixels import SurfacePixels
from posefield.articulation.surface_stage import SurfaceStage
from posefield.data.multiview import Multiview
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.data.visual_hull import normalise
from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.learning.budget import Budget
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.devices import one_thread, processes_for, select_device
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.run import LearningRun
from posefield.learning.side_by_side import learn_side_by_side
from posefield.storage import ensure_replaceable


@dataclass(frozen=True)
class _Length:
    """How long to learn: seconds or steps, or neither where the preset counts iterations."""

    seconds: float | None
    steps: int | None


def learn_articulation(
    multiview: Multiview,
    preset: str,
    out: Path,
    *,
    device: str = 'auto',
    minutes: float | None = None,
    steps: int | None = None,
    parts: int | None = None,
    root_part: int | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> ArticulatedModel:
    """Learn parts, joints, surface and colours from the training views and frames, and save all.

    In a distributed run, which is for `paper`, every process calls this; the first one saves.

    Args:
        multiview: the recording.
        preset: `auto` or a name in PRESETS.
        out: model folder; an older model there is replaced when the new one is whole.
        device: `auto`, `cpu` or `cuda`.
        minutes: time to learn; the preset's by default.
        steps: of each stage, instead of a time; the same seed then gives the same model, however
            fast the machine is.
        parts: ellipsoids, about three for every link of the thing; the preset's by default.
        root_part: whose link is to be the root; the one that moves least by default.
        seed: of everything random.
        resume: go on from the checkpoint of a stopped run.
        progress: who to tell.
        stop: when set, a checkpoint is saved and LearningInterrupted raised.

    Raises:
        LearningError: for minutes together with steps, an unknown name, or a distributed run of
            another preset than `paper`.
        DataError: when the recording cannot be learned from.
        BundleError: when `out` is something else than a model, or cannot be written.
        LearningInterrupted: when stopped.
    """
    ensure_replaceable(out, MODEL_KIND)
    chosen = select_device(device)
    settings = with_parts(preset_named(preset, chosen.type), parts)
    if distributed.world_size() > 1 and not isinstance(settings, PaperPreset):
        raise LearningError(
            f'Preset {preset} learns in one process, found {distributed.world_size()}; only '
            'paper is learned by several.'
        )
    length = _length(settings, minutes, steps)
    choices = {
        'preset': preset,
        'seed': seed,
        'recording': str(multiview.root),
        'minutes': minutes,
        'steps': steps,
        'parts': parts,
    }
    if not isinstance(settings, PaperPreset):
        # The paper's joints are found when all is learned, from whichever root is asked for then.
        choices['root_part'] = root_part
    store = CheckpointStore.beside(out, choices)
    run = LearningRun(seed, chosen, progress or QuietProgress(), stop or threading.Event(), store)
    if not resume and distributed.rank() == 0:
        store.clear()
    distributed.wait_for_all()
    learner = _Learner(run, multiview, length)
    info = {'preset': preset, 'seed': seed, 'minutes': minutes, 'steps': steps}
    try:
        model = learner.learn(settings, StructureConfig(root_part=root_part), info)
        if distributed.rank() == 0:
            run.reporter('save')(0.0)
            model.save(out)
            store.clear()
    finally:
        run.progress.close()
    distributed.wait_for_all()
    return model


def _length(
    settings: FastPreset | PaperPreset, minutes: float | None, steps: int | None
) -> _Length:
    if minutes is not None and steps is not None:
        raise LearningError(
            f'Learning takes minutes or steps, found both: {minutes} minutes and {steps} steps.'
        )
    if steps is None and minutes is None:
        minutes = settings.minutes
    return _Length(None if minutes is None else 60.0 * minutes, steps)


class _Learner:
    """The steps of learning, in the order of what each needs."""

    def __init__(self, run: LearningRun, multiview: Multiview, length: _Length):
        self.run, self.multiview, self.length = run, multiview, length

    def learn(
        self, settings: FastPreset | PaperPreset, structure_config: StructureConfig, info: dict
    ) -> ArticulatedModel:
        """Return the model."""
        self.run.reporter('hull')(0.0)
        normalisation = normalise(self.multiview, radius=settings.scene_radius)
        if isinstance(settings, PaperPreset):
            motion, surface = self._paper(settings, normalisation)
            with self.run.uninterrupted('structure'):
                structure = find_structure(motion, structure_config)
        else:
            motion, surface, tree = self._fast(settings, normalisation, structure_config)
            structure = structure_of(tree, motion)
        return ArticulatedModel(
            info={
                **info,
                'units': self.multiview.units,
                'views': len(self.multiview.training_views),
                'frames': len(motion.frames_F),
                'parts': motion.parts,
                'links': len(structure.skeleton.links),
                'joints': len(structure.skeleton.movable),
                'seconds_to_learn': round(self.run.spent_s, 1),
            },
            normalisation=normalisation,
            motion=motion,
            found=structure.to_world(normalisation),
            surface=surface.eval().requires_grad_(False),
            background=self.multiview.background,
        )

    def _fast(
        self,
        settings: FastPreset,
        normalisation: SceneNormalisation,
        structure_config: StructureConfig,
    ) -> tuple[PartMotion, Surface, ProposedTree]:
        with one_thread():
            tree, motion = self._joints(settings, normalisation, structure_config)
        run = self.run
        pixels = SurfacePixels(
            self.multiview,
            motion.frames_F,
            normalisation,
            settings.image_size,
            run.device,
            run.reporter('pixels'),
            run.stopper('pixels'),
        )
        first_weights = torch.Generator().manual_seed(run.seed)
        stage = SurfaceStage(
            motion, pixels, settings.surface, settings.surface_stage, first_weights, run.device
        )
        length = self._share(settings.surface_share)
        run.run_stage(stage, steps=length.steps, seconds=length.seconds)
        return stage.result(), stage.surface, tree

    def _joints(
        self,
        settings: FastPreset,
        normalisation: SceneNormalisation,
        structure_config: StructureConfig,
    ) -> tuple[ProposedTree, PartMotion]:
        """Return the tree of joints, and the parts that move as it says."""
        run, frames = self.run, self.multiview.training_frames
        check_frames(frames)
        pixels = FittingPixels.read(
            self.multiview, frames, normalisation, settings.fitting.short_side, run.device
        )
        processes = settings.processes
        if processes is None:
            processes = processes_for(run.device)
        turns = math.ceil(settings.restarts / processes)
        restarts = [
            Restart(
                number, start, pixels, frames, settings.fitting, structure_config,
                settings.skeleton, self._share(settings.parts_share / turns),
                self._share(settings.joints_share / turns),
            )
            for number, start in enumerate(first_frames(pixels, settings.restarts), start=1)
        ]  # fmt: skip
        return choose_joints(
            learn_side_by_side(run, restarts, processes),
            pixels,
            settings.skeleton,
            run,
            search_s=self._search_s(settings),
            last_budget=self._share(settings.last_share),
            prune_s=self._share(settings.prune_share).seconds,
        )

    def _search_s(self, settings: FastPreset) -> float | None:
        """Return the seconds to choose joints, less what proposing them took too long."""
        if self.length.seconds is None:
            return None
        until = (
            settings.parts_share + settings.joints_share + settings.proposing_share
            + settings.search_share
        )  # fmt: skip
        left_s = until * self.length.seconds - self.run.spent_s
        return max(0.0, min(left_s, settings.search_share * self.length.seconds))

    def _share(self, share: float) -> Budget:
        """Return a share of the seconds, or all steps, which every stage takes."""
        if self.length.steps is not None:
            return Budget(steps=self.length.steps)
        return Budget(seconds=share * self.length.seconds)

    def _paper(
        self, settings: PaperPreset, normalisation: SceneNormalisation
    ) -> tuple[PartMotion, Surface]:
        run, config = self.run, settings.learning
        source = ImageBatchSource.from_multiview(
            self.multiview, normalisation, size=config.size, device=run.device
        )
        result = train_paper(
            source,
            self.multiview.training_frames,
            config,
            seed=run.seed,
            generator=run.generator,
            steps=self.length.steps,
            seconds=self.length.seconds,
            progress=run.progress,
            stop=run.stop,
            checkpoints=run.store,
        )
        surface = Surface(
            result.model.raw_radii_P3.detach(),
            SurfaceConfig(decoder=config.model.decoder, samples=settings.samples),
            torch.Generator(),
        ).to(run.device)
        surface.decoder.load_state_dict(result.model.decoder.state_dict())
        surface.union.load_state_dict(result.model.union.state_dict())
        return result.motion, surface
