"""Multiply-accumulates of a model without some channels, counted without building it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras

from app.errors import StepFailed
from worker.engine.context import BoolArray, StepContext
from worker.engine.loading.models import input_specs
from worker.engine.measuring.macs import macs_by_layer, products, total
from worker.engine.surgery.weights import named_weights


@dataclass(frozen=True)
class Share:
    """Multiply-accumulates that shrink with these axes of a weight."""

    count: int
    weight: str
    axes: tuple[int, ...]


def macs_left(shares: Sequence[Share], kept: Mapping[str, Mapping[int, BoolArray]]) -> float:
    """What is left where only these entries along the axes of weights are kept; others stay whole.

    kept: weight name -> axis -> [length of that axis].
    """
    lengths = {
        (weight, axis): float(stays.mean()) for weight, axes in kept.items()
        for axis, stays in axes.items()
    }  # fmt: skip
    left = 0.0
    for share in shares:
        part = float(share.count)
        for axis in share.axes:
            part *= lengths.get((share.weight, axis), 1.0)
        left += part
    return left


def shares_of(model: keras.Model, context: StepContext) -> tuple[Share, ...]:
    """All that a model multiplies for one row.

    Raises: StepFailed if that is not known of some layer.
    """
    names = {id(variable): name for name, variable in named_weights(model).items()}
    found: list[Share] = []
    unknown: dict[str, None] = {}
    for layer, parts in products(model, row_shapes(model, context)):
        if parts is None:
            unknown[layer] = None
        found += [Share(part.count, names[id(part.weight)], part.axes) for part in parts or ()]
    if unknown:
        raise StepFailed(
            "the multiply-accumulates of some layers are not known: " + ", ".join(unknown),
            hint="Give a pruning_ratio in place of target_macs_ratio; if an input leaves a length "
            "open, a data set fixes it.",
        )
    return tuple(found)


def macs_of(model: keras.Model, context: StepContext) -> int | None:
    """Multiply-accumulates for one row; null if some layer's are not known."""
    return total(macs_by_layer(model, row_shapes(model, context)))


def row_shapes(model: keras.Model, context: StepContext) -> list[tuple[int | None, ...]]:
    """Shape of a row of each input: the data set's, else the model's."""
    return list(_shapes(model, context))


def _shapes(model: keras.Model, context: StepContext) -> Iterator[tuple[int | None, ...]]:
    for spec in input_specs(model):
        yield context.row_shapes.get(spec.name, spec.shape or ())
