"""Whether a pose can be trusted: evidence turned into a calibrated probability."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import itertools
import math

import numpy as np

# A pose is right when it is this close: 2 % of the median depth, and 1 degree.
RIGHT_RELATIVE = 0.02
RIGHT_DEG = 1.0
# A pose this far off must never be accepted.
FALSE_RELATIVE = 0.10
FALSE_DEG = 5.0
MIN_THRESHOLD = 0.5
# A threshold is this far above the best false pose, or half of the way from there to 1.
MARGIN = 0.02


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose.

    Attributes:
        render_inliers, render_cost: of a field render at the pose.
        keyframe_inliers, keyframe_cost, keyframe_overlap: of keyframe alignment; None if off.
        sparse_inliers: sparse matches that agree; None if off.
    """

    render_inliers: float
    render_cost: float
    keyframe_inliers: float | None = None
    keyframe_cost: float | None = None
    keyframe_overlap: float | None = None
    sparse_inliers: int | None = None

    def vector(self, with_keyframe: bool, with_sparse: bool) -> np.ndarray:
        """Return the numbers that a model of these sources looks at, (D,)."""
        values = [self.render_inliers, self.render_cost]
        if with_keyframe:
            values += [self.keyframe_inliers, self.keyframe_cost, self.keyframe_overlap]
        if with_sparse:
            values.append(min(math.log1p(self.sparse_inliers), math.log1p(100)))
        return np.array(values, dtype=np.float64)


@dataclass(frozen=True)
class Sample:
    """One pose of known error for fitting.

    Attributes:
        evidence: with all sources.
        relative_translation: error over the median depth.
        rotation_deg: error.
    """

    evidence: Evidence
    relative_translation: float
    rotation_deg: float

    @property
    def is_right(self) -> bool:
        """Whether the pose counts as right."""
        return self.relative_translation < RIGHT_RELATIVE and self.rotation_deg < RIGHT_DEG

    @property
    def is_false(self) -> bool:
        """Whether accepting the pose would be a false accept."""
        return self.relative_translation > FALSE_RELATIVE or self.rotation_deg > FALSE_DEG


@dataclass(frozen=True)
class LogisticModel:
    """Probability = sigmoid(bias + weights . (x - mean) / deviation), accepted above threshold."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float

    def probability(self, x_D: np.ndarray) -> float:
        """Return the probability that the pose is right."""
        z = self.bias + float(
            np.dot(self.weights, (x_D - np.array(self.mean)) / np.array(self.deviation))
        )
        return 1.0 / (1.0 + math.exp(-min(max(z, -50.0), 50.0)))


def fit_logistic(x_ND: np.ndarray, right_N: np.ndarray, false_N: np.ndarray) -> LogisticModel:
    """Return the ridge-penalised logistic regression, with a threshold above all false poses.

    Newton's method; the penalty keeps separable samples (the usual case) finite.
    """
    mean, deviation = x_ND.mean(axis=0), x_ND.std(axis=0) + 1e-6
    z = (x_ND - mean) / deviation
    X = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    penalty = np.diag([0.0] + [0.3] * z.shape[1]) + 1e-3 * np.eye(X.shape[1])
    beta = np.zeros(X.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(X @ beta, -50.0, 50.0)))
        gradient = X.T @ (p - right_N) + penalty @ beta
        hessian = X.T @ (X * (p * (1.0 - p))[:, None]) + penalty
        step = np.linalg.solve(hessian, gradient)
        beta -= step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-9))
        if np.abs(step).max() < 1e-8:
            break
    p = 1.0 / (1.0 + np.exp(-np.clip(X @ beta, -50.0, 50.0)))
    highest_false = float(p[false_N].max()) if false_N.any() else 0.0
    margin = min(MARGIN, 0.5 * (1.0 - highest_false))
    threshold = max(MIN_THRESHOLD, highest_false + margin)
    return LogisticModel(
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
        tuple(beta[1:].tolist()),
        float(beta[0]),
        threshold,
    )


@dataclass(frozen=True)
class AcceptanceModel:
    """One logistic model for each set of evidence sources, so that rungs can be switched off."""

    models: Mapping[str, LogisticModel]

    def judge(
        self, evidence: Evidence, with_keyframe: bool, with_sparse: bool
    ) -> tuple[float, float]:
        """Return (probability of being right, threshold)."""
        model = self.models[_key(with_keyframe, with_sparse)]
        return model.probability(evidence.vector(with_keyframe, with_sparse)), model.threshold

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return {name: asdict(model) for name, model in self.models.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping]) -> 'AcceptanceModel':
        """Return the model that `to_dict` described."""
        return cls(
            {
                name: LogisticModel(
                    tuple(v['mean']),
                    tuple(v['deviation']),
                    tuple(v['weights']),
                    float(v['bias']),
                    float(v['threshold']),
                )
                for name, v in values.items()
            }
        )


def fit_acceptance(samples: Sequence[Sample]) -> AcceptanceModel:
    """Return the models of all sets of sources, fitted to poses of known error."""
    right = np.array([sample.is_right for sample in samples], dtype=np.float64)
    false = np.array([sample.is_false for sample in samples])
    models = {}
    for with_keyframe, with_sparse in itertools.product((False, True), repeat=2):
        x = np.stack([s.evidence.vector(with_keyframe, with_sparse) for s in samples])
        models[_key(with_keyframe, with_sparse)] = fit_logistic(x, right, false)
    return AcceptanceModel(models)


def _key(with_keyframe: bool, with_sparse: bool) -> str:
    names = ['render'] + ['keyframe'] * with_keyframe + ['sparse'] * with_sparse
    return '+'.join(names)
