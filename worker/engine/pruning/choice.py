"""Which groups of channels a step may make narrower, and why the others stay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras

from app.errors import LayerEmptied, StepFailed
from app.recipes.steps.channel_pruning import ChannelPruning
from app.reports.report import SkippedLayer
from worker.engine.pruning.scoring import unscored
from worker.engine.pruning.widths import unit_multiples
from worker.engine.surgery.channels.groups import ChannelGraph, ChannelGroup
from worker.engine.surgery.weights import leaves

Layers = Mapping[str, keras.Layer]

NAMED_AT_MOST = 8


@dataclass(frozen=True, eq=False)
class Choice:
    """The groups that may become narrower, and the layers that may not.

    `multiples`: group name -> of how many units its width is to be a multiple.
    """

    groups: tuple[ChannelGroup, ...]
    multiples: Mapping[str, int]
    skipped: tuple[SkippedLayer, ...]


def choice(step: ChannelPruning, model: keras.Model, graph: ChannelGraph) -> Choice:
    """Groups all of whose layers the step chooses, and that are wide enough for what it asks.

    Raises: StepFailed if there is none, or if the ratio would leave nothing of one.
    """
    layers: Layers = {leaf.name: leaf.layer for leaf in leaves(model)}
    multiples = unit_multiples(model, graph, step.channel_multiple)
    reasons: dict[str, str] = {}
    for group in graph.groups:
        reason = _left_out(step, group, layers) or _too_narrow(step, group, multiples[group.name])
        if reason is not None:
            reasons[group.name] = reason
    reasons |= unscored(step, model, [one for one in graph.groups if one.name not in reasons])
    chosen = tuple(group for group in graph.groups if group.name not in reasons)
    skipped = (*graph.frozen, *_skipped(graph, reasons))
    if not chosen and step.pruning_ratio != 0:
        raise _nothing_to_prune(skipped)
    return Choice(chosen, multiples, skipped)


def _left_out(step: ChannelPruning, group: ChannelGroup, layers: Layers) -> str | None:
    """Why the recipe's choice of layers keeps the group; None if it does not."""
    others = [path for path in group.producers if not step.selects(layers[path].name)]
    if not others:
        return None
    if len(others) == len(group.producers):
        return "not chosen by the recipe"
    return f"its channels are also those of {_some(others)}, not chosen by the recipe"


def _too_narrow(step: ChannelPruning, group: ChannelGroup, multiple: int) -> str | None:
    """Why nothing of a group can go; None if something can.

    Raises: StepFailed if all of it would.
    """
    count, ratio = group.count, step.pruning_ratio
    if count == 1:
        return "it has only one channel"
    if count <= multiple:
        return f"its {count} channels are no more than channel_multiple ({step.channel_multiple})"
    if not ratio or step.scope == "global":
        return None
    if step.would_empty(count):
        raise LayerEmptied(
            f"a pruning_ratio of {ratio:g} would take all {count} channels of layer "
            f"{group.producers[0]!r}",
            hint=f"{step.way_out(count)}. `layer_removal` takes whole layers out.",
            layer=group.producers[0],
        )
    widest = (count - 1) // multiple * multiple
    if ratio * count <= (count - widest) / 2:
        return f"{ratio:g} of its {count} channels rounds to nothing"
    return None


def _skipped(graph: ChannelGraph, reasons: Mapping[str, str]) -> Iterator[SkippedLayer]:
    for group in graph.groups:
        if group.name in reasons:
            for path in group.producers:
                yield SkippedLayer(layer=path, reason=reasons[group.name])


def _nothing_to_prune(skipped: tuple[SkippedLayer, ...]) -> StepFailed:
    named = "; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped[:NAMED_AT_MOST])
    return StepFailed(
        "no channel can be taken out: " + (named or "no layer makes channels of its own"),
        hint="Change `include` and `exclude`, the ratio or channel_multiple. What feeds an output "
        "keeps its width.",
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED_AT_MOST])
    return shown if len(names) <= NAMED_AT_MOST else f"{shown} and others"
