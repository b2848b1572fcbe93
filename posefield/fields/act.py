"""Exposure of an image from its brightness alone (ACT, NeFeS section 2.5)."""

import torch
from torch import nn

from posefield.fields.initialization import seeded

BINS = 10
LUMINANCE = (0.299, 0.587, 0.114)
# How near colours come to 0 and 1 before their logit is taken.
LOGIT_MARGIN = 1e-3


def luminance_histogram(images_B3HW: torch.Tensor, bins: int = BINS) -> torch.Tensor:
    """Return how bright images are: whole percent (B, bins) int64 in equal bins of [0, 1].

    Args:
        images_B3HW: RGB in [0, 1]; 1 itself is in the last bin.
        bins: of the luminance 0.299 R + 0.587 G + 0.114 B.
    """
    weights = images_B3HW.new_tensor(LUMINANCE)
    luminance_BP = torch.einsum('bchw,c->bhw', images_B3HW, weights).flatten(1)
    index = (luminance_BP * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(len(index), bins, dtype=torch.long, device=index.device)
    counts.scatter_add_(1, index, torch.ones_like(index))
    return torch.round(100.0 * counts.double() / index.shape[1]).long()


class ExposureTransform(nn.Module):
    """Colours of a field as a camera with the exposure of a given image would record them.

    A 10-32-32-32-12 network turns the luminance histogram into a matrix K and an offset b, and
    a colour c of a whole ray into sigmoid(K x + b).  K begins as the identity and b as zero.
    """

    def __init__(self, logits: bool, generator: torch.Generator):
        """Draw first values.

        Args:
            logits: what x is: the logit of c, for fields whose colours are in [0, 1], so that
                colours are unchanged at first; or c itself, for a field of raw colours.
            generator: of the first values.
        """
        super().__init__()
        self.logits = logits
        with seeded(generator):
            self.network = nn.Sequential(
                nn.Linear(BINS, 32),
                nn.ReLU(),
                nn.Linear(32, 32),
                nn.ReLU(),
                nn.Linear(32, 32),
                nn.ReLU(),
                nn.Linear(32, 12),
            )
        last = self.network[-1]
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.cat([torch.eye(3).reshape(-1), torch.zeros(3)]))

    def forward(self, colours_R3: torch.Tensor, histogram: torch.Tensor) -> torch.Tensor:
        """Return exposed colours (R, 3) in [0, 1].

        Args:
            colours_R3: of rays.
            histogram: (10,) of the image that all rays belong to, or (R, 10), in percent.
        """
        affine = self.network(histogram.to(colours_R3.dtype) / 100.0)
        K, offset = affine[..., :9].unflatten(-1, (3, 3)), affine[..., 9:]
        inputs = torch.logit(colours_R3, LOGIT_MARGIN) if self.logits else colours_R3
        return torch.sigmoid((K @ inputs[..., None])[..., 0] + offset)
