"""Which images are drawn when (watch_it_move.md section 7)."""

import numpy as np
import pytest

from posefield.articulation.curriculum import CurriculumConfig, ImageSampler
from posefield.errors import LearningError

SHORT = CurriculumConfig(first_frames=4, hold=10, complete=30, recent=2, recent_share=0.2)


@pytest.mark.parametrize('frames', [11, 300, 623])
def test_frames_are_added_as_published(frames):
    config = CurriculumConfig()
    assert config.frames(0, frames) == 10
    assert config.frames(10_000, frames) == 10
    assert config.frames(45_000, frames) == int(10 + 0.5 * (frames - 10))
    assert config.frames(80_000, frames) == frames
    assert config.frames(200_000, frames) == frames
    counts = [config.frames(iteration, frames) for iteration in range(0, 90_000, 100)]
    assert all(later >= earlier for earlier, later in zip(counts, counts[1:], strict=False))


def test_a_short_video_is_used_whole_from_the_start():
    assert CurriculumConfig().frames(0, 7) == 7


def test_the_latest_frames_are_drawn_more_often():
    sampler = ImageSampler(3, 100, CurriculumConfig(), seed=0)
    frames = np.concatenate([sampler.draw(step, 45_000, 16)[1] for step in range(1500)])
    added = 55
    assert frames.max() == added - 1
    late = (frames >= added - 6).mean()
    assert late == pytest.approx(0.2 + 0.8 * 6 / added, abs=0.01)
    early = (frames < 6).mean()
    assert early == pytest.approx(0.8 * 6 / added, abs=0.01)


def test_all_cameras_are_drawn_alike_while_frames_are_added():
    sampler = ImageSampler(4, 100, CurriculumConfig(), seed=1)
    views = np.concatenate([sampler.draw(step, 0, 16)[0] for step in range(1000)])
    np.testing.assert_allclose(np.bincount(views) / len(views), 0.25, atol=0.02)


def test_then_every_epoch_has_every_image_once_in_another_order():
    sampler = ImageSampler(3, 8, SHORT, seed=2)
    drawn = [sampler.draw(step, 30, 5) for step in range(10)]
    images = np.concatenate([8 * views + frames for views, frames in drawn])
    assert len(images) == 50
    assert sorted(images[:24]) == sorted(images[24:48]) == list(range(24))
    assert list(images[:24]) != list(images[24:48])
    assert list(images[:24]) != list(range(24))


def test_draws_depend_on_seed_and_step_alone_and_epochs_on_what_was_drawn():
    for iteration in (0, 30):
        one, other = (ImageSampler(3, 8, SHORT, seed=3) for _ in range(2))
        for step in range(3):
            one.draw(step, iteration, 4)
        other.drawn = one.drawn
        for found, again in zip(
            one.draw(3, iteration, 4), other.draw(3, iteration, 4), strict=True
        ):
            assert found.tolist() == again.tolist()
    different = [ImageSampler(9, 50, SHORT, seed).draw(0, 5, 16)[0].tolist() for seed in (0, 1)]
    assert different[0] != different[1]


@pytest.mark.parametrize(
    'wrong', [{'first_frames': 0}, {'hold': 80_000}, {'recent': 0}, {'recent_share': 1.5}]
)
def test_numbers_that_make_no_curriculum_are_refused(wrong):
    with pytest.raises(LearningError, match='A curriculum needs'):
        CurriculumConfig(**wrong)
