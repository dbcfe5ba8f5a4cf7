"""What one round of pruning takes out of a model, so that the last one reaches what is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from app.errors import StepFailed
from app.recipes.steps.channel_pruning import ChannelPruning
from worker.engine.context import BoolArray, StepContext
from worker.engine.pruning.budget import Share, macs_left, shares_of
from worker.engine.pruning.choice import Choice
from worker.engine.pruning.scoring import scores
from worker.engine.pruning.selection import (
    TOLERANCE,
    Candidate,
    Cut,
    cuts,
    cuts_for_macs,
    cuts_for_ratio,
    keep_masks,
)
from worker.engine.surgery.channels.groups import ChannelGraph
from worker.engine.surgery.channels.removal import kept_axes


@dataclass(frozen=True)
class Beginning:
    """What ratios refer to: units of each chosen group, and multiply-accumulates, as given.

    `multiples`: of how many units the width of each group is to be a multiple. `macs` is null where
    nothing asks for it.
    """

    counts: Mapping[str, int]
    multiples: Mapping[str, int]
    macs: float | None

    @classmethod
    def of(
        cls, step: ChannelPruning, model: keras.Model, choice: Choice, context: StepContext
    ) -> "Beginning":
        """Raises: StepFailed if the step has a target and some layer's cannot be counted."""
        counts = {group.name: group.count for group in choice.groups}
        if step.target_macs_ratio is None:
            return cls(counts, choice.multiples, None)
        return cls(counts, choice.multiples, macs_left(shares_of(model, context), {}))


@dataclass(frozen=True, eq=False)
class Round:
    """One round: `part` of what is asked, in (0, 1], is to be gone after it."""

    step: ChannelPruning
    beginning: Beginning
    part: float

    def keep(
        self, model: keras.Model, graph: ChannelGraph, context: StepContext
    ) -> dict[str, BoolArray]:
        """Group name -> [units], True for those that stay; groups that are not named stay whole.

        Raises: StepFailed if the target is out of reach; Cancelled.
        """
        beginning = self.beginning
        groups = [group for group in graph.groups if group.name in beginning.counts]
        candidates = [
            Candidate(name, of_units, beginning.counts[name], beginning.multiples[name])
            for name, of_units in scores(self.step, model, groups, context).items()
        ]
        order = cuts(candidates, self.step.scope)
        if self.beginning.macs is None:
            made = self._for_ratio(order, candidates)
        else:
            counted = _Counted(shares_of(model, context), graph, candidates)
            made = self._for_macs(order, counted, self.beginning.macs)
        return keep_masks(candidates, made)

    def _for_ratio(self, order: Sequence[Cut], candidates: Sequence[Candidate]) -> Sequence[Cut]:
        ratio = (self.step.pruning_ratio or 0.0) * self.part
        before = sum(self.beginning.counts.values())
        gone = before - sum(len(candidate.scores) for candidate in candidates)
        return cuts_for_ratio(order, ratio, self.step.scope, round(ratio * before) - gone)

    def _for_macs(self, order: Sequence[Cut], counted: "_Counted", before: float) -> Sequence[Cut]:
        asked = self.step.target_macs_ratio
        assert asked is not None, "what has no target counts nothing"  # for the type checker
        least = counted(order) / before
        if least > asked * (1 + TOLERANCE):
            raise StepFailed(
                f"target_macs_ratio {asked:g} is out of reach: with all but the last channels of "
                f"each chosen layer gone, {least:.3g} of the multiply-accumulates is left",
                hint=f"Ask for {least * 1.01:.2g} or more, choose more layers, or lower "
                "channel_multiple; `layer_removal` takes whole layers out.",
            )
        return cuts_for_macs(order, counted, before * (1 - (1 - asked) * self.part))


@dataclass(frozen=True, eq=False)
class _Counted:
    """Multiply-accumulates after some cuts."""

    shares: Sequence[Share]
    graph: ChannelGraph
    candidates: Sequence[Candidate]

    def __call__(self, made: Sequence[Cut]) -> float:
        return macs_left(self.shares, kept_axes(self.graph, keep_masks(self.candidates, made)))
