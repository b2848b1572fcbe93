"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest

# As the command line and the nodes do it, before any test loads torch.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def real_data_dir() -> Path:
    """The folder of real photos: POSEFIELD_DATA, or ../shared/data beside the repository."""
    default = REPOSITORY.parent / 'shared' / 'data'
    folder = Path(os.environ.get('POSEFIELD_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'no real photos: {folder} does not exist; POSEFIELD_DATA can name a folder')
    return folder
