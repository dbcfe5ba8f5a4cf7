"""Ranges of activations inside a Keras model: fake quantization that plain Keras files can hold.

A range is a node `FakeQuantWithMinMaxVars` of Keras behind the tensor. Where it has to
lie inside a layer (before its own activation; behind a layer that makes an output of the model,
which is called after it), the layer's `activation` is a small model of those nodes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import keras
from keras.src.quantizers.quantizers import FakeQuantWithMinMaxVars

from app.recipes.keras.graph import FAKE_QUANT, Ref
from worker.engine.measuring.calling import graph_of
from worker.engine.quantizing.points import (
    Place,
    Point,
    holds_its_range,
    is_output,
    point_name,
    points_of,
)
from worker.engine.surgery.rebuilding import rebuilt, with_activation
from worker.engine.surgery.wiring import Level, Structure, nodes_in_order

# A layer without an `activation` that makes an output gives its name to the layer behind the range.
RENAMED = "__before_its_range"

UNSAFE = re.compile(r"[^A-Za-z0-9_.]")


@dataclass(frozen=True)
class Range:
    """What an integer of `num_bits` can tell apart: evenly spaced values, 0 being one of them."""

    minimum: float
    maximum: float
    num_bits: int = 8

    def united(self, other: Self) -> Self:
        """The smallest range that holds both."""
        low, high = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        return replace(self, minimum=low, maximum=high)

    @property
    def with_zero(self) -> Self:
        """The range, widened to what a runtime needs: 0 inside it, and some width."""
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        return replace(self, minimum=low, maximum=high if high - low > 1e-6 else low + 1e-6)

    def placed(self, tensor: Any, name: str) -> Any:
        """The tensor rounded to the range, by one node, which Keras names."""
        # Not `keras.quantizers.fake_quant_with_min_max_vars`: it forgets `num_bits` (Keras 3.15).
        return FakeQuantWithMinMaxVars(self.num_bits)(tensor, self.minimum, self.maximum)


Ranges = Mapping[str, Range]


class Rounding(Protocol):
    """What may stand at a point: a range, or any other rounding to few values."""

    def placed(self, tensor: Any, name: str) -> Any:
        """The tensor rounded, by nodes whose names begin with `name`."""


def with_fake_quantization(model: keras.Model, ranges: Ranges) -> keras.Model:
    """The model with fake quantization at these points, by `Point.name`; any it had is gone.

    Ranges that runtimes fix (of a softmax) are used in place of given ones; points of one group get
    the range that holds theirs. A point without a range gets none. A Sequential model becomes a
    Functional one; names of layers, inputs and outputs stay.
    Raises: ValueError for a name that is no point of the model.
    """
    plain = without_fake_quantization(model)
    points = points_of(plain)
    unknown = ranges.keys() - {point.name for point in points}
    if unknown:
        raise ValueError(f"no points of the model: {sorted(unknown)}")
    return rebuilt(plain, _Adding(_settled(points, ranges)))


def with_roundings(model: keras.Model, roundings: Mapping[str, Rounding]) -> keras.Model:
    """The model with any rounding at these points, by `Point.name`; each point by itself.

    model: without fake quantization. Only ranges can be found and taken out again.
    """
    return rebuilt(model, _Adding(roundings))


def without_fake_quantization(model: keras.Model) -> keras.Model:
    """The model as it was before; itself if it has none."""
    return rebuilt(model, _Removing()) if ranges_of(model) else model


def ranges_of(model: keras.Model) -> dict[str, Range]:
    """The ranges in a model, by `Point.name`; empty where there is no fake quantization."""
    found: dict[str, Range] = {}
    for level in Structure.of(model).levels:
        found.update(_ranges_in(level))
    return found


def _settled(points: tuple[Point, ...], ranges: Ranges) -> dict[str, Range]:
    """The range of every point that gets one."""
    groups: dict[str, Range] = {}
    for point in points:
        own = ranges.get(point.name)
        if own is not None:
            other = groups.get(point.group)
            groups[point.group] = own if other is None else own.united(other)
    return {
        point.name: fixed_range(point.limits, groups[point.group].num_bits)
        if point.limits
        else groups[point.group].with_zero
        for point in points
        if point.group in groups
    }


def fixed_range(limits: tuple[float, float], num_bits: int) -> Range:
    """The range that `Point.limits` stand for.

    With 16 bits, runtimes put what is within -1 and 1 on a scale of 2^-15, with zero at 0.
    """
    if num_bits == 16 and limits[0] >= -1.0:
        return Range(-1.0, 1 - 2.0**-15, num_bits)
    return Range(*limits, num_bits)


class _Adding:
    """Puts ranges behind tensors and into layers."""

    def __init__(self, ranges: Mapping[str, Rounding]) -> None:
        self._ranges = ranges
        self._named: dict[str, Any] = {}

    def operation(self, level: Level, operation: Any) -> Any:
        name = operation.name
        before, after = self._inside(level, name)
        if before or after:
            rank = len(level.tensors[Ref(name, 0, 0)].shape)
            inside = _activation_model(operation.activation, rank, before, after)
            return with_activation(operation, inside)
        if self._gives_its_name(level, name):
            operation.name = name + RENAMED
        return operation

    def made(self, level: Level, ref: Ref, tensor: Any) -> Any:
        found = self._ranges.get(point_name(level.path, ref, Place.AFTER))
        if found is None or holds_its_range(level, ref):
            return tensor
        name = point_name(level.path, ref, Place.AFTER)
        quantized = found.placed(tensor, node_name(name))
        if not is_output(level, ref):
            return quantized
        if ref.layer not in self._named:
            self._named[ref.layer] = keras.layers.Identity(name=ref.layer)
        return self._named[ref.layer](quantized)

    def _inside(self, level: Level, name: str) -> tuple[Rounding | None, Rounding | None]:
        first = Ref(name, 0, 0)
        before = self._ranges.get(point_name(level.path, first, Place.BEFORE_ACTIVATION))
        after = self._ranges.get(point_name(level.path, first, Place.AFTER))
        return before, after if holds_its_range(level, first) else None

    def _gives_its_name(self, level: Level, name: str) -> bool:
        return any(
            ref.layer == name and point_name(level.path, ref, Place.AFTER) in self._ranges
            for ref in level.wiring.outputs
            if not level.path and ref not in level.wiring.inputs
        )


class _Removing:
    """Takes ranges out again."""

    def operation(self, level: Level, operation: Any) -> Any:
        if _is_renamed(operation):
            operation.name = operation.name.removesuffix(RENAMED)
        model = getattr(operation, "activation", None)
        if isinstance(model, keras.Model) and any(map(_is_range, graph_of(model).operations)):
            return with_activation(operation, _inner_activation(model))
        return _Passing() if _is_range(operation) or _stands_for(level, operation) else operation

    def made(self, level: Level, ref: Ref, tensor: Any) -> Any:
        return tensor


class _Passing:
    """What is called in place of a node that goes: its first tensor is what it makes."""

    def __call__(self, tensor: Any, *rest: Any, **options: Any) -> Any:
        return tensor


def _ranges_in(level: Level) -> Iterator[tuple[str, Range]]:
    refs = {id(tensor): ref for ref, tensor in level.tensors.items()}
    for node in nodes_in_order(level.model):
        operation = node.operation
        if _is_range(operation):
            ref = refs[id(node.arguments.args[0])]
            ref = ref._replace(layer=ref.layer.removesuffix(RENAMED))
            yield point_name(level.path, ref, Place.AFTER), _range_of(node)
        activation = getattr(operation, "activation", None)
        if isinstance(activation, keras.Model):
            ref = refs[id(node.output_tensors[0])]
            yield from _ranges_inside(level, ref, activation)


def _ranges_inside(level: Level, ref: Ref, activation: keras.Model) -> Iterator[tuple[str, Range]]:
    nodes = [node for node in nodes_in_order(activation) if not node.is_input]
    before = point_name(level.path, ref._replace(node=0), Place.BEFORE_ACTIVATION)
    after = point_name(level.path, ref, Place.AFTER)
    # A range alone is one behind a layer that has no activation of its own.
    ends = ((after, nodes[-1]),) if len(nodes) == 1 else ((before, nodes[0]), (after, nodes[-1]))
    for name, node in ends:
        if _is_range(node.operation):
            yield name, _range_of(node)


def _range_of(node: Any) -> Range:
    _, low, high = node.arguments.args
    return Range(float(low), float(high), node.operation.num_bits)


def node_name(point: str) -> str:
    """What the nodes at a point are called; point names may hold what theirs may not."""
    return f"{UNSAFE.sub('_', point)}_rounded"


def _activation_model(
    activation: Any, rank: int, before: Rounding | None, after: Rounding | None
) -> keras.Model:
    """Ranges around what the layer applies; axes are open, for layers are called with several."""
    given = keras.Input(batch_shape=(None,) * rank)
    tensor = before.placed(given, "before") if before else given
    if activation is not keras.activations.linear:
        is_layer = isinstance(activation, keras.Layer)
        tensor = (activation if is_layer else keras.layers.Activation(activation))(tensor)
    return keras.Model(given, after.placed(tensor, "after") if after else tensor)


def _inner_activation(model: keras.Model) -> Any:
    layers = [layer for layer in graph_of(model).operations if not _is_range(layer)]
    kept = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    if not kept:
        return keras.activations.linear
    plain = isinstance(kept[0], keras.layers.Activation)
    return kept[0].activation if plain else kept[0]


def _is_range(operation: Any) -> bool:
    return type(operation).__name__ == FAKE_QUANT


def _is_renamed(operation: Any) -> bool:
    return str(operation.name).endswith(RENAMED)


def _stands_for(level: Level, operation: Any) -> bool:
    is_identity = isinstance(operation, keras.layers.Identity)
    return is_identity and f"{operation.name}{RENAMED}" in level.operations
