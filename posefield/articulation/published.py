"""What Watch It Move was published with, for each of its recordings (sections 2, 4 and 5.1)."""

from dataclasses import replace

from posefield.articulation.paper_losses import PUBLISHED_WEIGHTS
from posefield.articulation.paper_model import PaperModelConfig
from posefield.articulation.paper_stage import PaperConfig
from posefield.errors import LearningError

# Parts of every recording, cosines of the frame, and the name of its weights.
RECORDINGS = {
    'zju': (20, 50, 'human'),
    'dog': (20, 50, 'dog'),
    'atlas': (20, 30, 'robots'),
    'baxter': (20, 30, 'robots'),
    'nao': (20, 30, 'nao'),
    'cassie': (15, 30, 'robots'),
    'spot': (15, 30, 'robots'),
    'pandas': (10, 30, 'robots'),
    'iiwa': (8, 30, 'robots'),
}
# Rays of an image with 20 parts, and with fewer.
MANY_PARTS, RAYS_OF_MANY, RAYS_OF_FEW = 20, 384, 512


def published_config(recording: str) -> PaperConfig:
    """Return the configuration of a recording, by a name in RECORDINGS.

    Raises:
        LearningError: for another name.
    """
    if recording not in RECORDINGS:
        raise LearningError(
            f'Unknown recording {recording!r} of Watch It Move, expected one of '
            f'{", ".join(RECORDINGS)}.'
        )
    parts, features, weights = RECORDINGS[recording]
    return replace(
        PaperConfig(),
        model=PaperModelConfig(parts=parts, pose_features=features),
        weights=PUBLISHED_WEIGHTS[weights],
        rays=RAYS_OF_MANY if parts >= MANY_PARTS else RAYS_OF_FEW,
    )
