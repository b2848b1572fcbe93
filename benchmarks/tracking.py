"""Tracking of a learned robot in images that it was not learned from, against what must hold.

A robot is simulated and learned by the commands that a user runs.  Then it is filmed again: the
same motion at moments between those that were learned, and another motion that was never seen.
Writes `results/tracking_<date>_<device>.json`; see README.md beside this file.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
from provenance import REPOSITORY, write_results
from verdicts import Verdict, all_hold, print_missed, verdict

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.tracking import TrackedView
from posefield.data.multiview import Multiview
from posefield.evaluation.evaluate_articulation import found_motion, load_truth
from posefield.evaluation.tracking_errors import same_joints, tracking_summary

POSEFIELD = (sys.executable, '-m', 'posefield.cli')
URDF = 'kuka_iiwa/model.urdf'
CAMERAS, SIZE, LEARNED_HZ, LEARNED_FRAMES = 5, 128, 15.0, 75
LEAST_HZ, MOST_ERROR_DEG = 5.0, 5.0
SAME, OTHER = 'same motion, other moments', 'another motion'


def run(*arguments: str) -> None:
    """Run `posefield <arguments>`; a failure ends the benchmark."""
    print(f'-- posefield {" ".join(arguments)}', flush=True)
    subprocess.run([*POSEFIELD, *arguments], check=True)


def simulate(folder: Path, seed: int, frames: int, rate_hz: float) -> Multiview:
    """Return a recording of the robot, all of whose frames are to learn from."""
    if not (folder / 'multiview.json').is_file():
        run(
            'articulation', 'simulate', URDF, '--views', str(CAMERAS), '--held-out-views', '0',
            '--frames', str(frames), '--held-out-frames', '0', '--rate', str(rate_hz), '--size',
            str(SIZE), '--seed', str(seed), '--out', str(folder),
        )  # fmt: skip
    return Multiview.load(folder)


def track(
    model: ArticulatedModel, learned: Multiview, filmed: Multiview, frames: Sequence[int]
) -> dict[str, Any]:
    """Track a recording from nothing and return the figures.

    Args:
        model: to track.
        learned: the recording that it was learned from, with its truth.
        filmed: another, with its truth.
        frames: of it to track, in order.
    """
    joints = same_joints(found_motion(model), load_truth(learned))
    found, seconds, scores, lost = [], [], [], 0
    previous = None
    for frame in frames:
        views = [
            TrackedView(
                filmed.read_image(view, frame), filmed.read_mask(view, frame), rig.camera,
                rig.T_world_cam,
            )
            for view, rig in enumerate(filmed.cameras)
        ]  # fmt: skip
        previous = model.track(views, previous, filmed.stamps_s[frame])
        found.append(previous.joint_positions)
        seconds.append(previous.seconds)
        scores.append(previous.score)
        lost += previous.lost
    true_TJ = load_truth(filmed).positions_FJ[list(frames)]
    return {
        **tracking_summary(joints, np.stack(found), true_TJ),
        'frames': len(frames),
        'lost': lost,
        'score': float(np.median(scores)),
        'first_s': seconds[0],
        'seconds_each': float(np.median(seconds[1:])),
        'rate_hz': float(1.0 / np.median(seconds[1:])),
    }


def verdicts(figures: dict[str, dict[str, Any]]) -> list[Verdict]:
    """Return what is required."""
    same = figures[SAME]
    error = same['joint_angle_error_deg']
    return [
        verdict(f'{SAME}: images a second', same['rate_hz'], at_least=LEAST_HZ),
        verdict(f'{SAME}: median joint angle error, deg', error, at_most=MOST_ERROR_DEG),
        verdict(f'{OTHER}: images a second', figures[OTHER]['rate_hz'], at_least=LEAST_HZ),
    ]


def show(name: str, figures: dict[str, Any]) -> None:
    """Print the figures of one recording."""
    error = figures['joint_angle_error_deg']
    print(
        f'\n{name}: {figures["rate_hz"]:.1f} Hz, score {figures["score"]:.2f}, '
        f'{figures["lost"]} of {figures["frames"]} lost, median error '
        f'{"-" if error is None else f"{error:.1f} deg"}'
    )
    for joint in figures['joints_followed']:
        print(
            f'  {joint["name"]:<20} {joint["found"]:<10} moved {joint["travel_deg"]:6.1f} deg, '
            f'axis off {joint["axis_error_deg"]:5.1f}, median {joint["median_error_deg"]:6.1f}, '
            f'90 % below {joint["p90_error_deg"]:6.1f}'
        )


def main() -> int:
    """Run the benchmark; 1 where something required does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_tracking')
    parser.add_argument('--model', type=Path, help='a learned model, instead of learning one')
    parser.add_argument('--learned', type=Path, help='the recording of --model, with its truth')
    parser.add_argument('--minutes', type=float, help="to learn; default: the preset's")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='where the results go')
    options = parser.parse_args()
    if (options.model is None) != (options.learned is None):
        parser.error('--model and --learned go together')
    work = options.work
    seed = options.seed
    model_folder = options.model or work / f'model_{seed}'
    if options.model is None:
        learned = simulate(work / f'learned_{seed}', seed, LEARNED_FRAMES, LEARNED_HZ)
        minutes = ('--minutes', str(options.minutes)) if options.minutes else ()
        run(
            'articulation', 'train', str(learned.root), '--out', str(model_folder), '--preset',
            'cpu', '--seed', str(seed), '--quiet', *minutes,
        )  # fmt: skip
    else:
        learned = Multiview.load(options.learned)
    model = ArticulatedModel.load(model_folder, 'cpu')
    between = simulate(work / f'between_{seed}', seed, 2 * LEARNED_FRAMES - 1, 2.0 * LEARNED_HZ)
    other = simulate(work / f'other_{seed}', seed + 1, LEARNED_FRAMES, LEARNED_HZ)
    figures = {
        SAME: track(model, learned, between, range(1, between.num_frames, 2)),
        OTHER: track(model, learned, other, range(other.num_frames)),
    }
    for name, found in figures.items():
        show(name, found)
    required = verdicts(figures)
    print()
    print_missed(required)
    about = {'seconds_to_learn': model.info.get('seconds_to_learn'), 'seed': seed}
    path = write_results(
        'tracking',
        {**about, 'tracking': figures, 'verdicts': required},
        path=options.json,
        private={'WORK': work},
    )
    print(f'results: {path}')
    return 0 if all_hold(required) else 1


if __name__ == '__main__':
    sys.exit(main())
