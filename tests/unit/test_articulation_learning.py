"""Learning an articulated model: the order of the work, and that stopping it loses nothing."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.learning import learn_articulation
from posefield.articulation.presets import PRESETS, FastPreset, PaperPreset, preset_named
from posefield.data.multiview import Multiview
from posefield.errors import BundleError, LearningError, LearningInterrupted
from posefield.learning import distributed
from support.recorder import Recorder
from support.tiny_articulation import TINY, tiny_preset
from support.two_balls import write_two_balls

# As many as it takes until a joint is seen; the first report of a stage is at 0.04 of it.
STEPS = 24


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Multiview:
    return write_two_balls(tmp_path_factory.mktemp('balls') / 'recording')


def learn(recording: Multiview, out: Path, **options) -> ArticulatedModel:
    with tiny_preset() as preset:
        return learn_articulation(
            recording, preset, out, device='cpu', **{'steps': STEPS, **options}
        )


@pytest.fixture(scope='module')
def learned(recording, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('models') / 'balls'
    learn(recording, out)
    return out


def test_a_model_of_the_training_frames_is_saved_and_nothing_else_is_left(recording, learned):
    model = ArticulatedModel.load(learned)
    assert model.frames == recording.training_frames
    assert model.info['parts'] == 4
    assert model.structure.movable
    assert model.info['steps'] == STEPS
    assert model.info['units'] == 'metres'
    assert (learned / 'robot.urdf').is_file()
    assert [path.name for path in learned.parent.iterdir()] == ['balls']
    # The ellipsoids lie on the thing, in world units.
    centres = np.stack([model.part_poses(frame) for frame in model.frames])[..., :3, 3]
    assert np.linalg.norm(centres, axis=-1).max() < 1.2


def test_the_same_seed_gives_the_same_model(recording, learned, tmp_path):
    first, again = ArticulatedModel.load(learned), learn(recording, tmp_path / 'balls')
    np.testing.assert_array_equal(again.motion.radii_P3, first.motion.radii_P3)
    np.testing.assert_array_equal(again.motion.T_scene_part_FP44, first.motion.T_scene_part_FP44)


def test_the_root_can_be_chosen(recording, learned, tmp_path):
    first = ArticulatedModel.load(learned)
    leaf = next(link for link in reversed(first.structure.links) if link.parts)
    again = learn(recording, tmp_path / 'balls', root_part=leaf.parts[0])
    root = again.structure.links[again.structure.link_index(again.structure.root)]
    assert leaf.parts[0] in root.parts


def test_the_number_of_parts_can_be_chosen(recording, tmp_path):
    assert learn(recording, tmp_path / 'balls', parts=3).motion.parts == 3


@pytest.mark.parametrize(
    ('stage', 'fraction'),
    [
        ('parts 1', 0.04),
        ('structure 1', 1.0),
        ('joints 1', 0.04),
        ('structure 1 anew', 1.0),
        ('choosing joints', 0.0),
        ('joints', 0.04),
        ('removing joints', 0.0),
        ('pixels', 0.5),
        ('surface', 0.04),
    ],
)
def test_a_run_stopped_in_any_stage_goes_on(recording, learned, tmp_path, stage, fraction):
    out, recorder = tmp_path / 'balls', Recorder(stage, fraction)
    with pytest.raises(LearningInterrupted, match=stage):
        learn(recording, out, progress=recorder, stop=recorder.stop)
    assert not out.exists()
    resumed = learn(recording, out, resume=True)
    whole = ArticulatedModel.load(learned)
    np.testing.assert_allclose(
        resumed.motion.T_scene_part_FP44, whole.motion.T_scene_part_FP44, atol=1e-6
    )
    assert resumed.structure.movable == whole.structure.movable
    assert list(tmp_path.iterdir()) == [out]


def test_restarts_in_processes_of_their_own_find_what_they_find_in_this_one(recording, tmp_path):
    models = []
    for processes in (1, 2):
        two = replace(TINY, restarts=2, processes=processes)
        with tiny_preset(two) as preset:
            models.append(
                learn_articulation(
                    recording, preset, tmp_path / str(processes), device='cpu', steps=STEPS
                )
            )
    one, other = (model.motion.T_scene_part_FP44 for model in models)
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_a_run_is_not_resumed_with_other_settings(recording, tmp_path):
    recorder = Recorder('surface', 0.04)
    with pytest.raises(LearningInterrupted):
        learn(recording, tmp_path / 'balls', progress=recorder, stop=recorder.stop)
    with pytest.raises(LearningError, match='seed = 0'):
        learn(recording, tmp_path / 'balls', resume=True, seed=5)
    with pytest.raises(LearningError, match='root_part = None'):
        learn(recording, tmp_path / 'balls', resume=True, root_part=1)


def test_unknown_presets_and_two_budgets_are_refused_at_once(recording, tmp_path):
    with pytest.raises(LearningError, match='huge'):
        learn_articulation(recording, 'huge', tmp_path / 'model', device='cpu')
    with pytest.raises(LearningError, match='minutes or steps'):
        learn(recording, tmp_path / 'model', minutes=1.0)
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(BundleError, match='not posefield'):
        learn(recording, tmp_path)


def test_presets_that_choose_joints_are_refused_under_torchrun(recording, tmp_path):
    several = mock.patch.object(distributed, 'world_size', lambda: 2)
    with several, pytest.raises(LearningError, match='one process, found 2'):
        learn(recording, tmp_path / 'model')


def test_presets_are_what_they_are_called():
    assert preset_named('auto', 'cpu') is PRESETS['cpu']
    assert preset_named('auto', 'cuda') is PRESETS['gpu']
    for name in ('cpu', 'gpu'):
        preset = PRESETS[name]
        assert isinstance(preset, FastPreset)
        shares = (
            preset.parts_share, preset.joints_share, preset.proposing_share, preset.search_share,
            preset.last_share, preset.prune_share, preset.surface_share,
        )  # fmt: skip
        assert 0.9 < sum(shares) <= 0.98
    paper = PRESETS['paper']
    assert isinstance(paper, PaperPreset)
    assert paper.learning.iterations == 200_000
    assert paper.scene_radius == 0.65
