"""MS-Transformer: scenes told apart, poses in the frame of the scene, its training."""

from dataclasses import replace

import numpy as np
import pytest
import roma
from scipy.spatial.transform import Rotation
import torch

from posefield.errors import LearningError
from posefield.features.gradient import GREY_WEIGHTS
from posefield.geometry.poses import pose_errors
from posefield.learning.loop import run_stage
from posefield.learning.schedules import Cosine
from posefield.relocalization.regressors.colour_jitter import ColourJitter
from posefield.relocalization.regressors.ms_transformer import (
    MsTransformer,
    MsTransformerConfig,
    MsTransformerOutput,
)
from posefield.relocalization.regressors.ms_transformer_stage import (
    PUBLISHED_DECAY,
    LearnedWeights,
    MsTransformerStage,
    MsTransformerStageConfig,
)
from posefield.relocalization.regressors.registry import build_regressor
from posefield.relocalization.regressors.regressor import Regression
from posefield.relocalization.regressors.transformer import MapTransformer
from posefield.relocalization.view_synthesis import ReferenceViews

SMALL = MsTransformerConfig(
    scenes=('garden', 'house'),
    backbone='compact',
    weights='random',
    width=16,
    heads=2,
    hidden=16,
    dropout=0.0,
    translation_layers=1,
    rotation_layers=1,
    head_width=16,
    image_side=36,
    crop=32,
)
PLAIN = MsTransformerStageConfig(
    learning_rate=3e-3,
    schedule=Cosine(0.05, 0.05),
    rotation_weight=0.0,
    jitter=ColourJitter(0.0, 0.0, 0.0, 0.0),
)
CPU = torch.device('cpu')


def small_network(config: MsTransformerConfig = SMALL) -> MsTransformer:
    return build_regressor('ms-transformer', config, torch.Generator().manual_seed(0)).eval()


def crops(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def views(seed: int, count: int = 4) -> ReferenceViews:
    """Photos of coarse tiles, whose colours are of the scene."""
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = generator.uniform(-0.8, 0.8, size=(count, 3))
    coarse = generator.integers(0, 120, size=(count, 3, 4, 3))
    coarse[..., seed % 3] += 100
    images = coarse.repeat(12, axis=1).repeat(12, axis=2).astype(np.uint8)
    return ReferenceViews(images, poses)


def test_the_published_network_has_the_published_maps():
    """224 pixels become 28 x 28 cells for the rotation and 14 x 14 for the translation."""
    config = MsTransformerConfig(('a', 'b', 'c'), backbone='compact', weights='random')
    network = build_regressor('ms-transformer', config)
    assert network.rotation.rows.shape == network.rotation.columns.shape == (28, 128)
    assert network.translation.rows.shape == network.translation.columns.shape == (14, 128)
    assert network.translation.queries.shape == (3, 256)
    assert len(network.translation.encoder) == len(network.rotation.decoder) == 6
    assert network.scene_head.in_features == 512
    assert [tuple(p.shape) for p in network.rotation_heads[2].parameters()] == [
        (1024, 256), (1024,), (4, 1024), (4,),
    ]  # fmt: skip
    assert len(network.translation_heads) == 3


def test_answers_depend_on_where_things_are_and_on_the_query():
    torch.manual_seed(2)
    transformer = MapTransformer(
        4, (3, 5), 2, width=8, heads=2, hidden=8, layers=1, dropout=0.0
    ).eval()
    maps = torch.randn(1, 4, 3, 5)
    answers = transformer(maps)
    assert answers.shape == (1, 2, 8)
    assert not torch.allclose(answers[:, 0], answers[:, 1], atol=1e-3)
    for dimension in (2, 3):
        assert not torch.allclose(transformer(maps.flip(dimension)), answers, atol=1e-3)
    with torch.no_grad():
        transformer.rows.zero_()
        transformer.columns.zero_()
    nowhere = transformer(maps)
    torch.testing.assert_close(transformer(maps.flip(2)), nowhere)


def test_the_decoder_knows_where_things_are_by_itself():
    torch.manual_seed(2)
    sizes = {'width': 8, 'heads': 2, 'hidden': 8, 'layers': 1, 'dropout': 0.0}
    transformer = MapTransformer(4, (3, 5), 2, **sizes).eval()
    transformer.encoder = torch.nn.ModuleList()
    maps = torch.randn(1, 4, 3, 5)
    assert not torch.allclose(transformer(maps.flip(3)), transformer(maps), atol=1e-4)


def test_images_are_resized_and_their_middle_is_taken():
    network = small_network()
    columns = torch.arange(60.0).expand(1, 3, 36, 60)
    assert torch.equal(network.centre_crops(columns), columns[:, :, 2:34, 14:46])
    twice = columns.repeat_interleave(2, 2).repeat_interleave(2, 3)
    inner = network.resized(twice)[..., 1:-1]
    torch.testing.assert_close(inner, columns[..., 1:-1], atol=1e-4, rtol=0.0)
    assert network.resized(torch.zeros(1, 3, 100, 50)).shape == (1, 3, 72, 36)


def test_the_answer_is_that_of_the_likeliest_scene():
    network = small_network()
    output = network.recognise(crops())
    assert isinstance(output, MsTransformerOutput)
    log_probabilities = output.scene_log_probabilities_BS
    torch.testing.assert_close(log_probabilities.exp().sum(dim=1), torch.ones(3))
    assert torch.equal(output.scenes_B, log_probabilities.argmax(dim=1))
    forced = network.recognise(crops(), 1 - output.scenes_B)
    again = network.recognise(crops(), output.scenes_B)
    assert torch.equal(again.poses(), output.poses())
    assert not torch.allclose(forced.centres_B3, output.centres_B3, atol=1e-4)
    assert torch.equal(forced.scene_log_probabilities_BS, log_probabilities)


def test_quaternions_are_those_of_the_rotations():
    output = small_network().recognise(crops())
    torch.testing.assert_close(output.quats_xyzw_B4.norm(dim=1), torch.ones(3))
    expected = Rotation.from_quat(output.quats_xyzw_B4.detach().numpy()).as_matrix()
    np.testing.assert_allclose(output.poses()[:, :, :3].detach(), expected, atol=1e-6)
    assert torch.equal(output.poses()[:, :, 3], output.centres_B3)


@pytest.mark.parametrize('shared', [False, True])
def test_each_scene_has_its_own_last_layers_unless_they_are_shared(shared):
    network = small_network(replace(SMALL, shared_heads=shared))
    scenes = torch.tensor([0, 1, 1])
    before = network.recognise(crops(), scenes).centres_B3
    with torch.no_grad():
        network.translation_heads[-1][-1].bias.add_(1.0)
    moved = network.recognise(crops(), scenes).centres_B3 - before
    expected = torch.ones(3, 3) if shared else torch.tensor([[0.0], [1.0], [1.0]]).expand(3, 3)
    torch.testing.assert_close(moved, expected)


def test_the_caller_sees_when_the_scene_is_not_his():
    network = small_network()
    image = crops(1)[0].permute(1, 2, 0)
    anywhere = network.regress(image)
    assert anywhere.expected_scene is None
    assert anywhere.in_expected_scene
    assert 0.5 <= anywhere.scene_probability <= 1.0
    other = next(scene for scene in SMALL.scenes if scene != anywhere.scene)
    assert network.for_scene(anywhere.scene).regress(image).in_expected_scene
    elsewhere = network.for_scene(other).regress(image)
    assert elsewhere.scene == anywhere.scene
    assert not elsewhere.in_expected_scene
    assert torch.equal(elsewhere.T_field_cam, anywhere.T_field_cam)
    assert network.config.scene is None
    assert Regression(torch.eye(4)).in_expected_scene


def test_scenes_have_numbers_and_unknown_ones_are_named():
    network = small_network()
    assert [network.scene_index(scene) for scene in SMALL.scenes] == [0, 1]
    with pytest.raises(
        LearningError, match="Unknown scene 'attic', expected one of garden, house"
    ):
        network.scene_index('attic')
    with pytest.raises(LearningError, match="Unknown scene 'attic'"):
        network.for_scene('attic')


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'scenes': ()}, r'different names, found \(\)'),
        ({'scenes': ('a', 'a')}, 'different names'),
        ({'width': 18}, r'multiple of twice its heads \(4\), found 18'),
        ({'crop': 40}, 'short side of 36, found 40'),
        ({'weights': 'imagenet'}, "'compact' has no weights"),
    ],
)
def test_impossible_networks_are_refused(values, message):
    with pytest.raises(LearningError, match=message):
        replace(SMALL, **values)


def test_the_losses_are_joined_by_learned_weights():
    weights = LearnedWeights(0.5, -3.0)
    loss = weights(torch.tensor(2.0), torch.tensor(0.1))
    expected = 2.0 * np.exp(-0.5) + 0.5 + 0.1 * np.exp(3.0) - 3.0
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(
        weights.weights.grad, [1.0 - 2.0 * np.exp(-0.5), 1.0 - 0.1 * np.exp(3.0)], rtol=1e-5
    )


def test_the_rate_falls_to_a_tenth_twice():
    assert [PUBLISHED_DECAY(f) for f in (0.0, 0.32, 0.34, 0.66, 0.67, 0.99)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    )


def test_it_learns_two_scenes_and_tells_them_apart():
    photos = {'garden': views(0), 'house': views(2)}
    stage = MsTransformerStage(small_network(), photos, PLAIN, CPU)
    result = run_stage(stage, generator=torch.Generator().manual_seed(3), steps=120)
    assert result.metrics['recognised'] > 0.98
    network = stage.network
    for scene, found in photos.items():
        for image, T_true in zip(found.images_NHW3, found.T_field_cam_N44, strict=True):
            answer = network.regress(torch.from_numpy(image).float() / 255.0)
            assert answer.scene == scene
            errors = pose_errors(answer.T_field_cam.numpy(), T_true)
            assert errors.translation < 0.3
            assert errors.rotation_deg < 50.0


def test_the_targets_are_those_of_the_true_scene():
    """A network that already answers with the true poses has only the loss of the scenes."""
    photos = {'garden': views(0, 1), 'house': views(1, 1)}
    network = small_network()
    with torch.no_grad():
        for scene, found in enumerate(photos.values()):
            T = torch.from_numpy(found.T_field_cam_N44[0]).float()
            for head, values in (
                (network.translation_heads[scene], T[:3, 3]),
                # The other sign of the quaternion is the same rotation.
                (network.rotation_heads[scene], -3.0 * roma.rotmat_to_unitquat(T[:3, :3])),
            ):
                head[-1].weight.zero_()
                head[-1].bias.copy_(values)
    stage = MsTransformerStage(network, photos, PLAIN, CPU)
    metrics = stage.step(0, torch.Generator().manual_seed(0))
    assert float(metrics['translation'].detach()) < 1e-6
    assert float(metrics['rotation'].detach()) < 1e-6
    torch.testing.assert_close(metrics['loss'], metrics['scene'])


def test_crops_are_anywhere_in_the_image():
    stage = MsTransformerStage(
        small_network(replace(SMALL, scenes=('garden',))), {'garden': views(0, 2)}, PLAIN, CPU
    )
    stage._images = [torch.arange(36 * 48).view(1, 1, 36, 48).expand(2, 3, 36, 48) % 256]
    generator = torch.Generator().manual_seed(4)
    corners = set()
    for _ in range(300):
        crop = stage._crops([1], generator)
        assert crop.shape == (1, 3, 32, 32)
        corners.add(round(float(crop[0, 0, 0, 0]) * 255.0))
    expected = {(48 * top + left) % 256 for top in range(5) for left in range(17)}
    assert corners <= expected
    assert len(corners) > 0.9 * len(expected)


def test_the_translation_can_be_tuned_alone():
    network = small_network()
    stage = MsTransformerStage(
        network,
        {'garden': views(0), 'house': views(2)},
        replace(PLAIN, translation_only=True, weight_decay=0.1),
        CPU,
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    run_stage(stage, generator=torch.Generator().manual_seed(5), steps=2)
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    assert {name.split('.')[0] for name in changed} == {'translation', 'translation_heads'}
    assert stage.name == 'regressor-translation'
    training = {name for name, part in network.named_children() if part.training}
    assert training == {'translation', 'translation_heads'}


def test_photos_of_every_scene_are_needed():
    for photos in ({'garden': views(0)}, {'garden': views(0), 'house': views(1, 0)}):
        with pytest.raises(LearningError, match='garden, house needs photos of each of them'):
            MsTransformerStage(small_network(), photos, PLAIN, CPU)


def test_jitter_changes_each_image_on_its_own_within_its_limits():
    images = torch.full((200, 3, 4, 4), 0.4)
    changed = ColourJitter(0.5, 0.0, 0.0, 0.0)(images, torch.Generator().manual_seed(6))
    factors = changed[:, 0, 0, 0] / 0.4
    assert 0.5 <= factors.min() < 0.55
    assert 1.45 < factors.max() <= 1.5
    coloured = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(200, 3, 2, 2)
    turned = ColourJitter(0.0, 0.0, 0.0, 0.2)(coloured, torch.Generator().manual_seed(7))
    grey = torch.tensor(GREY_WEIGHTS)
    torch.testing.assert_close(
        turned[:, :, 0, 0] @ grey, coloured[:, :, 0, 0] @ grey, atol=1e-4, rtol=0.0
    )
    assert turned[:, 0].std() > 0.03
    contrast = torch.tensor([0.2, 0.6]).view(1, 1, 1, 2).expand(200, 3, 1, 2)
    changed = ColourJitter(0.0, 0.5, 0.0, 0.0)(contrast, torch.Generator().manual_seed(8))
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), torch.full((200,), 0.4))
    spread = (changed[..., 1] - changed[..., 0])[:, 0, 0]
    assert 0.2 <= spread.min() < 0.25
    assert 0.55 < spread.max() <= 0.6
    faded = ColourJitter(0.0, 0.0, 1.0, 0.0)(coloured, torch.Generator().manual_seed(9))
    range_ = faded[:, 0, 0, 0] - faded[:, 2, 0, 0]
    assert range_.min() < 0.03
    assert range_.max() > 0.5


def test_no_jitter_is_no_change():
    images = crops()
    changed = ColourJitter(0.0, 0.0, 0.0, 0.0)(images, torch.Generator())
    torch.testing.assert_close(changed, images, atol=1e-5, rtol=0.0)
