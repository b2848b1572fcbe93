"""The refiners against each other: one map, the same start poses, one run.

Each photo is refined from several seeded starts, all 10 % of the scene scale and 6 degrees off,
by NeFeS in both modes, by the two photometric baselines and by feature alignment.  Ratios are to
NeFeS mode b.  Writes `results/refiners_<date>_<device>.json`; see README.md beside this file.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from provenance import REPOSITORY, write_results
from scenes import CPU_PRESET, SCENES, SHORT_SIDE, learn_map, load_scene, small_scene
from verdicts import Verdict, all_hold, print_missed, verdict

from posefield.data.scene import Frame, Scene
from posefield.evaluation.evaluate_map import median_depth_at
from posefield.fields.scene_transform import scene_scale
from posefield.geometry.poses import perturbed, pose_errors
from posefield.learning.devices import select_device
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.refiners.gradient_config import GRADIENT_REFINERS, ITERATIONS

OURS, REFERENCE = 'field', 'nefes-b'
REFINERS = (*GRADIENT_REFINERS, OURS)
# What each map is learned with: how mode b gets its features differs.
MAPS = {
    'extracted': CPU_PRESET,
    'learned': (
        '--preset', 'paper-small', '--field', 'grid', '--features', 'gradient',
        '--regressor', 'compact',
    ),
    'paper': ('--preset', 'paper'),
}  # fmt: skip
START_SHARE = 0.1
START_DEG = 6.0
SEED = 0
RENDER_RATIO = 1 / 10
TIME_RATIO = 1 / 8


@dataclass(frozen=True)
class Start:
    """One problem that every refiner is given; `depth` is the median of the photo, map units."""

    frame: Frame
    T_map_cam: np.ndarray
    depth: float


@dataclass(frozen=True)
class Answer:
    """What a refiner made of a start: errors in percent of the depth and in degrees."""

    percent: float
    rotation_deg: float
    renders: int
    seconds: float


def starts_of(scene: Scene, localizer: Localizer, every: int, count: int) -> list[Start]:
    """Return `count` starts of every N-th query; each query has its own, whatever N is."""
    poses = [f.T_map_cam for f in scene.split('train') if f.T_map_cam is not None]
    distance = START_SHARE * scene_scale(np.stack(poses))
    starts = []
    for number, frame in enumerate(scene.split('test')):
        if number % every or frame.T_map_cam is None:
            continue
        generator = np.random.default_rng([SEED, number])
        depth = median_depth_at(localizer, frame.camera, frame.T_map_cam)
        for _ in range(count):
            T_start = perturbed(frame.T_map_cam, distance, START_DEG, generator)
            starts.append(Start(frame, T_start, depth))
    return starts


def answer(localizer: Localizer, start: Start) -> Answer:
    """Return what the refiners of a localizer make of a start.

    The time is that of the whole call: image in, pose with covariance and score out.
    """
    image = start.frame.read_image()
    begin_s = time.perf_counter()
    found = localizer.refine(image, start.frame.camera, start.T_map_cam)
    seconds = time.perf_counter() - begin_s
    errors = pose_errors(found.T_map_cam, start.frame.T_map_cam)
    percent = 100.0 * errors.translation / start.depth if start.depth > 0 else float('inf')
    return Answer(percent, errors.rotation_deg, found.renders, seconds)


def summary(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the medians, and the recall at 2 % of the depth and 1 degree."""
    percent, rotation, renders, seconds = (
        np.array(column) for column in zip(*(asdict(one).values() for one in answers), strict=True)
    )
    return {
        'median_percent': float(np.median(percent)),
        'median_deg': float(np.median(rotation)),
        'recall': float(np.mean((percent < 2.0) & (rotation < 1.0))),
        'renders': float(np.median(renders)),
        'seconds': float(np.median(seconds)),
    }


def with_ratios(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return the figures with renders and seconds as multiples of the reference's."""
    reference = figures.get(REFERENCE)
    return {
        name: {
            **found,
            **{
                f'{key}_ratio': None if reference is None else found[key] / reference[key]
                for key in ('renders', 'seconds')
            },
        }
        for name, found in figures.items()
    }


def measure_scene(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of every refiner in one scene."""
    folder = arguments.work / name
    scene = small_scene(load_scene(name, arguments.data, arguments.work), folder)
    kind = arguments.map_field
    map_folder = folder / ('map' if kind == 'extracted' else f'map_{kind}')
    options = (*MAPS[kind], '--device', arguments.device)
    learned_s = learn_map(scene, map_folder, arguments.steps, options)
    base = Localizer.load(map_folder, arguments.device)
    device = select_device(arguments.device)
    localizers = {
        refiner: Localizer(
            base.bundle,
            base.config.with_refiner(
                refiner, arguments.iterations if refiner in GRADIENT_REFINERS else None
            ),
            device,
        )
        for refiner in arguments.refiners
    }
    starts = starts_of(scene, base, arguments.every, arguments.starts)
    answers = refined(name, localizers, starts)
    figures = with_ratios({refiner: summary(said) for refiner, said in answers.items()})
    print_table(name, figures)
    return {
        'train_photos': len(scene.split('train')),
        'starts': len(starts),
        'synthesizer': base.bundle.synthesizer.to_config(),
        'seconds_to_learn': round(learned_s, 1),
        'refiners': figures,
        'answers': {refiner: _details(starts, said) for refiner, said in answers.items()},
    }


def refined(
    name: str, localizers: dict[str, Localizer], starts: Sequence[Start]
) -> dict[str, list[Answer]]:
    """Return the answers of every refiner, which take turns so that all meet the same load."""
    for localizer in localizers.values():
        answer(localizer, starts[0])  # What is set up once is nobody's time.
    answers: dict[str, list[Answer]] = {refiner: [] for refiner in localizers}
    progress = make_progress(False)
    progress.start(name, True)
    for done, start in enumerate(starts):
        for refiner, localizer in localizers.items():
            answers[refiner].append(answer(localizer, start))
        progress.update(name, (done + 1) / len(starts), {}, None)
    progress.close()
    return answers


def _details(starts: Sequence[Start], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return every answer, with the name of its photo."""
    return [
        {'photo': start.frame.name, **{key: round(x, 4) for key, x in asdict(said).items()}}
        for start, said in zip(starts, answers, strict=True)
    ]


def print_table(scene: str, figures: dict[str, dict[str, float | None]]) -> None:
    """Print one line for each refiner."""
    print(
        f'{scene:<20} {"median":>16} {"recall":>7} {"renders":>8} {"seconds":>8} '
        f'{"renders and seconds / " + REFERENCE:>34}'
    )
    for refiner, found in figures.items():
        ratios = [found['renders_ratio'], found['seconds_ratio']]
        shown = ['-' if ratio is None else f'{ratio:.3f}' for ratio in ratios]
        print(
            f'  {refiner:<18} {found["median_percent"]:>7.3f} %/{found["median_deg"]:<6.3f} '
            f'{found["recall"]:>7.3f} {found["renders"]:>8.0f} {found["seconds"]:>8.3f} '
            f'{"  ".join(shown):>34}',
            flush=True,
        )


def verdicts(scenes: dict[str, Any]) -> list[Verdict]:
    """Return what feature alignment must reach beside mode b, where both were measured."""
    rows = []
    for scene, content in scenes.items():
        figures = content['refiners']
        if not {OURS, REFERENCE} <= set(figures):
            continue
        ours, reference = figures[OURS], figures[REFERENCE]
        for key in ('median_percent', 'median_deg'):
            rows.append(verdict(f'{scene}: {key}', ours[key], at_most=reference[key]))
        rows.append(verdict(f'{scene}: recall', ours['recall'], at_least=reference['recall']))
        for key, bound in (('renders_ratio', RENDER_RATIO), ('seconds_ratio', TIME_RATIO)):
            rows.append(verdict(f'{scene}: {key}', ours[key], at_most=bound))
    return rows


def parsed_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, default=REPOSITORY.parent / 'shared' / 'data')
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_peers')
    parser.add_argument('--scenes', nargs='+', choices=SCENES, default=['fox', 'blocks', 'room'])
    parser.add_argument('--refiners', nargs='+', choices=REFINERS, default=list(REFINERS))
    parser.add_argument('--iterations', type=int, default=ITERATIONS, help='of gradient refiners')
    parser.add_argument('--starts', type=int, default=3, help='start poses a photo')
    parser.add_argument('--every', type=int, default=4, help='only every N-th query')
    parser.add_argument('--steps', type=int, default=800, help='to learn each map')
    parser.add_argument(
        '--map-field',
        choices=list(MAPS),
        default='extracted',
        help='mode b extracts features from renders, or a grid has learned them, or '
        'everything is as in the paper (for a GPU)',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda')
    parser.add_argument('--no-results', action='store_true', help='only print')
    return parser.parse_args()


def main() -> int:
    """Measure, print and write the results; return 1 when something does not hold."""
    arguments = parsed_arguments()
    scenes = {name: measure_scene(name, arguments) for name in arguments.scenes}
    required = verdicts(scenes)
    print_missed(required)
    if not arguments.no_results:
        document = {
            'map_field': arguments.map_field,
            'map_options': MAPS[arguments.map_field],
            'steps': arguments.steps,
            'short_side': SHORT_SIDE,
            'every': arguments.every,
            'starts_per_photo': arguments.starts,
            'start': {'scene_scale_share': START_SHARE, 'degrees': START_DEG, 'seed': SEED},
            'iterations': arguments.iterations,
            'requirements': required,
            'scenes': scenes,
        }
        kind = arguments.map_field
        name = 'refiners' if kind == 'extracted' else f'refiners_{kind}'
        print(f'wrote {write_results(name, document)}')
    return 0 if all_hold(required) else 1


if __name__ == '__main__':
    sys.exit(main())
