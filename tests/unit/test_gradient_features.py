"""Hand-made features: what they react to and what they shrug off."""

import pytest
import torch

from posefield.features.extractors import extractor_tensors, load_extractor
from posefield.features.filters import gaussian_blur
from posefield.features.gradient import GradientFeatures


def texture(seed: int = 0) -> torch.Tensor:
    noise = torch.rand((1, 3, 40, 50), generator=torch.Generator().manual_seed(seed))
    smooth = gaussian_blur(noise, 1.5)
    low, high = smooth.min(), smooth.max()
    return (smooth - low) / (high - low)


def relative_change(features: torch.Tensor, reference: torch.Tensor) -> float:
    return float((features - reference).norm() / reference.norm())


@pytest.mark.parametrize(('gain', 'offset'), [(0.5, 0.0), (2.0, 0.0), (1.0, 0.2), (0.6, 0.3)])
def test_exposure_hardly_changes_the_features(gain, offset):
    extractor = GradientFeatures()
    image = texture()
    reference = extractor(image)
    assert relative_change(extractor(gain * image + offset), reference) < 0.15
    assert relative_change(extractor(texture(seed=1)), reference) > 0.8


def test_an_offset_alone_changes_nothing():
    extractor = GradientFeatures()
    torch.testing.assert_close(
        extractor(texture() + 0.25), extractor(texture()), atol=1e-4, rtol=0.0
    )


def test_features_have_the_announced_channels_and_are_bounded():
    extractor = GradientFeatures(orientations=6)
    features = extractor(texture())
    assert features.shape == (1, extractor.channels, 40, 50)
    assert extractor.channels == 9
    assert torch.isfinite(features).all()
    assert features.abs().max() < 10.0
    assert (features[:, :6] >= 0).all()


def test_a_plain_image_has_no_features():
    assert GradientFeatures()(torch.full((1, 3, 20, 20), 0.7)).abs().max() < 1e-4


def test_a_ramp_excites_its_own_direction_most_and_not_the_opposite_one():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing='ij')
    ramps = {0: x, 2: y, 4: -x, 6: -y}
    for direction, ramp in ramps.items():
        image = (0.5 + 0.01 * ramp).expand(1, 3, 40, 40)
        response = GradientFeatures()(image)[0, :8, 20, 20]
        assert int(response.argmax()) == direction
        assert float(response[(direction + 4) % 8]) == 0.0


def test_features_move_with_the_image():
    extractor = GradientFeatures(neighbourhood=1.5)
    image = texture()
    shifted = extractor(image.roll((3, 5), dims=(2, 3)))
    inner = (..., slice(15, -12), slice(17, -12))
    torch.testing.assert_close(
        shifted[inner], extractor(image).roll((3, 5), dims=(2, 3))[inner], atol=1e-4, rtol=0.0
    )


def test_gradient_features_are_loaded_by_name_and_have_no_weights():
    extractor = load_extractor('gradient', {}, 'cpu')
    assert isinstance(extractor, GradientFeatures)
    assert extractor_tensors(extractor) == {}


@pytest.mark.parametrize('brightness', [0.0, 0.3, 1.0])
def test_an_image_of_one_colour_has_finite_gradients(brightness):
    image = torch.full((1, 3, 12, 16), brightness, requires_grad=True)
    GradientFeatures()(image).sum().backward()
    assert torch.isfinite(image.grad).all()
