"""Where a result comes from."""

from pathlib import Path
import subprocess

REPOSITORY = Path(__file__).resolve().parents[1]


def git_commit() -> str:
    """Return the commit that is measured, marked when files differ from it."""
    described = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=12'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or 'unknown'
