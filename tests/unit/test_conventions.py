"""The examples of docs/conventions.md run, and say what is true."""

from pathlib import Path
import re

import numpy as np

DOCUMENT = Path(__file__).parents[2] / 'docs' / 'conventions.md'


def test_the_examples_hold():
    blocks = re.findall(r'^```python\n(.*?)^```', DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    assert all('assert ' in block for block in blocks)
    exec(compile('\n'.join(blocks), str(DOCUMENT), 'exec'), {})


def test_the_covariance_moves_as_documented():
    """Sampled errors of the camera, carried to the base, have the documented covariance."""
    from posefield.relocalization.tracker import moved_covariance

    generator = np.random.default_rng(0)
    root = generator.normal(size=(6, 6)) * 1e-3
    lever = np.array([0.3, -0.2, 0.5])
    errors = generator.normal(size=(200_000, 6)) @ root.T
    at_base = errors.copy()
    at_base[:, :3] += np.cross(errors[:, 3:], lever)
    sampled = at_base.T @ at_base / len(at_base)
    documented = moved_covariance(root @ root.T, lever)
    np.testing.assert_allclose(documented, sampled, atol=0.02 * np.abs(sampled).max())
