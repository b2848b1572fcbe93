"""Published figures of NeFeS and of the regressors that it refines, to set ours beside.

Everything is a median over the benchmark's whole test split, against SfM ground truth unless
said otherwise; an average is the mean over the scenes of a data set of these medians.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.evaluation.basin import StartBin

SEVEN_SCENES = '7-Scenes'
CAMBRIDGE = 'Cambridge Landmarks'

# The ground truths of 7-Scenes: figures against one are not comparable with those against the
# other. Cambridge Landmarks has only one.
SFM = 'SfM'
DEPTH_SLAM = 'depth SLAM'

SUPPLEMENT = 'NeFeS, CVPR 2024, arXiv 2303.10087v2, supplement'
TABLE_1 = f'{SUPPLEMENT}, table 1'
POSE_FILES = "recomputed from the poses that NeFeS's authors released"

Errors = tuple[float, float]


@dataclass(frozen=True)
class PublishedResult:
    """What one method reached on one scene.

    Attributes:
        dataset, scene: names of the benchmark; the scene is empty for a published average.
        method: the regressor, and what refined it.
        initial: median errors of the regressor alone, metres and degrees.
        refined: median errors after refinement, metres and degrees.
        source: where the figures are from.
        ground_truth: SFM or DEPTH_SLAM.
        mean: mean errors after refinement; None where not known.
        within_5_cm_5_deg: share of the test images; None where not known.
    """

    dataset: str
    scene: str
    method: str
    initial: Errors
    refined: Errors
    source: str
    ground_truth: str = SFM
    mean: Errors | None = None
    within_5_cm_5_deg: float | None = None


@dataclass(frozen=True)
class PublishedRuntime:
    """How fast a method was said to be.

    Attributes:
        method, source: as in PublishedResult.
        seconds_per_iteration: of one render, loss and back-propagation.
        iterations: of one image.
    """

    method: str
    seconds_per_iteration: float
    iterations: int
    source: str

    @property
    def seconds_per_image(self) -> float:
        """Seconds for all iterations of one image."""
        return self.seconds_per_iteration * self.iterations


TEST_IMAGES = {
    (SEVEN_SCENES, 'chess'): 2000,
    (SEVEN_SCENES, 'fire'): 2000,
    (SEVEN_SCENES, 'heads'): 1000,
    (SEVEN_SCENES, 'office'): 4000,
    (SEVEN_SCENES, 'pumpkin'): 2000,
    (SEVEN_SCENES, 'redkitchen'): 5000,
    (SEVEN_SCENES, 'stairs'): 1000,
    (CAMBRIDGE, 'KingsCollege'): 343,
    (CAMBRIDGE, 'OldHospital'): 182,
    (CAMBRIDGE, 'ShopFacade'): 103,
    (CAMBRIDGE, 'StMarysChurch'): 530,
}

POSENET, MS_TRANSFORMER, DFNET = (
    f'{regressor} → NeFeS-50' for regressor in ('PoseNet', 'MS-Transformer', 'DFNet')
)

# data set, scene, then (initial metres, degrees, refined metres, degrees) of PoseNet and of
# MS-Transformer.
_REGRESSORS = (
    (SEVEN_SCENES, 'chess', (0.10, 4.02, 0.04, 1.35), (0.11, 6.38, 0.06, 1.96)),
    (SEVEN_SCENES, 'fire', (0.27, 10.0, 0.03, 1.20), (0.23, 11.5, 0.06, 2.55)),
    (SEVEN_SCENES, 'heads', (0.18, 13.0, 0.12, 7.91), (0.13, 13.0, 0.09, 6.19)),
    (SEVEN_SCENES, 'office', (0.17, 5.97, 0.02, 0.72), (0.18, 8.14, 0.05, 1.69)),
    (SEVEN_SCENES, 'pumpkin', (0.19, 4.67, 0.06, 1.57), (0.17, 8.42, 0.07, 1.85)),
    (SEVEN_SCENES, 'redkitchen', (0.22, 5.91, 0.02, 0.68), (0.16, 8.92, 0.08, 2.31)),
    (SEVEN_SCENES, 'stairs', (0.35, 10.5, 0.27, 6.35), (0.29, 10.3, 0.34, 7.64)),
    (CAMBRIDGE, 'KingsCollege', (1.66, 4.86, 0.38, 0.56), (0.83, 1.47, 0.43, 0.59)),
    (CAMBRIDGE, 'OldHospital', (2.62, 4.90, 1.15, 1.30), (1.81, 2.39, 0.61, 1.06)),
    (CAMBRIDGE, 'ShopFacade', (1.41, 7.18, 0.21, 0.81), (0.86, 3.07, 0.18, 0.98)),
    (CAMBRIDGE, 'StMarysChurch', (2.45, 7.96, 0.42, 1.52), (1.62, 3.99, 0.48, 1.53)),
)

# data set, scene, initial, refined, mean after refinement, share within 5 cm and 5 degrees.
_DFNET = (
    (SEVEN_SCENES, 'chess', (0.033, 1.12), (0.0165, 0.565), (0.025, 0.82), 0.918),
    (SEVEN_SCENES, 'fire', (0.058, 2.29), (0.020, 0.740), (0.048, 1.56), 0.802),
    (SEVEN_SCENES, 'heads', (0.042, 2.24), (0.020, 1.28), (0.030, 1.66), 0.860),
    (SEVEN_SCENES, 'office', (0.059, 1.54), (0.019, 0.559), (0.033, 0.95), 0.861),
    (SEVEN_SCENES, 'pumpkin', (0.067, 1.89), (0.020, 0.552), (0.095, 2.52), 0.726),
    (SEVEN_SCENES, 'redkitchen', (0.066, 1.72), (0.020, 0.566), (0.078, 1.76), 0.767),
    (SEVEN_SCENES, 'stairs', (0.120, 2.63), (0.046, 1.28), (0.080, 1.91), 0.544),
    (CAMBRIDGE, 'KingsCollege', (0.732, 2.37), (0.367, 0.542), (1.01, 1.04), None),
    (CAMBRIDGE, 'OldHospital', (1.995, 2.98), (0.522, 0.876), (1.17, 1.49), None),
    (CAMBRIDGE, 'ShopFacade', (0.674, 2.20), (0.149, 0.528), (0.35, 1.28), None),
    (CAMBRIDGE, 'StMarysChurch', (1.371, 4.04), (0.372, 1.14), (1.16, 2.68), None),
)


def _per_scene() -> tuple[PublishedResult, ...]:
    regressors = (
        PublishedResult(dataset, scene, method, figures[:2], figures[2:], TABLE_1)
        for dataset, scene, posenet, ms_transformer in _REGRESSORS
        for method, figures in ((POSENET, posenet), (MS_TRANSFORMER, ms_transformer))
    )
    dfnet = (
        PublishedResult(
            dataset,
            scene,
            DFNET,
            initial,
            refined,
            POSE_FILES,
            mean=mean,
            within_5_cm_5_deg=share,
        )
        for dataset, scene, initial, refined, mean, share in _DFNET
    )
    photometric = (
        PublishedResult(
            CAMBRIDGE, 'OldHospital', method, (2.00, 2.98), refined, f'{SUPPLEMENT}, table 4'
        )
        for method, refined in (
            ('DFNet → photometric, sparse rays', (1.19, 1.52)),
            ('DFNet → photometric, whole image', (0.80, 1.12)),
        )
    )
    return (*regressors, *dfnet, *photometric)


RESULTS = _per_scene()

AVERAGES = (
    PublishedResult(SEVEN_SCENES, '', POSENET, (0.21, 7.74), (0.08, 2.83), TABLE_1),
    PublishedResult(SEVEN_SCENES, '', MS_TRANSFORMER, (0.18, 9.51), (0.11, 3.46), TABLE_1),
    PublishedResult(SEVEN_SCENES, '', DFNET, (0.063, 1.92), (0.023, 0.79), POSE_FILES),
    PublishedResult(CAMBRIDGE, '', POSENET, (2.04, 6.23), (0.54, 1.05), TABLE_1),
    PublishedResult(CAMBRIDGE, '', MS_TRANSFORMER, (1.28, 2.73), (0.43, 1.04), TABLE_1),
    PublishedResult(CAMBRIDGE, '', DFNET, (1.193, 2.90), (0.352, 0.772), POSE_FILES),
    PublishedResult(
        SEVEN_SCENES, '', DFNET, (0.12, 3.71), (0.08, 2.80), f'{SUPPLEMENT}, table 2', DEPTH_SLAM
    ),
    PublishedResult(
        SEVEN_SCENES,
        '',
        'DFNet → NeFeS-50 with optimised training poses',
        (0.12, 3.71),
        (0.07, 2.87),
        f'{SUPPLEMENT}, table 2',
        DEPTH_SLAM,
    ),
)

# What became of DFNet's poses in 50 iterations, by how far off they were: frames, median errors
# after refinement, share whose translation error became smaller. All scenes of the data set.
BASIN_SOURCE = f'{POSE_FILES}, all scenes of the data set together'
BASINS = {
    SEVEN_SCENES: (
        StartBin(0.0, 0.02, False, 1421, 0.014, 0.44, 0.50),
        StartBin(0.02, 0.05, False, 5895, 0.015, 0.46, 0.88),
        StartBin(0.05, 0.1, False, 4711, 0.019, 0.59, 0.94),
        StartBin(0.1, 0.2, False, 2653, 0.034, 1.08, 0.93),
        StartBin(0.2, 0.5, False, 1583, 0.090, 2.82, 0.89),
        StartBin(0.5, 1.0, False, 666, 0.365, 7.53, 0.82),
        StartBin(1.0, None, False, 71, 0.885, 9.93, 0.83),
    ),
    CAMBRIDGE: (
        StartBin(0.0, 0.25, False, 41, 0.230, 0.52, 0.24),
        StartBin(0.25, 0.5, False, 140, 0.247, 0.49, 0.71),
        StartBin(0.5, 1.0, False, 348, 0.299, 0.64, 0.85),
        StartBin(1.0, 2.0, False, 342, 0.378, 0.86, 0.87),
        StartBin(2.0, 4.0, False, 207, 0.571, 1.48, 0.79),
        StartBin(4.0, 8.0, False, 69, 3.63, 2.97, 0.74),
        StartBin(8.0, None, False, 11, 10.5, 6.6, 0.45),
    ),
}

NEFES_RUNTIME = PublishedRuntime('NeFeS-50', 1 / 6.9, 50, SUPPLEMENT)

# Other names under which the scenes are known, in lower case.
_ALIASES = {
    'kitchen': 'redkitchen',
    'kings': 'KingsCollege',
    'hospital': 'OldHospital',
    'shop': 'ShopFacade',
    'church': 'StMarysChurch',
}


def benchmark_scene(dataset: str, name: str) -> str | None:
    """Return the benchmark's name of a scene of a data set; None when it has no such scene."""
    name = _ALIASES.get(name.lower(), name).lower()
    for known_dataset, scene in TEST_IMAGES:
        if known_dataset == dataset and scene.lower() == name:
            return scene
    return None


def published_on(dataset: str, scenes: Sequence[str]) -> dict[str, dict[str, PublishedResult]]:
    """Return method -> scene -> result for the methods known on at least one of the scenes."""
    found: dict[str, dict[str, PublishedResult]] = {}
    for result in RESULTS:
        if result.dataset == dataset and result.scene in scenes:
            found.setdefault(result.method, {})[result.scene] = result
    return found


def average(errors: Sequence[Errors]) -> Errors:
    """Return the mean over scenes of medians in metres and in degrees."""
    translation, rotation_deg = np.mean(np.asarray(errors, dtype=float), axis=0)
    return float(translation), float(rotation_deg)
