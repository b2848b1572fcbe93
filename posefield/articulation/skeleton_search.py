"""Which joints there are, and what hangs on what, as the images say.

The motion of free parts suggests too many joints: slender parts turn about themselves unseen.  A
joint goes when the images are explained about as well without it, be it frozen, or what it
carries on a joint beside it, or one line in place of two.  It goes to another parent, or turns
about another line at the end of a chain, when they are explained better so.  That end gets one
more where it explains much.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import copy
from dataclasses import dataclass
import itertools

from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_changes import (
    Turn,
    in_between,
    more_joints,
    nearest,
    one_for_two,
    other_lines,
    other_places,
)
from posefield.articulation.skeleton_refitting import MOST_LEFT, freezing
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Outcome, Trial, Trials

# Of the changes to fewer joints, how many get a joint elsewhere.
SHRUNK = 2
# Joints missed by more than so many times the tolerance are not tried again where they stay.
MUCH = 3.0


@dataclass(frozen=True)
class SkeletonSearchConfig:
    """How joints are chosen.

    Attributes:
        tolerance: a joint stays, or is added, when the loss without it is higher by this share.
        gain: a joint goes to another parent or line when the loss is then lower by this share.
        rounds: of removing and changing.
        frozen_steps: that all have to adapt to a frozen joint.
        least_likely: joints that are frozen for a trial, from those on that move parts least.
        places: other parents that are tried, from those on that fit the motion as it was.
        turns: other lines, and more joints, that are tried of each kind of change, from those on
            that explain the images best with the angles found by trying all.
        changed_steps: that all have to adapt to such a change.
        last_steps, last_changes: after them, for how many of the best changes.
        looked_on: changes that are still tried after one that helps, which may help more.
        hopeless: a change is given up when after a quarter of its steps the loss is higher by
            this share than without it.
        processes: that try changes at once; None for one per core (`Trials`).
    """

    tolerance: float = 0.003
    gain: float = 0.004
    rounds: int = 8
    frozen_steps: int = 120
    least_likely: int = 8
    places: int = 12
    turns: int = 6
    changed_steps: int = 120
    last_steps: int = 240
    last_changes: int = 4
    looked_on: int = 3
    hopeless: float = 0.5
    processes: int | None = None


# What tells a joint from others: the parts below it, those that turn with it alone, and how many
# joints below it carry the same parts.
Carried = tuple[frozenset[int], frozenset[int], int]


def carried(tracks: SkeletonTracks, joint: int) -> Carried:
    """Return what a joint carries, which stays the same when joints elsewhere change."""
    hierarchy = tracks.hierarchy
    owners = hierarchy.joint_of_part

    def parts_below(one: int) -> frozenset[int]:
        below = hierarchy.carried_by(one)
        return frozenset(part for part, over in enumerate(owners) if over != ROOT and below[over])

    parts, below = parts_below(joint), hierarchy.carried_by(joint)
    alike = sum(
        below[other] and other != joint and parts_below(other) == parts
        for other in range(tracks.joints)
    )
    return parts, frozenset(part for part, over in enumerate(owners) if over == joint), alike


class SkeletonSearch:
    """Removes and changes joints.

    Args:
        trials: what runs them.
        config: how joints are chosen.
        goes_on: asked before every trial; the search ends when it says no, and it may raise.
    """

    def __init__(
        self,
        trials: Trials,
        config: SkeletonSearchConfig,
        goes_on: Callable[[], bool],
    ):
        self._trials, self._config = trials, config
        self.goes_on = goes_on
        self._missed: set[Carried] = set()

    def run(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks with the joints that the images ask for."""
        self._missed.clear()
        for _ in range(self._config.rounds):
            tracks = self._pruned(tracks)
            changed = self._changed(tracks)
            if changed is None:
                break
            tracks = changed
        return self.pruned(tracks)

    def pruned(self, tracks: SkeletonTracks) -> SkeletonTracks:
        """Return the tracks without joints that are hardly missed, however it was before."""
        self._missed.clear()
        return self._pruned(tracks)

    def _pruned(self, tracks: SkeletonTracks) -> SkeletonTracks:
        while tracks.joints > 1 and self.goes_on():
            fewer = self._without_some(tracks)
            if fewer is None:
                return tracks
            tracks = fewer
        return tracks

    def _without_some(self, tracks: SkeletonTracks) -> SkeletonTracks | None:
        """Return the tracks without joints that are hardly missed; None if the likeliest are not.

        All that are hardly missed alone go at once if they are not missed together either, else
        the one goes that is missed least.
        """
        order, left_J = freezing(tracks)
        likely = order[: self._config.least_likely]
        # One that was missed much is hardly missed little now that others are right.
        joints = [joint for joint in likely if carried(tracks, joint) not in self._missed]
        if not joints:
            return None
        steps = self._config.frozen_steps
        trials = [Trial(copy.deepcopy(tracks), steps)]
        for joint in joints:
            before = tracks if left_J[joint] < MOST_LEFT else None
            trials.append(Trial(tracks.without(joint), steps, before=before))
        outcomes = list(self._tried(iter(trials)))
        if not outcomes:
            return None
        base, tolerance = outcomes[0].loss, self._config.tolerance
        most, found = (1.0 + tolerance) * base, []
        for joint, outcome in zip(joints, outcomes[1:], strict=False):
            if outcome.loss <= most:
                found.append((outcome.loss, joint, outcome.tracks))
            elif outcome.loss > (1.0 + MUCH * tolerance) * base:
                self._missed.add(carried(tracks, joint))
        found.sort(key=lambda one: one[:2])
        # One joint stays in any case.
        going = sorted((joint for _, joint, _ in found[: tracks.joints - 1]), reverse=True)
        if len(going) > 1 and self.goes_on():
            fewer = tracks
            for joint in going:
                fewer = fewer.without(joint)
            together = self._trials.one(Trial(fewer, steps, before=tracks))
            if together.loss <= most:
                return together.tracks
        return found[0][2] if found else None

    def _changed(self, tracks: SkeletonTracks) -> SkeletonTracks | None:
        """Return the tracks with a change that helps; None if none does.

        One of the first that help at once is taken, else the best of those that have longer to
        adapt: what is hung on another parent has much to do so.
        """
        if not self.goes_on():
            return None
        same = self._trials.one(Trial(copy.deepcopy(tracks), self._config.changed_steps))
        between = nearest(tracks, in_between(tracks))[: self._config.turns]
        fewer = self._adapted([*between, *self._best(one_for_two(tracks))], same)
        if fewer and self._share_of_most(fewer[0], same) < 1.0:
            return fewer[0].tracks
        # A joint that was in the wrong place makes room for one in the right place.
        grown = [more for one in fewer[:SHRUNK] for more in more_joints(one.tracks)]
        changed = self._best_at_last(same, self._best(grown))
        if changed is not None:
            return changed
        tried = fewer
        for likely in self._likely(tracks):
            tried = self._best_first([*tried, *self._adapted(likely, same)], same)
            if tried and self._share_of_most(tried[0], same) < 1.0:
                return tried[0].tracks
        return self._best_at_last(same, [outcome.tracks for outcome in tried])

    def _likely(self, tracks: SkeletonTracks) -> Iterator[list[SkeletonTracks]]:
        """Yield the likeliest changes that leave most joints, one kind after the other."""
        yield nearest(tracks, other_places(tracks))[: self._config.places]
        yield self._best(more_joints(tracks))
        yield self._best(other_lines(tracks))

    def _adapted(self, changes: Sequence[SkeletonTracks], same: Outcome) -> list[Outcome]:
        """Return what comes of changes, the best first, up to soon after one that helps."""
        config, found = self._config, []
        first, most = config.changed_steps // 4, (1.0 + config.hopeless) * same.loss
        trials = (
            Trial(one, config.changed_steps, first_steps=first, hopeless=most) for one in changes
        )
        with contextlib.closing(self._tried(trials)) as outcomes:
            for outcome in outcomes:
                found.append(outcome)
                if self._share_of_most(outcome, same) < 1.0:
                    found += itertools.islice(outcomes, config.looked_on)
                    break
        return self._best_first(found, same)

    def _best_first(self, outcomes: Sequence[Outcome], same: Outcome) -> list[Outcome]:
        return sorted(outcomes, key=lambda outcome: self._share_of_most(outcome, same))

    def _best_at_last(
        self, same: Outcome, changes: Sequence[SkeletonTracks]
    ) -> SkeletonTracks | None:
        """Return the best of the first changes after more steps, if it helps then."""
        if not changes:
            return None
        all_tracks = [copy.deepcopy(same.tracks), *changes[: self._config.last_changes]]
        outcomes = list(self._tried(Trial(one, self._config.last_steps) for one in all_tracks))
        if len(outcomes) < 2:
            return None
        later, *outcomes = outcomes
        best = min(outcomes, key=lambda outcome: self._share_of_most(outcome, later))
        return best.tracks if self._share_of_most(best, later) < 1.0 else None

    def _best(self, turns: Sequence[Turn]) -> list[SkeletonTracks]:
        """Return the turns that explain the images best as soon as their angles are found."""
        trials = (Trial(turn.tracks, 0, scanned=turn.joint) for turn in turns)
        with contextlib.closing(self._tried(trials)) as outcomes:
            best = sorted(outcomes, key=lambda outcome: outcome.loss)
        return [outcome.tracks for outcome in best[: self._config.turns]]

    def _tried(self, trials: Iterator[Trial]) -> Iterator[Outcome]:
        """Yield what comes of trials that were not given up, as long as there is time."""
        with_time = itertools.takewhile(lambda _: self.goes_on(), trials)
        with contextlib.closing(self._trials.all(with_time)) as outcomes:
            yield from (outcome for outcome in outcomes if outcome is not None)

    def _share_of_most(self, outcome: Outcome, same: Outcome) -> float:
        """Return the loss over the highest one with which a change still helps."""
        more = outcome.tracks.joints - same.tracks.joints
        if more:
            return outcome.loss / same.loss * (1.0 + self._config.tolerance) ** more
        return outcome.loss / same.loss / (1.0 - self._config.gain)
