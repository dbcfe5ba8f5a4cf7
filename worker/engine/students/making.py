"""Makes students out of a model: as it is, narrower, or shallower."""

from collections.abc import Sequence
from typing import Any

import keras

from app.errors import StepFailed
from app.reports.report import SkippedLayer
from worker.engine.context import Masks
from worker.engine.initializing.channels import l1_norms, strongest
from worker.engine.students.student import Student
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.spans.finding import Span, Spans, removable_spans
from worker.engine.surgery.spans.removal import without_spans
from worker.engine.surgery.weights import leaves, named_weights


def same_student(model: keras.Model, masks: Masks) -> Student:
    """A copy of the model."""
    copy = clone_with_weights(model)
    return Student(copy, masks, inherited(copy, model))


def narrow_student(model: keras.Model, width_multiplier: float, masks: Masks) -> Student:
    """The model with its most important channels alone (MobileNet's width multiplier alpha).

    Howard et al. 2017, arXiv:1704.04861, section 3.3. Every group of channels keeps
    round(width_multiplier x count) of them, at least one: those with the largest L1 norm.
    Raises: StepFailed if no channel can go.
    """
    graph = channel_graph(model)
    skipped = tuple(
        SkippedLayer(layer=frozen.layer.rpartition("/")[2], reason=frozen.reason)
        for frozen in graph.frozen
    )
    weights = {name: weight.numpy() for name, weight in named_weights(model).items()}
    keep = {
        group.name: strongest(
            l1_norms(group, weights), max(1, round(width_multiplier * group.count))
        )
        for group in graph.groups
    }
    if all(kept.all() for kept in keep.values()):
        raise StepFailed(
            f"no layer gets narrower with a width_multiplier of {width_multiplier:g}: "
            + (
                "; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped) or "all are too small"
            ),
            hint="Choose a smaller width_multiplier, or another student.",
        )
    smaller = removed(model, graph, keep, masks)
    facts = inherited(smaller.model, model)
    return Student(smaller.model, smaller.masks, facts, skipped, smaller.kept)


def shallow_student(model: keras.Model, removed_layers: Sequence[str], masks: Masks) -> Student:
    """The model without the spans that these layers lie in.

    Raises: StepFailed naming a layer that cannot go, with the reason.
    """
    found = removable_spans(model)
    spans = tuple({span.name: span for span in _spans(found, removed_layers)}.values())
    smaller = without_spans(model, spans, masks)
    facts = {
        **inherited(smaller.model, model),
        "removed_layers": sorted({path for span in spans for path in span.weighted}),
    }
    return Student(smaller.model, smaller.masks, facts)


def inherited(student: keras.Model, model: keras.Model) -> dict[str, Any]:
    """Which layers have the weights they had in `model`, all of them or some channels of them."""
    before = {name: tuple(weight.shape) for name, weight in named_weights(model).items()}
    whole: list[str] = []
    sliced: list[str] = []
    for leaf in leaves(student):
        shapes = {name: tuple(weight.shape) for name, weight in leaf.weights().items()}
        if shapes:
            is_whole = all(before[name] == shape for name, shape in shapes.items())
            (whole if is_whole else sliced).append(leaf.name)
    return {"scheme": None, "inherited_layers": whole, "sliced_layers": sliced}


def _spans(found: Spans, removed_layers: Sequence[str]) -> list[Span]:
    spans = []
    for path in removed_layers:
        span = found.holding(path)
        if span is None or not span.is_matching:
            raise StepFailed(
                f"layer {path!r} cannot be taken out: {_reason(found, path, span)}. Can go: "
                + (", ".join(span.name for span in found.matching) or "none"),
                hint="Choose among these, or let `layer_removal` bridge the gap.",
            )
        spans.append(span)
    return spans


def _reason(found: Spans, path: str, span: Span | None) -> str:
    if span is None:
        return found.kept.get(path, "no block or layer with weights of that name can go")
    return (
        f"what goes into {span.name!r} has the shape {span.entry_shape[1:]}, and what comes out "
        f"{span.exit_shape[1:]}"
    )
