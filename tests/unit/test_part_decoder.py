"""The decoder of colour and residual, and the union of parts (watch_it_move.md section 3)."""

import math

import pytest
import torch

from posefield.articulation.decoder import DecoderConfig, PartDecoder, encode
from posefield.articulation.union import SoftUnion, soft_minimum
from posefield.errors import LearningError


def _decoder(parts=3, seed=0, **sizes):
    sizes = {'octaves': 2, 'width': 16, 'depth': 3, **sizes}
    generator = torch.Generator().manual_seed(seed)
    return PartDecoder(parts, DecoderConfig(**sizes), generator=generator)


def _inputs(parts=3, count=10, seed=5):
    generator = torch.Generator().manual_seed(seed)
    points = 0.3 * torch.randn(count, parts, 3, generator=generator)
    return points, 0.2 * torch.rand(count, parts, generator=generator)


def test_two_parts_in_one_place_are_lower_by_ln_2_over_kappa():
    found = soft_minimum(torch.tensor([[0.3, 0.3]]), 50.0)
    assert float(0.3 - found[0]) == pytest.approx(math.log(2) / 50, abs=1e-6)
    # The far part does not count; nor does one so far that its exponential is zero.
    assert float(soft_minimum(torch.tensor([[0.3, 0.9]]), 50.0)) == pytest.approx(0.3, abs=1e-6)
    assert float(soft_minimum(torch.tensor([[9.0, 99.0]]), 50.0)) == pytest.approx(9.0)


def test_the_published_sharpnesses_are_where_learning_starts():
    assert SoftUnion().sharpness.item() == pytest.approx(50.0)
    decoder = PartDecoder(20, generator=torch.Generator().manual_seed(0))
    assert decoder.sharpness.item() == pytest.approx(30.0)
    linear = [m for m in decoder.layers if isinstance(m, torch.nn.Linear)]
    assert [tuple(m.weight.shape) for m in linear] == [(256, 720)] + 7 * [(256, 256)]
    # Nothing is activated between the first layer and the second.
    assert isinstance(decoder.layers[1], torch.nn.Linear)


def test_the_encoding_is_cosines_and_sines_without_pi():
    points = torch.tensor([[[0.3, -0.2, 0.7]]])
    found = sorted(encode(points, 6)[0, 0].tolist())
    expected = sorted(
        wave(2**k * float(x))
        for x in points[0, 0]
        for k in range(6)
        for wave in (math.cos, math.sin)
    )
    assert found == pytest.approx(expected, abs=1e-5)


def test_colours_and_residuals_are_bounded():
    decoder = _decoder(largest_residual=0.02)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter *= 50
    decoded = decoder(*_inputs())
    assert decoded.colours_N3.shape == (10, 3)
    assert decoded.colours_N3.abs().max() <= 1.0
    assert 0.019 < decoded.residuals_N.abs().max() <= 0.02


def test_a_far_part_says_nothing():
    decoder = _decoder()
    points, distances = _inputs()
    distances[:, 2] = 2.0
    moved = points.clone()
    moved[:, 2] += 1.0
    before, after = decoder(points, distances), decoder(moved, distances)
    torch.testing.assert_close(before.colours_N3, after.colours_N3)
    moved[:, 1] += 1.0
    assert (decoder(moved, distances).colours_N3 - before.colours_N3).abs().max() > 1e-4


def test_weights_are_a_softmax_of_the_distances():
    decoder = _decoder()
    distances = torch.tensor([[0.0, 0.1, 0.2]])
    raw = torch.tensor([math.exp(-30 * d) for d in (0.0, 0.1, 0.2)])
    torch.testing.assert_close(decoder.weights(distances)[0], raw / raw.sum())


def test_the_features_of_equation_4_reach_the_first_layer():
    decoder = _decoder(depth=1)
    points, distances = _inputs(count=4)
    encoded, weights = encode(points, 2), decoder.weights(distances)
    features = torch.stack(
        [torch.cat([weights[n, p] * encoded[n, p] for p in range(3)]) for n in range(4)]
    )
    torch.testing.assert_close(decoder.hidden(points, distances), decoder.layers[0](features))
    residuals = decoder.residuals(points, distances)
    torch.testing.assert_close(residuals, decoder(points, distances).residuals_N)


def test_learning_can_start_without_a_residual():
    decoder = _decoder()
    assert decoder(*_inputs()).residuals_N.abs().max() > 0
    decoder.zero_residual()
    assert decoder(*_inputs()).residuals_N.abs().max() == 0
    decoder(*_inputs()).residuals_N.sum().backward()
    assert decoder.residual.weight.grad.abs().max() > 0


def test_the_seed_gives_the_weights():
    assert torch.equal(_decoder(seed=1).colour.weight, _decoder(seed=1).colour.weight)
    assert not torch.equal(_decoder(seed=1).colour.weight, _decoder(seed=2).colour.weight)


@pytest.mark.parametrize('name', ['octaves', 'width', 'depth', 'largest_residual'])
def test_sizes_must_be_positive(name):
    with pytest.raises(LearningError, match=f'{name} of a decoder must be positive, found 0'):
        DecoderConfig(**{name: 0})
