"""Takes spans of layers out of a model: a new model, smaller, with the weights of what stays."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

from app.recipes.keras.graph import Ref, Shape
from worker.engine.context import Masks
from worker.engine.surgery.bypass import Config, Edit, edited
from worker.engine.surgery.removed import Removed
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.weights import assign_weights, named_weights


@dataclass(frozen=True)
class Bridge:
    """Layers that take a span's place, one after another; `weights` by stable name."""

    layers: tuple[keras.layers.Layer, ...]
    weights: Mapping[str, NDArray[Any]]


def without_spans(
    model: keras.Model,
    spans: Sequence[Span],
    masks: Masks,
    bridges: Mapping[str, Bridge] | None = None,
) -> Removed:
    """The model rebuilt without these spans: who read their exits reads their entries, or a bridge.

    Spans may be adjacent or lie in each other. `bridges`, by name of the span, are needed where
    the entry does not fit in the exit's place. Other layers keep their names and weights.
    """
    found = dict(bridges or {})
    outermost = [
        span for span in spans if not any(span.lies_in(one) for one in spans if one is not span)
    ]
    config = edited(model.get_config(), _edits(outermost, found))
    smaller = type(model).from_config(config)
    values = {name: weight.numpy() for name, weight in named_weights(model).items()}
    for bridge in found.values():
        values.update(bridge.weights)
    left = named_weights(smaller)
    assign_weights(smaller, {name: values[name] for name in left})
    return Removed(smaller, {name: mask for name, mask in masks.items() if name in left})


def _edits(spans: Sequence[Span], bridges: Mapping[str, Bridge]) -> dict[str, Edit]:
    by_level: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_level[span.level].append(span)
    return {level: _edit(level, found, bridges) for level, found in by_level.items()}


def _edit(level: str, spans: Sequence[Span], bridges: Mapping[str, Bridge]) -> Edit:
    stand_ins = {
        span.exit: Ref(bridges[span.name].layers[-1].name, 0, 0)
        if span.name in bridges
        else span.entry
        for span in spans
    }
    return Edit(
        removed=frozenset(path.removeprefix(level) for span in spans for path in span.layers),
        redirected={ref: _followed(ref, stand_ins) for ref in stand_ins},
        added={
            span.layers[0].removeprefix(level): tuple(
                _calls(bridges[span.name], _followed(span.entry, stand_ins), span.entry_shape)
            )
            for span in spans
            if span.name in bridges
        },
    )


def _followed(ref: Ref, stand_ins: Mapping[Ref, Ref]) -> Ref:
    """The entry of a span may be the exit of another one."""
    while ref in stand_ins:
        ref = stand_ins[ref]
    return ref


def _calls(bridge: Bridge, entry: Ref, shape: Shape) -> Iterator[Config]:
    """Configurations of the bridge's layers, each called on the one before it."""
    for layer in bridge.layers:
        history = {"shape": shape, "dtype": layer.compute_dtype, "keras_history": list(entry)}
        tensor = {"class_name": "__keras_tensor__", "config": history}
        yield {
            **keras.saving.serialize_keras_object(layer),
            "name": layer.name,
            "inbound_nodes": [{"args": (tensor,), "kwargs": {}}],
        }
        entry, shape = Ref(layer.name, 0, 0), layer.compute_output_shape(shape)
