"""Channel pruning: whole channels, units and heads go; the model becomes smaller and faster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from app.recipes.steps.channel_pruning import ChannelPruning
from worker.engine.context import Masks, ReportProgress, StepContext, StepOutcome
from worker.engine.pruning.budget import macs_of
from worker.engine.pruning.choice import choice
from worker.engine.pruning.rounds import Beginning, Round
from worker.engine.pruning.selection import TOLERANCE
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.groups import ChannelGraph
from worker.engine.surgery.channels.removal import removed
from worker.engine.surgery.lineage import Lineage
from worker.engine.training.recovery import Recovered, recover


def apply(step: ChannelPruning, model: keras.Model, context: StepContext) -> StepOutcome:
    """A smaller model: channels taken out in one round or in several, each followed by recovery.

    `accuracy_after_change` is that after the last channels were taken out.
    Raises: StepFailed if no channel can be taken out, if a layer would be left without any, or if
        the target for multiply-accumulates is out of reach; Cancelled.
    """
    context.check_cancelled()
    graph = channel_graph(model)
    chosen = choice(step, model, graph)
    beginning = Beginning.of(step, model, chosen, context)
    current = _State(model, context.masks, context.lineage, graph, beginning.counts)
    rounds: list[_Done] = []
    for number in range(1, step.steps + 1):
        rounds.append(_round(step, beginning, current, context, number))
        current = rounds[-1].state
    macs_ratio = _macs_ratio(model, current.model, context)
    return StepOutcome(
        model=current.model,
        masks=current.masks,
        lineage=current.lineage,
        accuracy_after_change=rounds[-1].recovered.accuracy_after_change,
        facts={
            "macs_ratio": macs_ratio,
            **_channels(graph, beginning.counts, current.counts),
            **_training(rounds),
        },
        skipped=chosen.skipped,
        warnings=tuple(dict.fromkeys(_warnings(step, macs_ratio, rounds))),
    )


@dataclass(frozen=True, eq=False)
class _State:
    """The model as far as it has come.

    `counts`: units left of each chosen group. One cut to a single unit may be none any more.
    """

    model: keras.Model
    masks: Masks
    lineage: Lineage
    graph: ChannelGraph
    counts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class _Done:
    """What a round left, and what its training came to."""

    state: _State
    units: int
    recovered: Recovered


@dataclass(frozen=True)
class _PartOfProgress:
    """Tells of one round's progress as that of its part of the step."""

    report: ReportProgress
    start: float
    share: float

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        self.report(self.start + self.share * fraction, message, **metrics)


def _round(
    step: ChannelPruning,
    beginning: Beginning,
    current: _State,
    context: StepContext,
    number: int,
) -> _Done:
    """Take out what round `number` (from 1) is to, then train."""
    share = 1 / step.steps
    progress = _PartOfProgress(context.report_progress, share * (number - 1), share)
    own = replace(context, masks=current.masks, report_progress=progress)
    own.check_cancelled()
    asked = Round(step, beginning, number / step.steps)
    keep = asked.keep(current.model, current.graph, own)
    smaller = removed(current.model, current.graph, keep, current.masks)
    progress(0.0, f"channels taken out, round {number} of {step.steps}")
    recovered = recover(step.of_round(number), smaller.model, smaller.masks, own)
    lineage = current.lineage.narrowed(smaller.kept)
    kept = {name: int(keep[name].sum()) for name in current.counts if name in keep}
    counts = {**current.counts, **kept}
    narrower = channel_graph(smaller.model)
    state = _State(smaller.model, smaller.masks, lineage, narrower, counts)
    return _Done(state, sum(counts.values()), recovered)


def _macs_ratio(before: keras.Model, after: keras.Model, context: StepContext) -> float | None:
    """Share of the multiply-accumulates that is left; null if some layer's are not known."""
    whole, left = macs_of(before, context), macs_of(after, context)
    return left / whole if whole and left is not None else None


def _warnings(step: ChannelPruning, macs_ratio: float | None, rounds: list[_Done]) -> Iterator[str]:
    asked = step.target_macs_ratio
    if asked is not None and macs_ratio is not None and abs(macs_ratio / asked - 1) > TOLERANCE:
        yield (
            f"channel_pruning was asked to leave {asked:g} of the multiply-accumulates and left "
            f"{macs_ratio:.3g}: the channels of this model are too few, or the channel_multiple "
            "too large, to come nearer."
        )
    for done in rounds:
        yield from done.recovered.warnings


def _channels(
    graph: ChannelGraph, before: Mapping[str, int], now: Mapping[str, int]
) -> dict[str, Any]:
    """How narrow groups became, and which layers now take their statistics over fewer channels."""
    narrower = [group for group in graph.groups if now.get(group.name, group.count) < group.count]
    units = sum(before.values())
    touched = {part.weight.rpartition("/")[0] for group in narrower for part in group.slices}
    return {
        "pruning_ratio": 1 - sum(now.values()) / units if units else 0.0,
        "channels": {
            group.name: {
                "layers": list(group.producers),
                "before": group.count,
                "after": now[group.name],
            }
            for group in narrower
        },
        "statistics_over_fewer_channels": [
            layer for layer in graph.renormalized if layer in touched
        ],
    }


def _training(rounds: list[_Done]) -> dict[str, Any]:
    if len(rounds) == 1:
        return rounds[0].recovered.facts
    return {"rounds": list(_told(rounds))}


def _told(rounds: list[_Done]) -> Iterator[dict[str, Any]]:
    for done in rounds:
        yield {
            "units": done.units,
            "accuracy_after_change": done.recovered.accuracy_after_change,
            **done.recovered.facts,
        }
