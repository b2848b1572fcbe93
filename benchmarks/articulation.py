"""Joints, images and times of articulated models, against what must hold.

Runs the commands that a user runs, each in a process of its own: robots simulated with their
truth, several seeds each, and real video.  Writes `results/articulation_<date>_<device>.json`;
see README.md beside this file.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import time
from typing import Any

from provenance import REPOSITORY, write_results
from urdf_check import kinematics_errors
from verdicts import Verdict, all_hold, print_missed, verdict

from posefield.articulation.articulated_model import ArticulatedModel

POSEFIELD = (sys.executable, '-m', 'posefield.cli')
SIMULATED = ('--views', '5', '--held-out-views', '2', '--frames', '75', '--size', '96')
KINEMATICS_TOLERANCE = 1e-4
KUKA, TREADMILL = 'kuka_iiwa', 'treadmill'
SEEDS_THAT_MAY_FAIL = 1


@dataclass(frozen=True)
class Robot:
    """A robot of pybullet_data and what is required of it.

    Attributes:
        urdf: its file there.
        joint_error: at most, in scene radii.
        axis_error_deg: at most, mean over the joints found; None where nothing is required.
        minutes: that the train command may take.
        options: of the train command.
    """

    urdf: str
    joint_error: float
    axis_error_deg: float | None
    minutes: float
    options: tuple[str, ...] = ()


ROBOTS = {
    KUKA: Robot('kuka_iiwa/model.urdf', 0.02, 8.0, 6.0),
    'franka_panda': Robot('franka_panda/panda.urdf', 0.03, 10.0, 12.0, ('--minutes', '11.5')),
    'xarm6': Robot('xarm/xarm6_robot.urdf', 0.03, 10.0, 12.0, ('--minutes', '11.5')),
    # It has 13 links: three parts each.
    'laikago': Robot(
        'laikago/laikago_toes.urdf', 0.05, None, 15.0, ('--minutes', '14', '--parts', '39')
    ),
}
# What must hold for images of the first robot.
LEAST_PSNR, LEAST_MASK_IOU, POSE_PSNR_LOSS, KUKA_AXIS_DEG = 24.0, 0.88, 1.5, 10.0


class Bench:
    """Runs commands in a work folder, and keeps what they took."""

    def __init__(self, work: Path, options: argparse.Namespace):
        self.work, self.options = work, options
        self.commands: list[dict[str, Any]] = []

    def run(self, *arguments: str) -> float:
        """Run `posefield <arguments>` and return its seconds; a failure ends the benchmark."""
        print(f'-- posefield {" ".join(arguments)}', flush=True)
        begin_s = time.monotonic()
        process = subprocess.Popen([*POSEFIELD, *arguments])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f'posefield {arguments[1]} ended with code {process.returncode}')
        seconds = time.monotonic() - begin_s
        self.commands.append(
            {
                'command': ' '.join(arguments),
                'seconds': round(seconds, 1),
                'peak_mb': round(usage.ru_maxrss / 1024),
            }
        )
        return seconds

    def robot(self, name: str, robot: Robot, seed: int) -> dict[str, Any]:
        """Simulate, learn and measure a robot once."""
        data, model = self.work / f'{name}_data', self.work / f'{name}_{seed}_model'
        if not (data / 'multiview.json').is_file():
            self.run('articulation', 'simulate', robot.urdf, *SIMULATED, '--out', str(data))
        seconds = self.run(
            'articulation', 'train', str(data), '--out', str(model), '--preset', 'cpu',
            '--seed', str(seed), '--quiet', *robot.options,
        )  # fmt: skip
        # The baseline is the same for all seeds of a model.
        baseline = self.options.template_minutes if seed == self.options.seeds[0] else 0.0
        figures = self.evaluate(f'{name}_{seed}', model, data, baseline)
        kinematics = kinematics_errors(
            ArticulatedModel.load(model, 'cpu'), self.work / f'{name}_{seed}_urdf'
        )
        return {**figures, 'train_seconds': round(seconds, 1), 'urdf_kinematics': kinematics}

    def treadmill(self) -> dict[str, Any]:
        """Learn and measure the person on the treadmill."""
        data, model = self.work / f'{TREADMILL}_data', self.work / f'{TREADMILL}_model'
        if not (data / 'multiview.json').is_file():
            self.run(
                'articulation', 'import', str(self.options.data / TREADMILL), '--format',
                'videos', '--out', str(data),
            )  # fmt: skip
        seconds = self.run(
            'articulation', 'train', str(data), '--out', str(model), '--preset', 'cpu', '--quiet',
        )  # fmt: skip
        figures = self.evaluate(TREADMILL, model, data, self.options.template_minutes)
        return {**figures, 'train_seconds': round(seconds, 1)}

    def evaluate(
        self, name: str, model: Path, data: Path, template_minutes: float
    ) -> dict[str, Any]:
        """Measure a model and return its figures."""
        json_file = self.work / f'{name}.json'
        template = ('--template-minutes', str(template_minutes)) if template_minutes else ()
        self.run(
            'articulation', 'evaluate', str(model), str(data), '--quiet', '--json',
            str(json_file), '--report', str(self.work / f'{name}_report'), *template,
        )  # fmt: skip
        content = json.loads(json_file.read_text())
        return {key: value for key, value in content.items() if key not in ('machine', 'options')}


def robot_verdicts(name: str, robot: Robot, figures: Mapping[str, Any]) -> list[Verdict]:
    """Return what is required of one run of a robot."""
    rows = [
        verdict(f'{name}: joint_error', figures['joint_error'], at_most=robot.joint_error),
        verdict(f'{name}: minutes', figures['train_seconds'] / 60, at_most=robot.minutes),
    ]
    if robot.axis_error_deg is not None:
        axes = figures['axis_error_deg']
        rows.append(verdict(f'{name}: axis_error_deg', axes, at_most=robot.axis_error_deg))
    for program, error in figures['urdf_kinematics'].items():
        what = f'{name}: kinematics of the URDF in {program}'
        rows.append(verdict(what, error, at_most=KINEMATICS_TOLERANCE))
    return rows


def kuka_verdicts(figures: Mapping[str, Any]) -> list[Verdict]:
    """Return what is required of the first robot beyond its joints' places."""
    views, poses = figures['held_out_views'], figures['held_out_poses']
    within = sum(
        joint['axis_error_deg'] is not None
        and joint['axis_error_deg'] <= KUKA_AXIS_DEG
        and joint['type_is_right']
        for joint in figures['joints']
    )
    lost = views['psnr'] - poses['psnr']
    moved = figures['joints_moved']
    return [
        verdict(f'{KUKA}: held-out views, PSNR', views['psnr'], at_least=LEAST_PSNR),
        verdict(f'{KUKA}: held-out views, mask IoU', views['mask_iou'], at_least=LEAST_MASK_IOU),
        verdict(f'{KUKA}: PSNR lost in held-out poses', lost, at_most=POSE_PSNR_LOSS),
        verdict(f'{KUKA}: joints of the right kind within 10 deg', within, at_least=moved),
        verdict(f'{KUKA}: tree_agreement', figures['tree_agreement'], at_least=1.0),
    ]


def seed_verdicts(name: str, figures: Mapping[str, Any]) -> list[Verdict]:
    """Return all that is required of one seed of a robot."""
    rows = robot_verdicts(name, ROBOTS[name], figures)
    return rows + kuka_verdicts(figures) if name == KUKA else rows


def verdicts(robots: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[Verdict]:
    """Return all that is required: of the first seed, and of the seeds together.

    Args:
        robots: figures by robot and seed.
    """
    rows = []
    for name, seeds in robots.items():
        by_seed = [seed_verdicts(name, figures) for figures in seeds.values()]
        rows += by_seed[0]
        failed = sum(not all_hold(of_seed) for of_seed in by_seed)
        if len(seeds) > 1:
            what = f'{name}: seeds of {len(seeds)} that fail'
            rows.append(verdict(what, failed, at_most=SEEDS_THAT_MAY_FAIL))
    return rows


def print_robots(robots: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
    """Print one line for every run, and the median of the joint errors."""
    print(
        f'\n{"robot, seed":<18} {"joint":>7} {"static":>7} {"A.10":>7} {"axis":>6} {"found":>6} '
        f'{"tree":>5} {"parts":>6} {"views":>13} {"poses":>13} {"seconds":>8}'
    )
    for name, seeds in robots.items():
        for seed, found in seeds.items():
            images = [found['held_out_views'], found['held_out_poses']]
            shown = [f'{_text(one["psnr"], 1)} {_text(one["mask_iou"], 3)}' for one in images]
            joints = f'{found["joints_identified"]}/{found["joints_moved"]}'
            print(
                f'{f"{name}, {seed}":<18} {_text(found["joint_error"], 4):>7} '
                f'{_text(found["joint_error_static"], 4):>7} '
                f'{_text(found["a10_joint_error"], 4):>7} {_text(found["axis_error_deg"], 1):>6} '
                f'{joints:>6} {_text(found["tree_agreement"], 2):>5} '
                f'{_text(found["part_iou"], 2):>6} {shown[0]:>13} {shown[1]:>13} '
                f'{found["train_seconds"]:>8.0f}'
            )
        errors = [found['joint_error'] for found in seeds.values()]
        print(f'{name}: median joint_error {statistics.median(errors):.4f}', flush=True)


def _text(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def parsed_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get('POSEFIELD_DATA', REPOSITORY.parent / 'shared' / 'data')
    parser.add_argument('--data', type=Path, default=Path(data), help='with the treadmill')
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench_articulation')
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=[*ROBOTS, TREADMILL],
        default=[*ROBOTS, TREADMILL],
        help='what to measure',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='of learning')
    parser.add_argument(
        '--template-minutes',
        type=float,
        default=5.0,
        help='to learn the template baseline of the first seed; 0 leaves it out',
    )
    parser.add_argument('--no-results', action='store_true', help='only print')
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, print and write the results; return 1 when something does not hold."""
    options = parsed_arguments()
    if TREADMILL in options.parts and not (options.data / TREADMILL).is_dir():
        raise SystemExit(
            f'{options.data / TREADMILL} is no folder; name the real videos with --data, or '
            f'leave them out with --parts {" ".join(ROBOTS)}'
        )
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.work, options)
    robots = {
        name: {seed: bench.robot(name, ROBOTS[name], seed) for seed in options.seeds}
        for name in options.parts
        if name in ROBOTS
    }
    treadmill = bench.treadmill() if TREADMILL in options.parts else None
    required = verdicts(robots)
    print_robots(robots)
    if treadmill is not None:
        print(f'{TREADMILL}: held-out poses {treadmill["held_out_poses"]}')
    print_missed(required)
    if not options.no_results:
        document = {
            'requirements': required,
            'simulated': ' '.join(SIMULATED),
            'robots': robots,
            TREADMILL: treadmill,
            'commands': bench.commands,
        }
        private = {'WORK': options.work, 'DATA': options.data}
        print(f'wrote {write_results("articulation", document, private=private)}')
    return 0 if all_hold(required) else 1


if __name__ == '__main__':
    sys.exit(main())
