"""Learning a model from cameras that are running: record, mask, learn; all of it in one thread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
import math
from pathlib import Path
import tempfile
import threading
import time

from posefield.articulation.described_model import DescribedModel
from posefield.articulation.learning import learn_articulation
from posefield.articulation.model_bundle import MODEL_KIND
from posefield.articulation.presets import (
    FastPreset,
    PaperPreset,
    preset_named,
    with_parts,
)
from posefield.data.live_recording import LiveConfig, LiveRecorder, LiveView
from posefield.data.multiview import MULTIVIEW_KIND, Multiview
from posefield.errors import DataError, LearningError, LearningInterrupted
from posefield.learning.devices import select_device
from posefield.storage import ensure_replaceable

# How long to wait for the next images before looking whether to stop.
POLL_S = 0.1
# A moment is in time after this share of the step between two, since stamps jitter.
EARLY = 0.9

# Gives the stamp in seconds and the views of the next moment; None where none came for a while.
NextMoment = Callable[[float], tuple[float, Mapping[str, LiveView]] | None]


@dataclass(frozen=True)
class LearnRequest:
    """What is asked for.

    Attributes:
        model: folder to write.
        seconds, frames: how long to record, or how many moments; the other one is 0.
        recording: folder of a recording to learn from; None records.
        preset, minutes, steps, parts, seed, resume: as `learn_articulation` takes them.
        device: where to learn.

    Raises:
        LearningError: for numbers that are out of range or contradict each other.
    """

    model: Path
    seconds: float = 0.0
    frames: int = 0
    recording: Path | None = None
    preset: str = 'auto'
    minutes: float | None = None
    steps: int | None = None
    parts: int | None = None
    seed: int = 0
    resume: bool = False
    device: str = 'auto'

    def __post_init__(self):
        for name in ('seconds', 'frames', 'minutes', 'steps', 'parts'):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise LearningError(f'{name} must be a number from 0, found {value}.')
        if self.minutes is not None and self.steps is not None:
            raise LearningError(
                f'Learning takes minutes or steps, found both: {self.minutes} minutes and '
                f'{self.steps} steps.'
            )
        if self.records and (self.seconds > 0) == (self.frames > 0):
            raise LearningError(
                f'Recording takes seconds or frames, found {self.seconds:g} seconds and '
                f'{self.frames} frames.'
            )
        # An unknown preset and too few parts are told before anything is recorded.
        _ = self.settings

    @property
    def settings(self) -> FastPreset | PaperPreset:
        """The preset with the parts asked for."""
        preset = preset_named(self.preset, select_device(self.device).type)
        return with_parts(preset, self.parts or None)

    @property
    def records(self) -> bool:
        """Whether the cameras are recorded."""
        return self.recording is None and not self.resume

    @property
    def source(self) -> Path:
        """Where the recording lies that is learned from."""
        return self.recording or recording_beside(self.model)


def recording_beside(model: Path) -> Path:
    """Return where the recording lies that a model is learned from: `<model>.recording`."""
    model = model.resolve()
    return model.with_name(f'{model.name}.recording')


@dataclass(frozen=True)
class LearningStatus:
    """How far it is; fields as in the feedback of the action."""

    stage: str = 'waiting'
    progress: float = 0.0
    sets: int = 0
    iteration: int = 0
    loss: float = math.nan
    psnr: float = math.nan
    parts: int = 0
    seconds_left: float = math.nan


class LiveProgress:
    """A `Progress` of learning that others can look at, from any thread.

    Args:
        budget_s: seconds that learning takes in all; None where steps are counted.
        parts: that the preset fits.
    """

    def __init__(self, budget_s: float | None, parts: int):
        self._budget_s = budget_s
        self._parts = parts
        self._begun_s: float | None = None
        self._status = LearningStatus()

    @property
    def status(self) -> LearningStatus:
        """How far it is."""
        return self._status

    def recorded(self, sets: int, fraction: float, seconds_left: float) -> None:
        """Take how far recording is."""
        left_s = seconds_left + (math.nan if self._budget_s is None else self._budget_s)
        self._status = LearningStatus('recording', fraction, sets, seconds_left=left_s)

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """See `Progress`."""
        self._status = replace(
            self._status, stage=stage, progress=0.0, iteration=0, loss=math.nan, psnr=math.nan
        )

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """See `Progress`."""
        steps = int(metrics.get('steps', 0))
        self._status = LearningStatus(
            stage=stage,
            progress=fraction,
            sets=self._status.sets,
            iteration=steps,
            loss=metrics.get('loss', math.nan),
            psnr=metrics.get('psnr', math.nan),
            parts=self._parts if steps else self._status.parts,
            seconds_left=self._left_s(seconds_left),
        )

    def learning(self) -> None:
        """Begin to count the budget."""
        self._begun_s = time.monotonic()

    def close(self) -> None:
        """See `Progress`."""

    def _left_s(self, of_stage_s: float | None) -> float:
        """Return what is left in all: of the budget, but not less than of the stage."""
        left_s = math.nan if of_stage_s is None else of_stage_s
        if self._budget_s is None:
            return left_s
        spent_s = 0.0 if self._begun_s is None else time.monotonic() - self._begun_s
        return max(self._budget_s - spent_s, 0.0 if math.isnan(left_s) else left_s)


@dataclass(frozen=True)
class RecordingRules:
    """How cameras are recorded.

    Attributes:
        live: how the recording is made.
        rate_hz: moments a second at most, by their stamps; 0 takes all.
        timeout_s: recording fails when no moment has come for so long.
    """

    live: LiveConfig = LiveConfig()
    rate_hz: float = 0.0
    timeout_s: float = 10.0


def make_progress(request: LearnRequest) -> LiveProgress:
    """Return the progress of a request."""
    settings = request.settings
    is_fast = isinstance(settings, FastPreset)
    parts = settings.fitting.parts if is_fast else settings.learning.model.parts
    minutes = None
    if request.steps is None:
        minutes = request.minutes or settings.minutes
    return LiveProgress(None if minutes is None else 60.0 * minutes, parts)


def learn_live(
    request: LearnRequest,
    next_moment: NextMoment,
    rules: RecordingRules,
    progress: LiveProgress,
    stop: threading.Event,
    on_problem: Callable[[str], None],
) -> DescribedModel:
    """Record where that is asked for, learn, and return the model as it lies on disk.

    Args:
        request: what to do.
        next_moment: waits for the next images of the cameras, not longer than it is told.
        rules: how to record.
        progress: takes how far it is.
        stop: ends the work at the next chance.
        on_problem: told, in a sentence, of images that could not be used.

    Raises:
        LearningInterrupted: when stopped: while recording nothing is kept; while learning the
            recording and a checkpoint are, for a request that resumes.
        PosefieldError: when it cannot be done, in a sentence.
    """
    ensure_replaceable(request.model, MODEL_KIND)
    if request.records:
        ensure_replaceable(request.source, MULTIVIEW_KIND)
        record_live(request, next_moment, rules, progress, stop, on_problem)
    elif not request.source.is_dir():
        raise DataError(f'There is no recording {request.source} to learn from.')
    recording = Multiview.load(request.source)
    progress.learning()
    learn_articulation(
        recording,
        request.preset,
        request.model,
        device=request.device,
        minutes=request.minutes or None,
        steps=request.steps or None,
        parts=request.parts or None,
        seed=request.seed,
        resume=request.resume,
        progress=progress,
        stop=stop,
    )
    return DescribedModel.load(request.model, request.device)


def record_live(
    request: LearnRequest,
    next_moment: NextMoment,
    rules: RecordingRules,
    progress: LiveProgress,
    stop: threading.Event,
    on_problem: Callable[[str], None],
) -> Multiview:
    """Record the cameras and mask what they saw; see `learn_live`."""
    request.source.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=request.source.parent, prefix='.recording-') as folder:
        recorder = LiveRecorder(Path(folder), rules.live)
        _take_moments(recorder, request, next_moment, rules, progress, stop, on_problem)
        progress.start('masks', True)

        def on_image(done: int, total: int) -> None:
            _check_stop(stop, recorder)
            progress.update('masks', min(1.0, done / total), {}, None)

        return recorder.finish(request.source, on_image=on_image)


def _take_moments(
    recorder: LiveRecorder,
    request: LearnRequest,
    next_moment: NextMoment,
    rules: RecordingRules,
    progress: LiveProgress,
    stop: threading.Event,
    on_problem: Callable[[str], None],
) -> None:
    last_stamp_s, problems = -math.inf, []
    heard_s = begun_s = time.monotonic()
    progress.recorded(0, 0.0, request.seconds)
    while (done := _recorded_share(recorder, request)) < 1.0:
        _check_stop(stop, recorder)
        moment = next_moment(POLL_S)
        now_s = time.monotonic()
        if now_s - heard_s > rules.timeout_s:
            raise DataError(
                f'No synchronised images that can be recorded have come for '
                f'{now_s - heard_s:.1f} s; {recorder.moments} moments were recorded before.'
                f'{" ".join(["", *problems[-1:]])}'
            )
        if moment is None:
            continue
        stamp_s, views = moment
        if rules.rate_hz > 0 and 0 <= stamp_s - last_stamp_s < EARLY / rules.rate_hz:
            continue
        last_stamp_s, before = stamp_s, recorder.moments
        problems = recorder.add(stamp_s, views)
        for problem in problems:
            on_problem(problem)
        if recorder.moments > before:
            heard_s = now_s
        done = _recorded_share(recorder, request)
        left_s = (now_s - begun_s) * (1.0 - done) / max(done, 1e-6)
        progress.recorded(recorder.moments, done, min(left_s, 1e6))


def _recorded_share(recorder: LiveRecorder, request: LearnRequest) -> float:
    if request.frames:
        return min(1.0, recorder.moments / request.frames)
    return min(1.0, recorder.seconds / request.seconds)


def _check_stop(stop: threading.Event, recorder: LiveRecorder) -> None:
    if stop.is_set():
        raise LearningInterrupted(
            f'Recording was stopped after {recorder.moments} moments; nothing was kept.'
        )
