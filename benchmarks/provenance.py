"""Where a result comes from, and how it is kept."""

from collections.abc import Mapping
from datetime import datetime, timezone
import json
from pathlib import Path
import subprocess
from typing import Any

from posefield import __version__
from posefield.cli.evaluation import machine

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / 'benchmarks' / 'results'


def git_commit() -> str:
    """Return the commit that is measured, marked when files differ from it."""
    described = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=12'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or 'unknown'


def write_results(
    name: str,
    figures: Mapping[str, Any],
    *,
    path: Path | None = None,
    private: Mapping[str, Path] | None = None,
) -> Path:
    """Write figures with date, commit and machine; return the file.

    Args:
        name: of the benchmark.
        figures: what was measured, as JSON values.
        path: the file; default `results/<name>_<date>_<device>.json`.
        private: folders of this machine, which the file must not tell, by what it says instead.
    """
    now, used = datetime.now(timezone.utc), machine()
    document = {
        'date': now.isoformat(timespec='seconds'),
        'commit': git_commit(),
        'posefield_version': __version__,
        'machine': used,
        **figures,
    }
    text = json.dumps(document, indent=2)
    for replacement, folder in (private or {}).items():
        text = text.replace(str(folder.resolve()), replacement).replace(str(folder), replacement)
    device = 'gpu' if used['gpu'] else f'cpu{used["cpus"]}'
    path = path or RESULTS / f'{name}_{now:%Y-%m-%d}_{device}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n')
    return path
