"""PSNR and SSIM of the fail-safe."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity
import torch

from posefield.relocalization.refiners.photometric_gate import Likeness, similarity_map


def picture(seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.uniform(size=(1, 3, 5, 6)))
    return torch.nn.functional.interpolate(coarse, (40, 50), mode='bilinear')[0].float()


def test_psnr_of_a_constant_error():
    image = picture(0)
    assert Likeness.of(image, image + 0.1).psnr == pytest.approx(20.0, abs=1e-4)
    assert Likeness.of(image, image) == Likeness(100.0, pytest.approx(1.0))


def test_similarity_is_that_of_scikit_image_where_no_border_matters():
    image, other = picture(0), picture(1)
    _, expected = structural_similarity(
        image.double().numpy(),
        other.double().numpy(),
        win_size=7,
        data_range=1.0,
        channel_axis=0,
        use_sample_covariance=False,
        full=True,
    )
    found = similarity_map(image.double(), other.double()).numpy()
    assert found.shape == image.shape
    np.testing.assert_allclose(found[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3], atol=1e-10)


def test_windows_at_the_border_see_the_image_mirrored():
    image, other = picture(0), picture(1)
    mirrored = [
        torch.from_numpy(np.pad(x.numpy(), ((0, 0), (3, 3), (3, 3)), mode='reflect'))
        for x in (image, other)
    ]
    torch.testing.assert_close(
        similarity_map(*mirrored)[:, 3:-3, 3:-3], similarity_map(image, other)
    )


@pytest.mark.parametrize(
    ('later', 'fell'),
    [
        (Likeness(20.0, 0.5), False),
        (Likeness(21.0, 0.6), False),
        (Likeness(19.9, 0.6), True),
        (Likeness(21.0, 0.49), True),
    ],
)
def test_either_figure_may_reject(later, fell):
    assert Likeness(20.0, 0.5).fell_to(later) is fell
