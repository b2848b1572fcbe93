"""Accuracy, speed, size and memory of relocalization on real photos, against what must hold.

Runs the commands that a user runs, each in a process of its own, and writes
`results/relocalization_<date>_<device>.json`.  See README.md beside this file.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import json
import operator
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from provenance import REPOSITORY, write_results

from posefield.evaluation.metrics import recall

POSEFIELD = (sys.executable, '-m', 'posefield.cli')

PARTS = ('fox', 'blocks', 'halves', 'demo')
COMPARISONS = {'<=': operator.le, '>=': operator.ge, '==': operator.eq}


@dataclass(frozen=True)
class Run:
    """One command that was run.

    Attributes:
        seconds: wall time.
        peak_mb: largest resident memory of the process.
        content: the JSON it wrote, if any.
    """

    command: str
    seconds: float
    peak_mb: float
    content: dict[str, Any] = field(default_factory=dict)


Runs = dict[str, Run]


@dataclass(frozen=True)
class Requirement:
    """A figure that must hold.

    Attributes:
        what: for people.
        run: name of the run that it is read from.
        measure: takes the run and returns the figure.
        comparison, bound: what the figure must be.
        unit: of the figure as printed.
    """

    what: str
    run: str
    measure: Callable[[Run], float | None]
    comparison: str
    bound: float
    unit: str = ''

    def holds(self, value: float | None) -> bool:
        """Whether a measured figure is good enough; a missing one never is."""
        return value is not None and COMPARISONS[self.comparison](value, self.bound)


def key(*path: str, scale: float = 1.0) -> Callable[[Run], float | None]:
    """Return a measure that reads a key of the run's JSON."""

    def measure(run: Run) -> float | None:
        value: Any = run.content
        for name in path:
            value = value[name]
        return None if value is None else value * scale

    return measure


def share(
    translation: float, rotation_deg: float, *, relative: bool
) -> Callable[[Run], float | None]:
    """Return a measure that reads one recall in percent."""
    return lambda run: 100 * recall(run.content, translation, rotation_deg, relative=relative)


def within_2_percent(what: str, run: str, bound: float) -> Requirement:
    """Return the requirement on the share within 2 % of the depth and 1 degree."""
    measure = share(0.02, 1.0, relative=True)
    return Requirement(f'{what}: within 2 %, 1°', run, measure, '>=', bound, '%')


def median_percent(what: str, run: str, percent: float, degrees: float) -> list[Requirement]:
    """Return the requirements on the median errors."""
    return [
        Requirement(
            f'{what}: median translation',
            run,
            key('median_relative_translation_error', scale=100),
            '<=',
            percent,
            '%',
        ),
        Requirement(
            f'{what}: median rotation', run, key('median_rotation_error_deg'), '<=', degrees, '°'
        ),
    ]


def honest(what: str, run: str) -> list[Requirement]:
    """Return the requirements on covariance and acceptance."""
    return [
        Requirement(f'{what}: ANEES', run, key('anees'), '>=', 0.3),
        Requirement(f'{what}: ANEES', run, key('anees'), '<=', 3.0),
        Requirement(
            f'{what}: false accepts', run, key('false_accept_share', scale=100), '==', 0.0, '%'
        ),
    ]


FIELD, BOTH = 'fox: field from 10 %, 6°', 'fox: field+keyframe from 10 %, 6°'
LADDER, UNSPARSE = 'fox: no prior', 'fox: no prior, without sparse'
BLOCKS, HALVES = 'redkitchen blocks: no prior', 'redkitchen halves: no prior'
TRACKING = 'redkitchen blocks: tracking'

REQUIREMENTS: tuple[Requirement, ...] = (
    within_2_percent(FIELD, 'fox field', 85),
    *median_percent(FIELD, 'fox field', 0.6, 0.35),
    Requirement(f'{FIELD}: renders', 'fox field', key('max_renders'), '<=', 5),
    *median_percent(BOTH, 'fox field+keyframe', 0.2, 0.12),
    within_2_percent(LADDER, 'fox ladder', 100),
    *median_percent(LADDER, 'fox ladder', 0.12, 0.06),
    *honest(LADDER, 'fox ladder'),
    within_2_percent(UNSPARSE, 'fox without sparse', 80),
    Requirement(
        f'{BLOCKS}: median translation',
        'blocks ladder',
        key('median_translation_error', scale=100),
        '<=',
        0.7,
        'cm',
    ),
    Requirement(
        f'{BLOCKS}: median rotation',
        'blocks ladder',
        key('median_rotation_error_deg'),
        '<=',
        0.25,
        '°',
    ),
    Requirement(
        f'{BLOCKS}: within 5 cm, 5°', 'blocks ladder', share(0.05, 5, relative=False), '>=', 100,
        '%',
    ),
    Requirement(
        f'{BLOCKS}: within 2 cm, 2°', 'blocks ladder', share(0.02, 2, relative=False), '>=', 90,
        '%',
    ),
    *honest(BLOCKS, 'blocks ladder'),
    Requirement(
        f'{HALVES}: within 5 cm, 5°', 'halves ladder', share(0.05, 5, relative=False), '>=', 95,
        '%',
    ),
    *honest(HALVES, 'halves ladder'),
    *(
        Requirement(
            f'{what}: seconds a photo', run, key('seconds_per_frame', 'median'), '<=', bound, 's'
        )
        for what, run, bound in (
            (LADDER, 'fox ladder', 1.5),
            (BLOCKS, 'blocks ladder', 1.5),
            (HALVES, 'halves ladder', 1.5),
            (TRACKING, 'blocks tracking', 0.6),
        )
    ),
    *(
        Requirement(f'{name}: map size', f'{name} size', key('bytes', scale=1e-6), '<=', 20, 'MB')
        for name in ('fox', 'blocks', 'halves')
    ),
    *(
        Requirement(
            f'{name}: peak memory of training', f'{name} train', lambda run: run.peak_mb, '<=',
            3000, 'MB',
        )
        for name in ('fox', 'blocks', 'halves')
    ),
    Requirement(
        'node overhead over DDS at 640x480', 'demo', key('ros', 'median_overhead_s', scale=1000),
        '<=', 5, 'ms',
    ),
)  # fmt: skip


class Bench:
    """Runs commands in a work folder and keeps what they gave."""

    def __init__(self, data: Path, work: Path, minutes: float):
        self.data = data
        self.work = work
        self.minutes = minutes
        self.runs: Runs = {}

    def run(self, name: str, *arguments: str, json_file: Path | None = None) -> None:
        """Run `posefield <arguments>`; stop the benchmark when it fails."""
        print(f'-- {name}: posefield {" ".join(arguments)}', flush=True)
        begin_s = time.monotonic()
        process = subprocess.Popen([*POSEFIELD, *arguments])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f'{name} ended with code {process.returncode}')
        content = json.loads(json_file.read_text()) if json_file else {}
        seconds = time.monotonic() - begin_s
        self.runs[name] = Run(
            ' '.join(arguments), round(seconds, 1), round(usage.ru_maxrss / 1024), content
        )

    def learn(self, name: str, source: str, *importing: str) -> None:
        """Import a scene, learn its map and weigh it."""
        scene, learned = self.work / name, self.work / f'{name}_map'
        self.run(
            f'{name} import', 'scene', 'import', str(self.data / source), '--out', str(scene),
            *importing,
        )  # fmt: skip
        self.run(
            f'{name} train', 'map', 'train', str(scene), '--out', str(learned),
            '--preset', 'cpu', '--minutes', str(self.minutes), '--quiet',
        )  # fmt: skip
        size = sum(path.stat().st_size for path in learned.rglob('*') if path.is_file())
        self.runs[f'{name} size'] = Run('', 0.0, 0.0, {'bytes': size})

    def evaluate(self, name: str, place: str, *options: str) -> None:
        """Evaluate a map on the test split."""
        json_file = self.work / f'{name.replace(" ", "_")}.json'
        self.run(
            name, 'map', 'evaluate', str(self.work / f'{place}_map'), str(self.work / place),
            '--quiet', '--json', str(json_file), '--report',
            str(self.work / f'{name.replace(" ", "_")}_report'), *options,
            json_file=json_file,
        )  # fmt: skip

    def fox(self) -> None:
        """Held-out photos of the fox."""
        self.learn('fox', 'fox', '--format', 'nerf')
        start = ('--init', 'perturb', '--perturb', '0.1,6', '--starts', '5')
        for refiner in ('field', 'field+keyframe'):
            self.evaluate(f'fox {refiner}', 'fox', *start, '--refiner', refiner)
        self.evaluate('fox ladder', 'fox')
        self.evaluate('fox without sparse', 'fox', '--without', 'sparse')

    def redkitchen(self, split: str) -> None:
        """One split of the 7-Scenes kitchen."""
        self.learn(
            split, 'redkitchen', '--format', '7scenes', '--poses', 'sfm_pgt.txt',
            '--split-file', 'splits.json', '--split-name', split,
        )  # fmt: skip
        self.evaluate(f'{split} ladder', split)

    def demo(self) -> None:
        """The demo on the kitchen: 640x480 images over DDS."""
        out = self.work / 'demo'
        self.run(
            'demo', 'demo', 'relocalization', '--scene', str(self.work / 'blocks'),
            '--out', str(out), '--minutes', str(self.minutes), '--quiet',
            json_file=out / 'metrics.json',
        )  # fmt: skip

    def everything(self, parts: Sequence[str]) -> None:
        """Run the parts asked for."""
        if 'fox' in parts:
            self.fox()
        if 'blocks' in parts:
            self.redkitchen('blocks')
            self.evaluate('blocks tracking', 'blocks', '--sequence')
        if 'halves' in parts:
            self.redkitchen('halves')
        if 'demo' in parts:
            self.demo()


def verdicts(runs: Runs) -> list[dict[str, Any]]:
    """Return one row for each requirement whose run took place."""
    rows = []
    for requirement in REQUIREMENTS:
        if requirement.run not in runs:
            continue
        value = requirement.measure(runs[requirement.run])
        rows.append(
            {
                'what': requirement.what,
                'required': f'{requirement.comparison} {requirement.bound:g} {requirement.unit}',
                'measured': None if value is None else round(value, 4),
                'unit': requirement.unit,
                'holds': requirement.holds(value),
            }
        )
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print required against measured."""
    print(f'\n{"what":<58} {"required":>12} {"measured":>12}')
    for row in rows:
        measured = '-' if row['measured'] is None else f'{row["measured"]:.3g} {row["unit"]}'
        print(
            f'{row["what"]:<58} {row["required"]:>12} {measured:>12}'
            f'{"" if row["holds"] else "  MISSED"}'
        )


def save(bench: Bench, rows: Sequence[dict[str, Any]]) -> Path:
    """Write everything measured; folders of this machine are left out of it."""
    figures = {
        'minutes': bench.minutes,
        'requirements': rows,
        'runs': {
            name: {
                'command': run.command,
                'seconds': run.seconds,
                'peak_mb': run.peak_mb,
                **{k: v for k, v in run.content.items() if k not in ('machine', 'options')},
            }
            for name, run in bench.runs.items()
        },
    }
    return write_results(
        'relocalization', figures, private={'WORK': bench.work, 'DATA': bench.data}
    )


def main() -> int:
    """Run the benchmark; return 1 when a requirement is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    default_data = os.environ.get('POSEFIELD_DATA', REPOSITORY.parent / 'shared' / 'data')
    parser.add_argument('--data', type=Path, default=Path(default_data), help='real photos')
    parser.add_argument('--work', type=Path, default=REPOSITORY / 'out' / 'bench')
    parser.add_argument('--minutes', type=float, default=4.0, help='to learn each map')
    parser.add_argument(
        '--parts',
        nargs='+',
        default=PARTS,
        choices=PARTS,
        help='demo needs the scene of blocks, which an earlier run may have made',
    )
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f'{options.data} is no folder; name the real photos with --data')
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data, options.work, options.minutes)
    bench.everything(options.parts)
    rows = verdicts(bench.runs)
    path = save(bench, rows)
    print_table(rows)
    print(f'\nwritten to {path}')
    return 0 if all(row['holds'] for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main())
