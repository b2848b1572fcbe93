"""Maps with each kind of regressor, and maps of NeFeS: learned, saved, loaded, used."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from posefield.data.scene import Scene
from posefield.errors import DataError, LearningError, LearningInterrupted, LocalizationError
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.poses import perturbed, pose_errors
from posefield.learning import loop
from posefield.relocalization.localizer import Localizer, LocalizerConfig
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.map_regressor import other_views, scene_name
from posefield.relocalization.mapping import build_map
from posefield.relocalization.presets import MappingPreset, PresetOptions, RegressorRecipe
from posefield.relocalization.reference_view import reference_camera
from posefield.relocalization.refiners.gradient_config import gradient_config
from posefield.relocalization.refiners.synthesis import LearnedSynthesis, synthesis_of
from posefield.storage import load_tensors
from support.recorder import Recorder
from support.textured_room import TexturedRoom
from support.tiny_map import (
    CAMERA,
    REGRESSORS,
    ROOM,
    TINIEST,
    TINY_NEFES,
    query_poses,
    tiny_preset,
    write_room,
)

STEPS = 40
# An MS-Transformer needs more of them to tell two scenes apart.
REGRESSOR_STEPS = {'ms-transformer': 2.0}


class RedRoom(TexturedRoom):
    """A smooth red room, which nobody takes for the other one."""

    def colours(self, points_N3: np.ndarray) -> np.ndarray:
        return super().colours(points_N3) * np.array([1.0, 0.3, 0.1])


ELSEWHERE = RedRoom(seed=5, finest=1.0)


def learn(scene: Scene, out: Path, preset: MappingPreset, **options) -> MapBundle:
    with tiny_preset(preset) as name:
        return build_map(scene, name, out, device='cpu', **options)


def only_regressor(config: LocalizerConfig) -> LocalizerConfig:
    return replace(config, rungs=frozenset({'regressor'}))


@pytest.fixture(scope='module')
def scene(tmp_path_factory) -> Scene:
    return write_room(tmp_path_factory.mktemp('room'), photos=4)


@pytest.fixture(scope='module')
def elsewhere(tmp_path_factory) -> Scene:
    folder = tmp_path_factory.mktemp('elsewhere')
    return write_room(folder, photos=4, room=ELSEWHERE).save(folder / 'elsewhere')


@pytest.fixture(scope='module', params=REGRESSORS)
def learned(request, scene, elsewhere, tmp_path_factory) -> tuple[str, Path, MapBundle, Recorder]:
    """A kind of regressor, the folder of a map with it, the map as it was learned, and how."""
    kind, watcher = request.param, Recorder()
    several = kind == 'ms-transformer'
    folder = tmp_path_factory.mktemp('maps') / kind
    bundle = learn(
        scene,
        folder,
        replace(
            TINIEST, regressor=REGRESSORS[kind], regressor_steps=REGRESSOR_STEPS.get(kind, 1.0)
        ),
        steps=STEPS,
        also=[elsewhere] if several else [],
        progress=watcher,
    )
    return kind, folder, bundle, watcher


def test_each_kind_of_regressor_is_learned_and_comes_back_from_the_map(learned):
    kind, folder, bundle, watcher = learned
    told = watcher.metrics['regressor']
    assert told[-1]['translation'] < 0.8 * told[0]['translation']
    loaded = MapBundle.load(folder, 'cpu')
    assert loaded.regressor.kind == bundle.regressor.kind == kind
    assert loaded.regressor.config == bundle.regressor.config
    assert loaded.regressor_camera == bundle.regressor_camera
    camera = bundle.regressor_camera
    assert min(camera.width, camera.height) == REGRESSORS[kind].short_side
    image = torch.from_numpy(ROOM.view(camera, query_poses()[0])[0])
    before, after = (b.regressor.pose(image).numpy() for b in (bundle, loaded))
    np.testing.assert_allclose(after, before, atol=5e-3)


def test_each_kind_of_regressor_localizes(learned):
    _, folder, _, _ = learned
    localizer = Localizer.load(folder, 'cpu', only_regressor)
    errors = []
    for T_true in query_poses():
        found = localizer.localize(ROOM.view(CAMERA, T_true)[0], CAMERA)
        assert found.hypothesis == 'regressor'
        np.testing.assert_array_equal(found.T_map_cam, found.T_map_cam_coarse)
        errors.append(pose_errors(found.T_map_cam, T_true).translation)
    # In the map's frame, not in the field's, whose scale and centre differ.
    assert np.median(errors) < 1.0


@pytest.mark.parametrize('learned', ['ms-transformer'], indirect=True)
def test_a_map_offers_no_regressed_pose_for_an_image_of_another_scene(learned):
    _, folder, bundle, _ = learned
    assert bundle.regressor.config.scenes == ('elsewhere', 'scene')
    assert bundle.regressor.config.scene == 'scene'
    localizer = Localizer.load(folder, 'cpu', only_regressor)
    for T_true in query_poses():
        with pytest.raises(LocalizationError, match='found only regressor'):
            localizer.localize(ELSEWHERE.view(CAMERA, T_true)[0], CAMERA)
    everything = Localizer.load(folder, 'cpu', lambda c: c.without('sparse').without('keyframe'))
    found = everything.localize(ELSEWHERE.view(CAMERA, query_poses()[0])[0], CAMERA)
    assert found.hypothesis == 'retrieval'


def test_other_scenes_are_refused_before_anything_is_learned(scene, elsewhere, tmp_path):
    watcher = Recorder()
    several = replace(TINIEST, regressor=REGRESSORS['ms-transformer'])
    with pytest.raises(LearningError, match='only the regressor ms-transformer'):
        learn(scene, tmp_path / 'map', TINIEST, steps=1, also=[elsewhere], progress=watcher)
    with pytest.raises(LearningError, match='2 scenes are named scene'):
        learn(scene, tmp_path / 'map', several, steps=1, also=[scene], progress=watcher)
    with pytest.raises(LearningError, match='2 scenes are named elsewhere'):
        learn(
            scene, tmp_path / 'map', several, steps=1, also=[elsewhere] * 2, progress=watcher
        )  # fmt: skip
    unposed = replace(
        elsewhere,
        frames=tuple(
            replace(frame, T_map_cam=None) if frame.name.startswith('train') else frame
            for frame in elsewhere.frames
        ),
    )
    with pytest.raises(DataError, match='elsewhere has no posed training photos'):
        learn(scene, tmp_path / 'map', several, steps=1, also=[unposed], progress=watcher)
    assert watcher.metrics == {} and list(tmp_path.iterdir()) == []


def test_other_scenes_have_frames_of_their_own(scene, elsewhere):
    camera = reference_camera([CAMERA], 24)
    views = other_views([elsewhere], camera)
    assert list(views) == [scene_name(elsewhere)] == ['elsewhere']
    poses = np.stack([frame.T_map_cam for frame in elsewhere.split('train')])
    expected = SceneTransform.from_content(poses, np.zeros((0, 3))).camera_to_field(poses)
    np.testing.assert_allclose(views['elsewhere'].T_field_cam_N44, expected)
    assert views['elsewhere'].images_NHW3.shape == (4, camera.height, camera.width, 3)
    red = ELSEWHERE.view(camera, poses[1])[0]
    assert np.abs(views['elsewhere'].images_NHW3[1] / 255.0 - red).mean() < 0.02


def test_a_regressor_keeps_what_is_best_on_the_val_split(scene, tmp_path):
    """With photos held out of training, the stage also has a copy of its best weights."""
    split = {'train': scene.splits['train'], 'val': scene.splits['test']}
    recipe = REGRESSORS['posenet']
    seen = []

    def spy(stage, **options):
        seen.append((stage.name, sorted(stage.modules())))
        return loop.run_stage(stage, **options)

    with mock.patch('posefield.learning.run.run_stage', spy):
        learn(
            replace(scene, splits=split), tmp_path / 'map',
            replace(TINIEST, regressor=recipe), steps=2,
        )  # fmt: skip
    assert ('regressor', ['best', 'network']) in seen


@pytest.fixture(scope='module')
def nefes_map(scene, tmp_path_factory) -> tuple[Path, MapBundle, Recorder]:
    """The folder of a small map of NeFeS, the map as it was learned, and how it went."""
    folder, watcher = tmp_path_factory.mktemp('nefes') / 'map', Recorder()
    return folder, learn(scene, folder, TINY_NEFES, steps=STEPS, progress=watcher), watcher


def query_image() -> np.ndarray:
    return ROOM.view(CAMERA, query_poses()[2])[0]


def test_a_map_of_nefes_goes_through_its_stages_in_order(nefes_map):
    _, _, watcher = nefes_map
    assert list(watcher.metrics) == [
        'photos', 'sparse', 'photometric', 'synthesise', 'regressor', 'feature', 'fusion',
        'keyframes', 'calibrate',
    ]  # fmt: skip
    stages = watcher.metrics
    assert stages['photometric'][0]['psnr'] < stages['photometric'][-1]['psnr']
    assert stages['photometric'][-1]['psnr'] < stages['fusion'][-1]['psnr']
    for name in ('feature', 'fusion'):
        assert stages[name][-1][name] < stages[name][0][name]


def test_a_map_of_nefes_comes_back_whole(nefes_map):
    folder, bundle, _ = nefes_map
    loaded = MapBundle.load(folder, 'cpu')
    assert loaded.synthesizer.to_config() == bundle.synthesizer.to_config()
    assert loaded.synthesizer.act is not None and loaded.synthesizer.fusion is not None
    assert loaded.extractor.channels == TINY_NEFES.field.features
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.extractor(image), bundle.extractor(image), atol=0.02, rtol=0)
    assert loaded.transform == bundle.transform
    # Rays end behind the walls that the photos show, not where the contraction of a grid ends.
    assert 1.0 < loaded.transform.far / loaded.scene_scale < 4.0


def test_a_map_of_nefes_renders_with_the_exposure_of_the_query(nefes_map):
    folder, bundle, _ = nefes_map
    loaded = MapBundle.load(folder, 'cpu')
    T = torch.tensor(bundle.transform.camera_to_field(query_poses()[2]), dtype=torch.float32)
    small = CAMERA.with_short_side(9)

    def rendered(source: MapBundle, histogram_10: torch.Tensor) -> torch.Tensor:
        transform = source.transform
        return source.synthesizer.render_view(
            small, T, transform.near, transform.far, histogram_10
        ).colours_3HW

    torch.testing.assert_close(loaded.histogram_10, bundle.histogram_10)
    mean = rendered(loaded, loaded.histogram_10)
    torch.testing.assert_close(mean, rendered(bundle, bundle.histogram_10), atol=0.02, rtol=0)
    dark = torch.zeros(10)
    dark[0] = 100.0
    assert (rendered(loaded, dark) - mean).abs().max() > 1e-4
    shown = Localizer(loaded).render(query_poses()[2], small)
    np.testing.assert_allclose(shown.image_HW3, mean.permute(1, 2, 0), atol=1e-5)


def test_a_map_of_nefes_is_used_as_the_paper_does(nefes_map):
    """The regressor starts, its weights are refined; nothing else has a say."""
    folder, _, _ = nefes_map
    config = Localizer.load(folder, 'cpu').config
    assert config.rungs == frozenset({'regressor'})
    assert config.gradient == gradient_config('nefes-a', None, None)
    found = Localizer.load(folder, 'cpu', lambda c: c.with_refiner('nefes-a', 3)).localize(
        query_image(), CAMERA
    )
    assert found.hypothesis == 'regressor' and found.iterations == 3
    assert np.isfinite(found.T_map_cam).all()


@pytest.mark.parametrize('refiner', ['nefes-b', 'field', 'photometric-sparse'])
def test_a_map_of_nefes_can_be_refined_otherwise(nefes_map, refiner):
    folder, _, _ = nefes_map
    iterations = None if refiner == 'field' else 3

    def configure(config: LocalizerConfig) -> LocalizerConfig:
        return config.with_refiner(refiner, iterations)

    localizer = Localizer.load(folder, 'cpu', configure)
    start = perturbed(query_poses()[2], 0.1, 3.0, np.random.default_rng(0))
    found = localizer.refine(query_image(), CAMERA, start)
    assert np.isfinite(found.T_map_cam).all() and found.iterations > 0
    localized = localizer.localize(query_image(), CAMERA)
    assert localized.hypothesis == 'regressor'


def test_features_of_a_map_of_nefes_are_those_that_its_field_renders(nefes_map):
    folder, _, _ = nefes_map
    localizer = Localizer.load(folder, 'cpu', lambda c: c.with_refiner('nefes-b', 1))
    made = []

    def remember(*arguments):
        made.append(synthesis_of(*arguments))
        return made[-1]

    with mock.patch('posefield.relocalization.ladder.synthesis_of', remember):
        localizer.refine(query_image(), CAMERA, query_poses()[2])
    assert all(isinstance(one, LearnedSynthesis) for one in made) and made


def test_a_stop_in_the_last_stage_costs_nothing(nefes_map, scene, tmp_path):
    folder, _, _ = nefes_map
    watcher, out = Recorder('fusion', 0.0), tmp_path / 'map'
    with pytest.raises(LearningInterrupted, match='fusion'):
        learn(scene, out, TINY_NEFES, steps=STEPS, progress=watcher, stop=watcher.stop)
    assert not out.exists()
    resumed = Recorder()
    learn(scene, out, TINY_NEFES, steps=STEPS, resume=True, progress=resumed)
    # What was finished is not learned again, but told once.
    assert [len(resumed.metrics[name]) for name in ('photometric', 'regressor', 'feature')] == [
        1, 1, 1,
    ]  # fmt: skip
    for file in ('field', 'features', 'regressor', 'references'):
        expected, found = (
            load_tensors(map_folder / f'{file}.safetensors') for map_folder in (folder, out)
        )
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), (file, name)
    assert list(tmp_path.iterdir()) == [out]


def test_poses_of_photos_are_corrected_where_that_is_asked_for(scene, tmp_path):
    bundle = learn(
        scene, tmp_path / 'map', TINY_NEFES, steps=12, options=PresetOptions(learn_poses=True)
    )
    original = bundle.transform.camera_to_field(
        np.stack([frame.T_map_cam for frame in scene.split('train')])
    )
    kept = np.stack([keyframe.T_field_cam for keyframe in bundle.keyframes])
    moved = kept[:, :3, 3] - original[:, :3, 3]
    assert 1e-4 < np.linalg.norm(moved, axis=1).max() < 0.2
    # The drift of all of them is taken out again.
    assert np.linalg.norm(moved.mean(axis=0)) < 1e-5


def test_poses_of_photos_stay_where_nobody_asks(nefes_map, scene):
    _, bundle, _ = nefes_map
    original = np.stack([frame.T_map_cam for frame in scene.split('train')])
    kept = np.stack([keyframe.T_field_cam for keyframe in bundle.keyframes])
    np.testing.assert_allclose(bundle.transform.camera_to_map(kept), original, atol=1e-6)


@pytest.mark.parametrize('preset', [TINIEST, TINY_NEFES], ids=['grid', 'mlp'])
def test_the_settings_of_a_scene_of_the_paper_take_the_place_of_ours(scene, tmp_path, preset):
    out = tmp_path / 'map'
    bundle = learn(scene, out, preset, steps=3, options=PresetOptions(paper_scene='chess'))
    transform = MapBundle.load(out, 'cpu').transform
    assert transform == bundle.transform
    assert (transform.near, transform.far, transform.scale) == (0.0, 2.0, 0.5)
    found = Localizer.load(out, 'cpu', lambda c: c.with_refiner('field')).localize(
        query_image(), CAMERA
    )
    assert np.isfinite(found.T_map_cam).all()


def test_the_settings_of_a_scene_of_the_paper_need_metres(scene, tmp_path):
    watcher = Recorder()
    with pytest.raises(DataError, match='chess are for metres, found .* in arbitrary units'):
        learn(
            replace(scene, units='arbitrary'), tmp_path / 'map', TINY_NEFES, steps=3,
            options=PresetOptions(paper_scene='chess'), progress=watcher,
        )  # fmt: skip
    assert watcher.metrics == {}


@pytest.mark.parametrize('features', ['dfnet', 'compact'])
def test_the_published_length_is_in_epochs(scene, tmp_path, features):
    """Without a time and without steps, every stage runs its epochs over the four photos."""
    stages = tuple(
        replace(stage, epochs=epochs, batch=2)
        for stage, epochs in zip(TINY_NEFES.nefes.stages, (3, 1, 2), strict=True)
    )
    recipe = REGRESSORS['dfnet']
    preset = replace(
        TINY_NEFES,
        nefes=replace(TINY_NEFES.nefes, stages=stages),
        regressor=RegressorRecipe(recipe.config, replace(recipe.stage, batch=3), 24, epochs=5),
    )
    lengths = {}

    def run_stage(stage, *, steps, deadline_s, **options):
        assert deadline_s is None
        lengths[stage.name] = steps
        return loop.run_stage(stage, steps=min(steps, 2), **options)

    with (
        mock.patch('posefield.learning.run.run_stage', run_stage),
        mock.patch('posefield.relocalization.nefes_training.run_stage', run_stage),
        mock.patch('posefield.relocalization.map_budget.PUBLISHED_SYNTHESISED', 8),
    ):
        bundle = learn(
            scene, tmp_path / 'map', preset, options=PresetOptions(features=features)
        )  # fmt: skip
    expected = {'photometric': 6, 'feature': 2, 'fusion': 4, 'regressor': 10}
    if features == 'compact':
        expected['features'] = 2000
    assert lengths == expected
    assert not bundle.info.keys() & {'minutes', 'steps'}
    assert bundle.extractor_name == features
