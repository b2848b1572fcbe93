"""Training a feature synthesizer from start to end."""

from collections.abc import Sequence
from dataclasses import dataclass
import threading

import numpy as np
import torch

from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import StageResult, run_stage
from posefield.learning.progress import Progress
from posefield.relocalization.nefes_config import (
    PUBLISHED_STAGES,
    NefesStageConfig,
    stage_budgets,
)
from posefield.relocalization.nefes_data import NefesViews
from posefield.relocalization.nefes_stage import NefesStage
from posefield.relocalization.pose_correction import PoseCorrection


@dataclass(frozen=True)
class NefesResult:
    """What training came to.

    Attributes:
        stages: by name.
        T_field_cam_N44: float64 poses of the photos that the field agrees with, in the frame
            of the original ones: corrected where they were learned too.
    """

    stages: dict[str, StageResult]
    T_field_cam_N44: np.ndarray


def train_nefes(
    synthesizer: FeatureSynthesizer,
    views: NefesViews,
    stages: Sequence[NefesStageConfig] = PUBLISHED_STAGES,
    *,
    seed: int,
    generator: torch.Generator,
    steps: int | None = None,
    seconds: float | None = None,
    learn_poses: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoints: CheckpointStore | None = None,
) -> NefesResult:
    """Train a synthesizer in place, stage by stage, and leave it ready to render.

    With checkpoints, a run that was stopped goes on in the stage where it was.

    Args:
        synthesizer: on the device of the views.
        views: the training photos.
        stages: in their order; those with `continues` go on with the optimiser of the one before.
        seed: of the batches, the same in every process of a distributed training.
        generator: of what is random in each process.
        steps: of all stages together; so is `seconds`.  Without either, the stages have all
            their epochs.
        seconds: see `steps`.
        learn_poses: whether training poses are learned too (NeRF--).
        progress, stop, checkpoints: see `run_stage`.
    """
    poses = PoseCorrection(views.T_field_cam_N44).to(views.device) if learn_poses else None
    budgets = stage_budgets(stages, len(views), steps=steps, seconds=seconds)
    results: dict[str, StageResult] = {}
    before: NefesStage | None = None
    for number, (config, budget) in enumerate(zip(stages, budgets, strict=True)):
        stage = NefesStage(config, views, synthesizer, seed + number, poses=poses, before=before)
        results[config.name] = run_stage(
            stage,
            generator=generator,
            steps=budget.steps,
            deadline_s=budget.seconds,
            progress=progress,
            stop=stop,
            checkpoints=checkpoints,
        )
        before = stage
    synthesizer.eval()
    T_field_cam = views.T_field_cam_N44 if poses is None else poses.poses()
    return NefesResult(results, T_field_cam.double().cpu().numpy())
