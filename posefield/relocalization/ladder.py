"""The ladder: hypotheses, field alignment, keyframe alignment, and the choice between them.

Everything here is in the field frame; the Localizer converts to the user's map frame.
"""

from dataclasses import replace

import numpy as np
import torch

from posefield.errors import LocalizationError
from posefield.features.sift import detect_sift
from posefield.geometry.camera import covered_share
from posefield.geometry.poses import invert
from posefield.relocalization.acceptance import Evidence
from posefield.relocalization.hypotheses import (
    NOTHING_HELD_OUT,
    FieldPrior,
    HeldOut,
    Hypothesis,
    Outcome,
)
from posefield.relocalization.keyframes import KeyframeSet
from posefield.relocalization.localizer_config import LocalizerConfig
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.query import Query
from posefield.relocalization.reference_view import to_reference_view
from posefield.relocalization.refiners.field_alignment import FieldAligner, PoseCheck, Round
from posefield.relocalization.refiners.gradient_refiner import GradientRefiner, RefinedMap
from posefield.relocalization.refiners.keyframe_alignment import KeyframeAligner
from posefield.relocalization.refiners.refined import Refined
from posefield.relocalization.refiners.synthesis import Synthesis, synthesis_of
from posefield.relocalization.retrieval import ReferenceGrids
from posefield.relocalization.sparse_pose import (
    PointMatches,
    SparsePose,
    count_inliers,
    solve_sparse_pose,
)
from posefield.relocalization.stopwatch import Stopwatch

# Robust cost of pixels that have nothing to do with each other: unit features, all positive,
# are about 1 apart, squared.
UNRELATED_COST = 0.33
# Hypotheses of one search are this far apart, in scene scales (see `pose_distance`).
NEAR, FAR = 0.1, 0.2
# Poses whose probabilities of being right differ by less are told apart by the keyframes.
AS_LIKELY = 0.05
WIDE_RUNGS = frozenset({'retrieval', 'field'})


class Ladder:
    """Finds the pose of a query in a map."""

    def __init__(self, bundle: MapBundle, config: LocalizerConfig, device: torch.device | str):
        self.bundle = bundle
        self.config = config
        self.device = device
        self.field = FieldAligner(
            bundle.field,
            bundle.transform,
            bundle.extractor,
            config.field,
            bundle.sizes.field,
            device,
        )
        self.keyframes = KeyframeSet(
            bundle.keyframes, bundle.extractor, bundle.scene_scale, device
        )
        self.keyframe = KeyframeAligner(
            self.keyframes, config.keyframe, bundle.sizes.keyframe, device
        )
        self.gradient = None
        if config.gradient is not None:
            parts = refined_map(bundle, self.field)
            self.gradient = GradientRefiner(parts, config.gradient, device)
        self._references = ReferenceGrids.from_descriptors(
            bundle.reference_descriptors_ND, bundle.T_field_reference_N44, bundle.reference_camera
        )
        self._enlarged_grids: dict[int, ReferenceGrids] = {}

    def localize(
        self,
        query: Query,
        prior: FieldPrior | None = None,
        held_out: HeldOut = NOTHING_HELD_OUT,
        watch: Stopwatch | None = None,
    ) -> Outcome:
        """Return the best pose that any rung leads to.

        Raises:
            LocalizationError: when no rung that is switched on has any hypothesis.
        """
        watch = watch or Stopwatch()
        matches, sparse = self.find_sparse(query, held_out, watch)
        outcomes = []
        strong = sparse is not None and sparse.inliers >= self.config.strong_inliers
        if sparse is not None:
            proposed = self.sparse_hypothesis(sparse, held_out)
            outcomes.append(self.finish(query, proposed, matches, held_out, watch))
            if strong and _accepted(outcomes[0]):
                return outcomes[0]
        if prior is not None:
            outcomes.append(self._from_prior(query, prior, matches, held_out, watch))
            if _accepted(outcomes[-1]):
                return _best(outcomes)
        for hypothesis in self._searched(query, held_out, watch):
            outcomes.append(self.finish(query, hypothesis, matches, held_out, watch))
        lost = prior is None and not strong and not any(map(_accepted, outcomes))
        if lost:
            for hypothesis in self._sought(query, held_out, watch):
                outcomes.append(self.finish(query, hypothesis, matches, held_out, watch))
        if not outcomes:
            raise LocalizationError(
                'No rung has a hypothesis for this image: expected sparse matches, a prior, or '
                f'regressor or retrieval, found only {", ".join(sorted(self.config.rungs))}.'
            )
        return _best(outcomes)

    def refine(
        self, query: Query, T_field_cam: np.ndarray, watch: Stopwatch | None = None
    ) -> Outcome:
        """Return the pose that the refiners switched on reach from a start, and nothing else."""
        watch = watch or Stopwatch()
        hypothesis = Hypothesis('prior', T_field_cam, T_field_cam)
        rounds = self.config.field.coarse + self.config.field.fine
        hypothesis = self._refined(query, hypothesis, rounds, NOTHING_HELD_OUT, watch)
        return self.finish(query, hypothesis, None, NOTHING_HELD_OUT, watch)

    def find_sparse(
        self, query: Query, held_out: HeldOut, watch: Stopwatch
    ) -> tuple[PointMatches | None, SparsePose | None]:
        """Return the sparse matches and the pose they give; None where the rung is off."""
        if 'sparse' not in self.config.rungs:
            return None, None
        with watch.time('sparse'):
            sized = query.sized(self.bundle.sizes.sparse)
            keypoints = detect_sift(sized.image_HW3, self.bundle.sizes.max_keypoints)
            index = held_out.sparse or self.bundle.sparse
            matches = index.match(keypoints, self.config.sparse.max_ratio)
            return matches, solve_sparse_pose(matches, sized.camera, self.config.sparse)

    def sparse_hypothesis(self, sparse: SparsePose, held_out: HeldOut) -> Hypothesis:
        """Return the hypothesis of a sparse pose, with calibrated information."""
        T = invert(sparse.T_cam_map)
        information = sparse.information_66 / self._kappa('sparse', T, held_out)
        return Hypothesis('sparse', T, T, information)

    def _from_prior(self, query, prior, matches, held_out, watch) -> Outcome:
        """Refine a prior; a sure one skips the coarse rounds."""
        hypothesis = Hypothesis('prior', prior.T_field_cam, prior.T_field_cam)
        spread = np.sqrt(np.maximum(np.diag(prior.covariance), 0.0))
        angle_deg = np.rad2deg(spread[3:].max() + spread[:3].max() / self.bundle.scene_scale)
        config = self.config.field
        narrow = angle_deg < self.config.narrow_prior_deg
        rounds = config.fine if narrow else config.coarse + config.fine
        hypothesis = self._refined(query, hypothesis, rounds, held_out, watch)
        return self.finish(query, hypothesis, matches, held_out, watch)

    def _searched(self, query: Query, held_out: HeldOut, watch: Stopwatch) -> list[Hypothesis]:
        """Return the best hypotheses of regressor and retrieval, aligned with the field."""
        with watch.time('hypotheses'):
            hypotheses = self._proposals(query, held_out)
        if len(hypotheses) > self.config.refined:
            coarse = self.config.field.coarse
            hypotheses = self._ranked(query, hypotheses, coarse, held_out, watch)
            hypotheses = hypotheses[: self.config.refined]
            rounds = self.config.field.fine
        else:
            rounds = self.config.field.coarse + self.config.field.fine
        return [self._refined(query, h, rounds, held_out, watch) for h in hypotheses]

    def _sought(self, query: Query, held_out: HeldOut, watch: Stopwatch) -> list[Hypothesis]:
        """Return the best of many hypotheses, for a query that is still lost."""
        config = self.config
        if config.sought == 0 or self.gradient is not None or not WIDE_RUNGS <= config.rungs:
            return []
        with watch.time('hypotheses'):
            poses = self._retrieved(query, held_out, config.sought, FAR)
            hypotheses = [Hypothesis('retrieval', T, T) for T in poses]
        coarse = config.field.wide + config.field.coarse
        hypotheses = self._ranked(query, hypotheses, coarse, held_out, watch)
        fine = config.field.fine
        best = self._ranked(query, hypotheses[: config.sought_refined], fine, held_out, watch)
        # They come from afar: two renders more bring the best of them all the way.
        return [self._refined(query, h, fine, held_out, watch) for h in best[: config.refined]]

    def _proposals(self, query: Query, held_out: HeldOut) -> list[Hypothesis]:
        rungs = self.config.rungs
        if not rungs & {'regressor', 'retrieval'}:
            return []
        hypotheses = []
        if 'regressor' in rungs:
            view = to_reference_view(query.image, self.bundle.regressor_camera)
            regression = self.bundle.regressor.regress(torch.from_numpy(view).to(self.device))
            if regression.in_expected_scene:
                T = regression.T_field_cam.numpy()
                hypotheses.append(Hypothesis('regressor', T, T))
        if 'retrieval' in rungs:
            for T in self._retrieved(query, held_out, self.config.retrieved, NEAR):
                hypotheses.append(Hypothesis('retrieval', T, T))
        return hypotheses

    def _retrieved(
        self, query: Query, held_out: HeldOut, count: int, distance: float
    ) -> list[np.ndarray]:
        """Return poses of views that look like the query; a narrow one is sought enlarged."""
        image, min_distance = query.image, distance * self.bundle.scene_scale
        share = covered_share(image.camera, self.bundle.reference_camera)
        if share >= self.config.narrow_query:
            return self._references.nearest(image, count, min_distance, held_out.references)
        return self._enlarged(share).nearest(image, count, min_distance, held_out.keyframes)

    def _enlarged(self, share: float) -> ReferenceGrids:
        """Return the keyframes at a size at which a narrow query is as large as a reference."""
        camera = self.bundle.reference_camera
        short_side = round(min(camera.width, camera.height) / share)
        if short_side not in self._enlarged_grids:
            self._enlarged_grids[short_side] = ReferenceGrids.from_views(
                [keyframe.image() for keyframe in self.bundle.keyframes],
                np.stack([keyframe.T_field_cam for keyframe in self.bundle.keyframes]),
                camera.with_short_side(short_side),
            )
        return self._enlarged_grids[short_side]

    def _ranked(
        self,
        query: Query,
        hypotheses: list[Hypothesis],
        rounds: tuple[Round, ...],
        held_out: HeldOut,
        watch: Stopwatch,
    ) -> list[Hypothesis]:
        """Return hypotheses after some rounds, the best fitting first."""
        if self.gradient is not None or 'field' not in self.config.rungs:
            with watch.time('check'):
                costs = [self._check(query, h, held_out).cost for h in hypotheses]
            return [hypotheses[i] for i in np.argsort(costs, kind='stable')]
        ranked = []
        with watch.time('field'):
            for hypothesis in hypotheses:
                refined = self._field_aligned(query, hypothesis, rounds, held_out)
                seen = refined.overlap
                cost = seen * refined.cost + (1.0 - seen) * UNRELATED_COST
                ranked.append((cost, self._moved(hypothesis, refined, 'field', NOTHING_HELD_OUT)))
        return [hypothesis for _, hypothesis in sorted(ranked, key=lambda pair: pair[0])]

    def _refined(self, query, hypothesis, rounds, held_out, watch) -> Hypothesis:
        """Move a hypothesis by gradients, or by rounds of field alignment, as configured."""
        if self.gradient is not None:
            with watch.time('gradient'):
                refined = self.gradient.align(query, hypothesis.T_field_cam)
        elif 'field' in self.config.rungs:
            with watch.time('field'):
                refined = self._field_aligned(query, hypothesis, rounds, held_out)
        else:
            return hypothesis
        return self._moved(hypothesis, refined, 'field', NOTHING_HELD_OUT)

    def _field_aligned(self, query, hypothesis, rounds, held_out) -> Refined:
        T = hypothesis.T_field_cam
        blur = self.keyframes.blur_of(query.image, T, held_out.keyframes)
        return self.field.align(query, T, rounds, blur)

    def _check(self, query, hypothesis, held_out) -> PoseCheck:
        T = hypothesis.T_field_cam
        blur = self.keyframes.blur_of(query.image, T, held_out.keyframes)
        return self.field.check(query, T, blur)

    def _kappa(self, kind: str, T_field_cam: np.ndarray, held_out: HeldOut) -> float:
        distance = self.keyframes.distance(T_field_cam, held_out.keyframes)
        return self.bundle.calibration.kappa(kind, distance)

    def _moved(
        self, hypothesis: Hypothesis, refined: Refined, kind: str, held_out: HeldOut
    ) -> Hypothesis:
        return replace(
            hypothesis,
            T_field_cam=refined.T_field_cam,
            information_66=refined.information_66
            / self._kappa(kind, refined.T_field_cam, held_out),
            renders=hypothesis.renders + refined.renders,
            iterations=hypothesis.iterations + refined.iterations,
        )

    def finish(
        self,
        query: Query,
        hypothesis: Hypothesis,
        matches: PointMatches | None,
        held_out: HeldOut,
        watch: Stopwatch,
    ) -> Outcome:
        """Align with keyframes, where that is on, and judge the pose."""
        keyframe = None
        if 'keyframe' in self.config.rungs:
            with watch.time('keyframe'):
                keyframe = self._keyframe_aligned(query, hypothesis, held_out)
            fused = hypothesis.rung == 'sparse'
            hypothesis = self._moved(
                hypothesis, keyframe, 'fused' if fused else 'keyframe', held_out
            )
        with watch.time('check'):
            check = self._check(query, hypothesis, held_out)
        evidence = self._evidence(query, hypothesis, keyframe, matches, check)
        score, threshold = self.bundle.calibration.acceptance.judge(
            evidence, keyframe is not None, matches is not None
        )
        return Outcome(hypothesis, evidence, check, score, threshold)

    def _keyframe_aligned(self, query, hypothesis, held_out):
        prior = None
        if hypothesis.rung == 'sparse':
            kappa = self._kappa('keyframe', hypothesis.T_field_cam, held_out)
            prior = hypothesis.information_66 * kappa
        return self.keyframe.align(query, hypothesis.T_field_cam, prior, held_out.keyframes)

    def _evidence(self, query, hypothesis, keyframe, matches, check) -> Evidence:
        inliers = None
        if matches is not None:
            camera = query.sized(self.bundle.sizes.sparse).camera
            T_cam_field = invert(hypothesis.T_field_cam)
            inliers = count_inliers(T_cam_field, matches, camera, self.config.sparse)
        return Evidence(
            render_inliers=check.inlier_share,
            render_cost=check.cost,
            keyframe_inliers=keyframe.inlier_share if keyframe else None,
            keyframe_cost=keyframe.cost if keyframe else None,
            keyframe_overlap=keyframe.overlap if keyframe else None,
            sparse_inliers=inliers,
        )


def refined_map(bundle: MapBundle, aligner: FieldAligner) -> RefinedMap:
    """Return what gradient refiners need of a map."""
    sizes = bundle.sizes

    def synthesise(query: Query) -> Synthesis:
        return synthesis_of(
            bundle.synthesizer,
            bundle.transform,
            bundle.extractor,
            query,
            sizes.field,
            sizes.labels,
        )

    return RefinedMap(
        synthesise=synthesise,
        aligner=aligner,
        regressor=bundle.regressor,
        reference_camera=bundle.regressor_camera,
        scene_scale=bundle.scene_scale,
        field_per_map=bundle.transform.scale,
    )


def _accepted(outcome: Outcome) -> bool:
    return outcome.score >= outcome.threshold


def _best(outcomes: list[Outcome]) -> Outcome:
    """Return the likeliest; of those about as likely, the one that fits real photos best.

    Renders are too smooth to tell poses apart that differ by a degree.
    """
    highest = max(outcome.score for outcome in outcomes)
    likely = [outcome for outcome in outcomes if outcome.score > highest - AS_LIKELY]
    if any(outcome.evidence.keyframe_cost is None for outcome in likely):
        return max(outcomes, key=lambda outcome: outcome.score)
    return min(likely, key=lambda outcome: outcome.evidence.keyframe_cost)
