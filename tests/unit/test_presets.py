"""Presets of maps by name."""

from dataclasses import replace

import pytest

from posefield.errors import DataError, LearningError
from posefield.features.gradient import GradientFeatures
from posefield.fields.fusion import FusionConfig
from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.relocalization.presets import (
    PRESETS,
    REGRESSOR_RECIPES,
    SMALL_MLP_FIELD,
    SMALL_REGRESSOR_RECIPES,
    NefesRecipe,
    PresetOptions,
    preset_named,
)
from posefield.relocalization.regressors.backbones import BACKBONES
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.registry import REGRESSORS


def test_auto_depends_on_the_device():
    assert preset_named('auto', 'cuda') == PRESETS['gpu']
    assert preset_named('auto', 'cpu') == PRESETS['cpu']
    assert preset_named('cpu', 'cuda') == PRESETS['cpu']
    assert preset_named('gpu', 'cpu') == PRESETS['gpu']


def test_an_unknown_preset_is_named_with_what_there_is():
    with pytest.raises(LearningError, match="'huge', expected auto or one of cpu, gpu"):
        preset_named('huge', 'cpu')


@pytest.mark.parametrize('name', sorted(PRESETS))
def test_the_parts_of_a_preset_fit_together(name):
    preset = PRESETS[name]
    shares = preset.field_share + preset.features_share + preset.regressor_share
    assert 0.0 < shares < 0.9  # photos, keyframes and calibration take time too
    assert preset.max_keyframes <= preset.max_photos
    sizes = preset.sizes
    assert sizes.sparse >= sizes.keyframe >= sizes.training
    assert sizes.keyframe >= sizes.depth
    assert 2 <= preset.validation_photos <= preset.max_keyframes


def test_a_larger_preset_has_a_larger_field():
    small, large = PRESETS['cpu'].field, PRESETS['gpu'].field
    assert sum(r**2 for r in large.resolutions) > sum(r**2 for r in small.resolutions)


def test_the_paper_preset_is_the_published_map():
    paper = PRESETS['paper']
    assert paper.minutes is None
    assert paper.field == MlpFieldConfig(features=128)
    assert paper.feature_channels == paper.fusion.channels == 128
    assert [stage.epochs for stage in paper.nefes.stages] == [600, 200, 400]
    assert isinstance(paper.regressor.config, DFNetConfig) and paper.regressor.short_side == 240
    assert (paper.rungs, paper.refiner) == (('regressor',), 'nefes-a')


@pytest.mark.parametrize('name', sorted(PRESETS))
def test_without_options_only_the_feature_head_is_fitted(name):
    preset = PRESETS[name]
    applied = PresetOptions().applied(preset)
    channels = 0 if preset.nefes is None else preset.feature_channels
    assert applied == replace(preset, field=replace(preset.field, features=channels))
    assert applied.fusion is None or applied.fusion.channels == applied.field.features


@pytest.mark.parametrize('name', sorted(PRESETS))
@pytest.mark.parametrize('kind', sorted(REGRESSORS))
def test_any_regressor_can_be_chosen(name, kind):
    applied = PresetOptions(regressor=kind, features='gradient').applied(PRESETS[name])
    assert type(applied.regressor.config) is REGRESSORS[kind].config_type
    small = name in ('cpu', 'paper-small')
    recipes = SMALL_REGRESSOR_RECIPES if small else REGRESSOR_RECIPES
    assert applied.regressor == recipes[kind]
    assert set(recipes) == set(REGRESSORS)


def test_the_regressor_that_a_preset_has_keeps_its_settings():
    own = replace(PRESETS['paper'].regressor, epochs=7)
    preset = replace(PRESETS['paper'], regressor=own)
    assert PresetOptions(regressor='dfnet').applied(preset).regressor == own


@pytest.mark.parametrize('backbone', BACKBONES)
def test_backbones_of_the_regressors_that_have_a_choice(backbone):
    weights = 'random' if backbone == 'compact' else 'imagenet'
    for kind in ('posenet', 'ms-transformer'):
        options = PresetOptions(regressor=kind, backbone=backbone)
        config = options.applied(PRESETS['gpu']).regressor.config
        assert (config.backbone, config.weights) == (backbone, weights)
        if kind == 'posenet':
            assert config.hidden == (2048 if backbone == 'resnet34' else 0)


@pytest.mark.parametrize(('name', 'field'), [('cpu', SMALL_MLP_FIELD), ('gpu', MlpFieldConfig())])
def test_an_mlp_field_brings_the_stages_of_nefes(name, field):
    applied = PresetOptions(field='mlp').applied(PRESETS[name])
    channels = GradientFeatures().channels
    assert applied.field == replace(field, features=channels)
    assert applied.nefes == NefesRecipe() and applied.fusion == FusionConfig(channels=channels)
    assert applied.rungs == PRESETS[name].rungs


def test_a_grid_field_can_be_trained_as_nefes_is():
    applied = PresetOptions(field='grid').applied(PRESETS['paper'])
    assert applied.field == GridFieldConfig(features=128)
    assert applied.nefes == PRESETS['paper'].nefes


def test_the_field_that_a_preset_has_keeps_its_sizes():
    for name, kind in (('gpu', 'grid'), ('paper-small', 'mlp')):
        applied = PresetOptions(field=kind).applied(PRESETS[name])
        assert applied == PresetOptions().applied(PRESETS[name])


@pytest.mark.parametrize('features', ['gradient', 'compact', 'dfnet'])
def test_the_feature_head_has_the_channels_of_the_features(features):
    for name in ('paper', 'paper-small'):
        applied = PresetOptions(features=features).applied(PRESETS[name])
        channels = GradientFeatures().channels
        if features == 'dfnet':
            channels = applied.regressor.config.channels
        assert applied.features == features
        assert applied.field.features == applied.feature_channels == channels
        assert applied.fusion.channels == channels


def test_dfnet_features_on_a_grid_field():
    options = PresetOptions(regressor='dfnet', features='dfnet')
    applied = options.applied(PRESETS['gpu'])
    assert (applied.features, applied.field.features, applied.nefes) == ('dfnet', 0, None)
    assert applied.feature_channels == 128


def test_a_recipe_without_fusion_has_no_such_network():
    preset = replace(PRESETS['paper'], nefes=NefesRecipe(fusion=False))
    assert PresetOptions().applied(preset).fusion is None


def test_poses_are_learned_where_a_field_is_trained_as_nefes_is():
    for name, field in (('paper', None), ('paper-small', 'grid'), ('cpu', 'mlp')):
        options = PresetOptions(field=field, learn_poses=True)
        assert options.applied(PRESETS[name]).nefes.learn_poses
    assert not PresetOptions().applied(PRESETS['paper']).nefes.learn_poses


def test_a_scene_of_the_paper_is_kept_by_its_name():
    for name in ('chess', 'KingsCollege'):
        assert PresetOptions(paper_scene=name).applied(PRESETS['cpu']).paper_scene == name


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'regressor': 'crystal'}, LearningError, "regressor 'crystal', expected one of compact"),
        ({'field': 'potato'}, LearningError, "field 'potato', expected one of grid, mlp"),
        (
            {'features': 'magic'},
            LearningError,
            "features 'magic', expected one of gradient, compact, dfnet[.]",
        ),
        ({'features': 'dfnet'}, LearningError, 'dfnet come with the regressor dfnet'),
        (
            {'features': 'dfnet', 'regressor': 'posenet'},
            LearningError,
            'dfnet come with the regressor dfnet',
        ),
        ({'backbone': 'resnet34'}, LearningError, 'resnet34 was chosen for a regressor that has'),
        (
            {'backbone': 'compact', 'regressor': 'dfnet'},
            LearningError,
            'compact was chosen for a regressor that has its own',
        ),
        (
            {'backbone': 'alexnet', 'regressor': 'posenet'},
            LearningError,
            "Unknown backbone 'alexnet'",
        ),
        ({'learn_poses': True}, LearningError, 'expected the preset paper'),
        ({'learn_poses': True, 'field': 'grid'}, LearningError, 'or the field mlp'),
        ({'paper_scene': 'attic'}, DataError, "no scene 'attic', expected one of chess"),
    ],
)
def test_what_does_not_go_together_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        PresetOptions(**options).applied(PRESETS['cpu'])


def test_another_regressor_takes_the_features_of_the_paper_away():
    with pytest.raises(LearningError, match='choose other features'):
        PresetOptions(regressor='compact').applied(PRESETS['paper'])
