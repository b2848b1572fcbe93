"""What the required times on a GPU come to: iterations of two papers, and feature alignment.

(a) One iteration of mode b at the paper's size: 60x80 pixels, so 4800 rays, 64 coarse and 64
further fine samples, MlpField 8x128 with 128 features, exposure and fusion.  Weights are random,
which changes nothing in the time.  (b) Feature alignment and the whole ladder, image in and pose
out, in a map that is learned here with the preset `gpu`.  (c) One iteration of mode a.  (d) One
iteration of Watch It Move at its published sizes.

Writes `results/gpu_<date>_<device name>.json`; see README.md beside this file.  With
`--device cpu --tiny` the same code runs at tiny sizes, to see that it works: times of that mean
nothing, so nothing is required and nothing is written.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
from datetime import datetime, timezone
import functools
import itertools
from pathlib import Path
import re
import statistics
import sys
import time
from typing import Any

from gpu_articulation import TINY_PAPER, PaperIteration, PaperSizes
import numpy as np
from provenance import REPOSITORY, RESULTS, write_results
from scenes import learn_map
import torch
from verdicts import Verdict, all_hold, print_missed, verdict

from posefield.data.scene import Frame, Scene
from posefield.data.simulate import simulate_scene
from posefield.errors import LearningError
from posefield.features.extractors import DenseExtractor
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.fusion import FusionConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.fields.scene_transform import SceneTransform, scene_scale
from posefield.geometry.camera import Camera
from posefield.geometry.poses import perturbed
from posefield.learning.devices import select_device
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.adam import descend
from posefield.relocalization.refiners.field_alignment import FieldAligner, FieldAlignmentConfig
from posefield.relocalization.refiners.gradient_config import GRADIENT_REFINERS
from posefield.relocalization.refiners.gradient_refiner import PROBLEMS, Problem, RefinedMap
from posefield.relocalization.refiners.synthesis import synthesis_of
from posefield.relocalization.regressors.dfnet import DFNet, DFNetConfig

NEAR, FAR, SCENE_SCALE = 0.1, 4.0, 1.0
START_SHARE, START_DEG, SEED = 0.1, 6.0, 0
REQUIRED_ITERATION_MS = 25.0
REQUIRED_ALIGNMENT_MS = 20.0
REQUIRED_WATCH_IT_MOVE_S = 0.2
# What the papers say of their own implementations; the last one on an A100.
PAPER = {
    'mode_b_iteration_ms': 145.0,
    'refinement_ms': 7200.0,
    'watch_it_move_iteration_ms': 860.0,
}


@dataclass(frozen=True)
class Room:
    """The simulated room, and how its map is learned."""

    train_views: int = 60
    test_views: int = 24
    width: int = 640
    height: int = 480
    preset: str = 'gpu'
    steps: int = 2000


@dataclass(frozen=True)
class Sizes:
    """What is measured; the defaults are the paper's sizes.

    Attributes:
        width, height: of the query, pixels.
        short_side: of the render.
        field, fusion, regressor: of the network.
        warm_up, repeats: runs before and while the clock counts.
        ways: out of WAYS, how an iteration of mode b is computed; empty for all.
        room: where feature alignment is measured.
        watch_it_move: what its iteration is measured on.
    """

    width: int = 320
    height: int = 240
    short_side: int = 60
    field: MlpFieldConfig = MlpFieldConfig()
    fusion: FusionConfig = FusionConfig()
    regressor: DFNetConfig = DFNetConfig(weights='random')
    warm_up: int = 10
    repeats: int = 50
    ways: tuple[str, ...] = ()
    room: Room = Room()
    watch_it_move: PaperSizes = PaperSizes()


TINY = Sizes(
    width=32,
    height=24,
    short_side=8,
    field=MlpFieldConfig(width=16, depth=3, skip=1, coarse_samples=6, fine_samples=6, features=8),
    fusion=FusionConfig(channels=8, width=8),
    regressor=DFNetConfig(channels=8, hidden=8, width_scale=0.0625, weights='random'),
    warm_up=1,
    repeats=2,
    ways=('plain', 'bfloat16', 'compiled'),
    room=Room(8, 3, 96, 72, 'cpu', 5),
    watch_it_move=TINY_PAPER,
)


def milliseconds(
    run: Callable[[], object], device: torch.device, warm_up: int, repeats: int
) -> dict[str, float]:
    """Return how long a run takes: median, and what 9 of 10 stay below.

    The device has finished before the clock starts and before it stops.
    """
    for _ in range(warm_up):
        run()
    taken = []
    for _ in range(repeats):
        _finish(device)
        begin_s = time.perf_counter()
        run()
        _finish(device)
        taken.append(1000.0 * (time.perf_counter() - begin_s))
    return {'median_ms': statistics.median(taken), 'p90_ms': float(np.percentile(taken, 90))}


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def random_map(sizes: Sizes, device: torch.device) -> tuple[RefinedMap, DenseExtractor]:
    """Return an untrained map of the paper's kind, and the extractor of its features."""
    config = {
        'kind': 'mlp',
        'field': sizes.field.to_dict(),
        'act': True,
        'fusion': sizes.fusion.to_dict(),
    }
    synthesizer = FeatureSynthesizer.from_config(config, torch.Generator().manual_seed(SEED))
    synthesizer = synthesizer.to(device).eval().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        regressor = DFNet(sizes.regressor).to(device).eval()
    extractor = regressor.extractor()
    transform = SceneTransform((0.0, 0.0, 0.0), 1.0, NEAR, FAR)
    aligner = FieldAligner(
        synthesizer.field, transform, extractor, FieldAlignmentConfig(), sizes.short_side, device
    )
    refined_map = RefinedMap(
        synthesise=lambda query: synthesis_of(
            synthesizer, transform, extractor, query, sizes.short_side, sizes.height
        ),
        aligner=aligner,
        regressor=regressor,
        reference_camera=_camera(sizes),
        scene_scale=SCENE_SCALE,
        field_per_map=1.0,
    )
    return refined_map, extractor


def _camera(sizes: Sizes) -> Camera:
    centre = ((sizes.width - 1) / 2.0, (sizes.height - 1) / 2.0)
    return Camera(sizes.width, sizes.height, sizes.width, sizes.width, *centre)


def problem_of(refiner: str, sizes: Sizes, device: torch.device) -> Problem:
    """Return what a gradient refiner minimises for one made-up query."""
    refined_map, extractor = random_map(sizes, device)
    generator = np.random.default_rng(SEED)
    image = generator.random((sizes.height, sizes.width, 3), dtype=np.float32)
    query = Query(SizedImage(image, _camera(sizes)), extractor, device)
    config = GRADIENT_REFINERS[refiner]
    start = torch.eye(4, dtype=torch.float64, device=device)
    return PROBLEMS[type(config)](refined_map, config, query, start)


def _as_it_is(device: torch.device) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext()


@contextlib.contextmanager
def _tf32(device: torch.device) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('high')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _bfloat16(device: torch.device) -> contextlib.AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16)


COMPILED = 'compiled'
# How an iteration can be computed; `plain` is what the refiners do.
WAYS = {
    'plain': _as_it_is,
    'tf32': _tf32,
    'bfloat16': _bfloat16,
    COMPILED: _as_it_is,
    f'{COMPILED} tf32': _tf32,
    f'{COMPILED} bfloat16': _bfloat16,
}


def iteration_times(
    refiner: str, sizes: Sizes, ways: Sequence[str], device: torch.device
) -> dict[str, Any]:
    """Return the time of one iteration, by how it is computed.

    A compiler of torch that does not work on this machine has its message as `unavailable`.

    Args:
        refiner: of GRADIENT_REFINERS.
        sizes: of everything.
        ways: out of WAYS.
        device: where it computes.
    """
    times: dict[str, Any] = {}
    for way in ways:
        problem = problem_of(refiner, sizes, device)
        compiled = way.startswith(COMPILED)
        objective = problem.objective
        if compiled:
            objective = torch.compile(objective.__call__)
        iterate = functools.partial(descend, problem.moving, objective, 1)
        try:
            with WAYS[way](device):
                times[way] = milliseconds(iterate, device, sizes.warm_up, sizes.repeats)
        except Exception as error:  # The compilers of torch raise errors of many kinds.
            if not compiled:
                raise
            times[way] = {'unavailable': ' '.join(str(error).split())[:300]}
        torch.compiler.reset()
        print_time(f'{refiner}, one iteration, {way}', times[way])
    return times


def watch_it_move_times(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return the time of one iteration of Watch It Move, by how it is computed.

    TF32 rounds the products in the networks, but not those that place points.
    """
    times = {}
    for way in ('plain', 'tf32'):
        iteration = PaperIteration(sizes.watch_it_move, device)
        with WAYS[way](device):
            times[way] = milliseconds(iteration, device, sizes.warm_up, sizes.repeats)
        print_time(f'Watch It Move, one iteration, {way}', times[way])
    return times


def localization_times(
    localizer: Localizer, frames: Sequence[Frame], device: torch.device, warm_up: int
) -> dict[str, Any]:
    """Return the time from an image to a pose: feature alignment, and the whole ladder.

    Feature alignment starts 10 % of the scene scale and 6 degrees away from the truth.
    """
    alignment = Localizer(localizer.bundle, localizer.config.with_refiner('field'), device)
    distance = START_SHARE * scene_scale(np.stack([frame.T_map_cam for frame in frames]))
    generator = np.random.default_rng(SEED)
    starts = [perturbed(f.T_map_cam, distance, START_DEG, generator) for f in frames]
    images = [frame.read_image() for frame in frames]
    calls = {
        'feature alignment': lambda i: alignment.refine(images[i], frames[i].camera, starts[i]),
        'whole ladder': lambda i: localizer.localize(images[i], frames[i].camera),
    }
    camera, times = frames[0].camera, {}
    for name, call in calls.items():
        numbers = itertools.cycle(range(len(frames)))
        localize = functools.partial(_call_next, call, numbers)
        times[name] = milliseconds(localize, device, warm_up, len(frames))
        print_time(f'{name}, an image of {camera.width}x{camera.height}', times[name])
    return times


def _call_next(call: Callable[[int], object], numbers: Iterator[int]) -> None:
    call(next(numbers))


def room_localizer(room: Room, work: Path, device: torch.device) -> tuple[Localizer, Scene]:
    """Return a localizer of the simulated room, learned with the command of a user."""
    scene = simulate_scene(
        work / 'scene',
        seed=SEED,
        train_views=room.train_views,
        test_views=room.test_views,
        width=room.width,
        height=room.height,
    )
    options = ('--preset', room.preset, '--device', str(device))
    learn_map(scene, work / 'map', room.steps, options)
    return Localizer.load(work / 'map', str(device)), scene


def print_time(what: str, found: dict[str, Any]) -> None:
    """Print one line."""
    if 'unavailable' in found:
        print(f'{what:<50} not here: {found["unavailable"]}', flush=True)
    else:
        print(f'{what:<50} {found["median_ms"]:9.2f} ms', flush=True)


def verdicts(figures: dict[str, Any]) -> list[Verdict]:
    """Return what is required of a GPU: of iterations as they are run, not at their best."""
    iteration = figures['mode_b_iteration']['plain']['median_ms']
    alignment = figures['localization']['feature alignment']['median_ms']
    watch_s = figures['watch_it_move_iteration']['plain']['median_ms'] / 1000.0
    return [
        verdict('mode b, one iteration: ms', iteration, at_most=REQUIRED_ITERATION_MS),
        verdict('feature alignment, an image: ms', alignment, at_most=REQUIRED_ALIGNMENT_MS),
        verdict('Watch It Move, one iteration: s', watch_s, at_most=REQUIRED_WATCH_IT_MOVE_S),
    ]


def measure(sizes: Sizes, work: Path, device: torch.device) -> dict[str, Any]:
    """Return all figures."""
    mode_b = iteration_times('nefes-b', sizes, sizes.ways or tuple(WAYS), device)
    mode_a = iteration_times('nefes-a', sizes, ('plain',), device)
    watch_it_move = watch_it_move_times(sizes, device)
    localizer, scene = room_localizer(sizes.room, work, device)
    frames = scene.split('test')
    return {
        'mode_b_iteration': mode_b,
        'mode_a_iteration': mode_a,
        'watch_it_move_iteration': watch_it_move,
        'localization': localization_times(localizer, frames, device, sizes.warm_up),
    }


def results_file(device: torch.device) -> Path:
    """Return the file of today and this GPU."""
    name = re.sub(r'[^a-z0-9]+', '-', torch.cuda.get_device_name(device).lower()).strip('-')
    return RESULTS / f'gpu_{datetime.now(timezone.utc):%Y-%m-%d}_{name}.json'


def main() -> int:
    """Measure, print and write the results; return 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda', help='cuda or cuda:N; cpu only with --tiny')
    parser.add_argument('--tiny', action='store_true', help='check the code, claim nothing')
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_gpu')
    parser.add_argument('--no-results', action='store_true', help='only print')
    arguments = parser.parse_args()
    try:
        device = select_device(arguments.device)
    except LearningError as error:
        parser.error(str(error))
    if device.type == 'cpu' and not arguments.tiny:
        parser.error('times on a CPU say nothing about a GPU: without --tiny it must be cuda')
    sizes = TINY if arguments.tiny else Sizes()
    work = arguments.work / ('tiny' if arguments.tiny else 'full')
    figures = measure(sizes, work, device)
    if arguments.tiny:
        print('tiny sizes: these times are no results')
        return 0
    required = verdicts(figures)
    print_missed(required)
    if not arguments.no_results:
        document = {
            'device': torch.cuda.get_device_name(device),
            'requirements': required,
            'paper': PAPER,
            **figures,
        }
        print(f'wrote {write_results("gpu", document, path=results_file(device))}')
    return 0 if all_hold(required) else 1


if __name__ == '__main__':
    sys.exit(main())
