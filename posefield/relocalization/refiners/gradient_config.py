"""Settings of the refiners that descend a gradient through the field (NeFeS section 5)."""

from dataclasses import dataclass, replace
import math

from posefield.errors import PosefieldError
from posefield.relocalization.refiners.feature_loss import feature_loss

ITERATIONS = 50


@dataclass(frozen=True)
class LearningRates:
    """Adam's rates of the pose parameters: what an early step moves along each axis.

    Attributes:
        rotation: radians.
        translation: map units, or share of the scene scale when `relative`.
        relative: see `translation`.
    """

    rotation: float
    translation: float
    relative: bool = False

    def in_field(self, scene_scale: float, field_per_map: float) -> 'LearningRates':
        """Return the rates with the translation in field units.

        Args:
            scene_scale: typical distance from the cameras to what they see, field units.
            field_per_map: length of a map unit in the field frame.
        """
        factor = scene_scale if self.relative else field_per_map
        return LearningRates(self.rotation, self.translation * factor)


# The published ones, and the supplement's Table 5 (equal-* and split).
NAMED_RATES = {
    'scaled': LearningRates(0.0087, 0.0075, relative=True),
    'seven-scenes': LearningRates(0.0087, 0.01),
    'cambridge': LearningRates(0.01, 0.1),
    'equal-0.1': LearningRates(0.1, 0.1),
    'equal-0.01': LearningRates(0.01, 0.01),
    'equal-0.003': LearningRates(0.003, 0.003),
    'equal-0.001': LearningRates(0.001, 0.001),
    'split': LearningRates(0.01, 0.1),
}


def parse_rates(text: str) -> LearningRates:
    """Return rates by name, or from `ROT,TRANS` in radians and map units.

    Raises:
        PosefieldError: for anything else.
    """
    if text in NAMED_RATES:
        return NAMED_RATES[text]
    try:
        rotation, translation = (float(word) for word in text.split(','))
    except ValueError:
        rotation = translation = math.nan
    if not (0.0 <= rotation < math.inf and 0.0 <= translation < math.inf):
        raise PosefieldError(
            f'Learning rates must be ROT,TRANS (radians, map units) or one of '
            f'{", ".join(NAMED_RATES)}, found {text!r}.'
        )
    return LearningRates(rotation, translation)


def _check_iterations(iterations: int) -> None:
    if iterations < 1:
        raise PosefieldError(f'A refiner must make at least 1 iteration, found {iterations}.')


@dataclass(frozen=True)
class NefesAConfig:
    """Refining the regressor's weights on one query (mode a, section 5.2).

    Attributes:
        iterations: renders, each followed by one Adam step.
        rate: Adam's, of every weight.
        loss: `channel` (the paper's) or `pixel`.
        short_side: features are compared at this size, bicubically enlarged from the render.
        border_px: cut off all round at that size.
        verify: keep the start when PSNR or SSIM of the render fell; the paper does it indoors.
    """

    iterations: int = ITERATIONS
    rate: float = 1e-5
    loss: str = 'channel'
    short_side: int = 240
    border_px: int = 10
    verify: bool = True

    def __post_init__(self):
        _check_iterations(self.iterations)
        feature_loss(self.loss)


@dataclass(frozen=True)
class NefesBConfig:
    """Refining the pose itself by features (mode b, section 5.3).

    Attributes:
        iterations: renders, each followed by one Adam step.
        rates: Adam's.
        exponential: t = t0 + V(r) tau; otherwise t = t0 + tau.
        loss: `channel` (the paper's) or `pixel`.
        verify: keep the start when PSNR or SSIM of the render fell; the paper does not.
    """

    iterations: int = ITERATIONS
    rates: LearningRates = NAMED_RATES['scaled']
    exponential: bool = True
    loss: str = 'channel'
    verify: bool = False

    def __post_init__(self):
        _check_iterations(self.iterations)
        feature_loss(self.loss)


@dataclass(frozen=True)
class PhotometricConfig:
    """Refining the pose by the colours of the render (section 5.4).

    Attributes:
        iterations: renders, each followed by one Adam step.
        rates: Adam's.
        exponential: as in `NefesBConfig`.
        rays: random pixels in each iteration; None takes the whole image.
        seed: of the pixels.
    """

    iterations: int = ITERATIONS
    rates: LearningRates = NAMED_RATES['scaled']
    exponential: bool = True
    rays: int | None = None
    seed: int = 0

    def __post_init__(self):
        _check_iterations(self.iterations)
        if self.rays is not None and self.rays < 1:
            raise PosefieldError(f'At least 1 ray must be rendered, found {self.rays}.')


GradientConfig = NefesAConfig | NefesBConfig | PhotometricConfig

GRADIENT_REFINERS: dict[str, GradientConfig] = {
    'nefes-a': NefesAConfig(),
    'nefes-b': NefesBConfig(),
    'photometric-sparse': PhotometricConfig(rays=1024),
    'photometric-dense': PhotometricConfig(),
}


def gradient_config(
    name: str, iterations: int | None = None, rates: LearningRates | None = None
) -> GradientConfig:
    """Return the settings of a refiner, with what is not None replaced.

    Raises:
        PosefieldError: for rates given to `nefes-a`, which has no pose parameters, or too few
            iterations.
    """
    config = GRADIENT_REFINERS[name]
    if iterations is not None:
        config = replace(config, iterations=iterations)
    if rates is not None:
        if not hasattr(config, 'rates'):
            raise PosefieldError(
                f'The refiner {name} moves the weights of the regressor, not pose parameters: '
                'expected no learning rates of rotation and translation.'
            )
        config = replace(config, rates=rates)
    return config
