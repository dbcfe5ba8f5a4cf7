"""Layers of a model whose channels can be scaled against each other, and why others cannot."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from app.recipes.keras.ends import KEEPING
from app.recipes.keras.graph import Ref
from worker.engine.quantizing.weights.equalization import Pair, Side
from worker.engine.quantizing.weights.views import CONVOLUTIONS, DEPTHWISE, SEPARABLE, TRANSPOSED
from worker.engine.surgery.weights import Leaf
from worker.engine.surgery.wiring import Level, Structure

layers = keras.layers

SIDES = (layers.Dense, *CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)
HOMOGENEOUS = (keras.activations.linear, keras.activations.relu, keras.activations.leaky_relu)
# What of each channel alone gives s f(x) for s x: maxima and means of places, zeros around them.
PASSING = KEEPING | {
    "Flatten",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "PReLU",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
}


@dataclass(frozen=True)
class Found:
    """A layer and the next one, by name, with what is to be scaled."""

    first: str
    second: str
    pair: Pair


@dataclass(frozen=True)
class Unpaired:
    """A layer whose channels stay as they are."""

    layer: str
    reason: str


def pairs(model: keras.Model, chosen: frozenset[str]) -> Iterator[Found | Unpaired]:
    """Every layer with a kernel among `chosen` (layer names): its next one, or why it has none."""
    structure = Structure.of(model)
    for level in structure.levels:
        for name, operation in level.operations.items():
            if type(operation) in SIDES and name in chosen:
                yield _Search(level, structure.shared, chosen).of(operation)


@dataclass(frozen=True)
class _Search:
    """From one layer on to the reader of its channels, within a level."""

    level: Level
    shared: frozenset[int]
    chosen: frozenset[str]

    def of(self, first: Any) -> Found | Unpaired:
        if id(first) in self.shared:
            return Unpaired(first.name, "it is shared: used more than once")
        if not _is_homogeneous(first.activation):
            return Unpaired(first.name, f"after it comes {_name(first.activation)}: {NOT_SCALED}")
        ref, is_flattened = Ref(first.name, 0, 0), False
        while True:
            reason = self._obstacle(ref)
            if reason:
                return Unpaired(first.name, reason)
            ref = Ref(self.level.wiring.readers[ref][0][0], 0, 0)
            following = self.level.operations[ref.layer]
            is_flattened = is_flattened or isinstance(following, layers.Flatten)
            if type(following) in SIDES:
                return self._paired(first, following, is_flattened)

    def _obstacle(self, ref: Ref) -> str | None:
        """What keeps the reader of a tensor from being scaled against what made it."""
        readers = self.level.wiring.readers.get(ref, ())
        if ref in self.level.wiring.outputs:
            return "its output leaves the model, or the nested model it is in"
        if len(readers) != 1:
            return f"its output is read by {len(readers)} layers"
        following = self.level.operations[readers[0][0]]
        if id(following) in self.shared:
            return f"{following.name!r}, which reads it, is shared: used more than once"
        if getattr(following, "data_format", "channels_last") == "channels_first":
            return f"{following.name!r}, which reads it, keeps channels first"
        if isinstance(following, layers.BatchNormalization):
            return f"{following.name!r} comes between: batch_norm_folding first takes it away"
        if type(following) in SIDES or _passes(following):
            return None
        return f"{following.name!r} ({type(following).__name__}) reads it: {NOT_SCALED}"

    def _paired(self, first: Any, second: Any, is_flattened: bool) -> Found | Unpaired:
        if second.name not in self.chosen:
            return Unpaired(first.name, f"{second.name!r}, which reads it, is not quantized")
        if getattr(first, "data_format", "channels_last") == "channels_first":
            return Unpaired(first.name, "it keeps channels first")
        giving = _output_side(self._leaf(first))
        reading = _input_side(self._leaf(second), giving.channels if is_flattened else None)
        if reading.channels != giving.channels:
            return Unpaired(first.name, f"{second.name!r} reads other channels than it gives")
        bias = f"{self._leaf(first).name}/bias" if first.bias is not None else None
        return Found(first.name, second.name, Pair(giving, reading, bias))

    def _leaf(self, layer: Any) -> Leaf:
        return Leaf(f"{self.level.path}{layer.name}", layer)


NOT_SCALED = "not every positive factor passes through it unchanged"


def _output_side(leaf: Leaf) -> Side:
    layer = leaf.layer
    if type(layer) in DEPTHWISE:
        return _side(leaf, layer.kernel, (-2, -1))
    if type(layer) in SEPARABLE:
        return _side(leaf, layer.pointwise_kernel, (-1,))
    return _side(leaf, layer.kernel, (-2,) if type(layer) in TRANSPOSED else (-1,))


def _input_side(leaf: Leaf, flattened_channels: int | None) -> Side:
    """`flattened_channels`: of what was flattened before a dense layer, channels fastest."""
    layer = leaf.layer
    if type(layer) in SEPARABLE:
        return _side(leaf, layer.depthwise_kernel, (-2,))
    if type(layer) in TRANSPOSED:
        return _side(leaf, layer.kernel, (-1,))
    *before, inputs, outputs = layer.kernel.shape
    groups = getattr(layer, "groups", 1)
    if type(layer) in CONVOLUTIONS and groups > 1:
        shape = (*before, inputs, groups, outputs // groups)
        rank = len(shape)
        return Side(_weight_name(leaf, layer.kernel), shape, (rank - 2, rank - 3))
    if flattened_channels and inputs % flattened_channels == 0:
        shape = (inputs // flattened_channels, flattened_channels, outputs)
        return Side(_weight_name(leaf, layer.kernel), shape, (1,))
    return _side(leaf, layer.kernel, (-2,))


def _side(leaf: Leaf, kernel: keras.Variable, axes: tuple[int, ...]) -> Side:
    shape = tuple(kernel.shape)
    return Side(_weight_name(leaf, kernel), shape, tuple(axis % len(shape) for axis in axes))


def _weight_name(leaf: Leaf, kernel: keras.Variable) -> str:
    return next(name for name, weight in leaf.weights().items() if weight is kernel)


def _passes(operation: Any) -> bool:
    if isinstance(operation, layers.ReLU):
        return operation.max_value is None and operation.threshold == 0
    if isinstance(operation, layers.Activation):
        return _is_homogeneous(operation.activation)
    return type(operation).__name__ in PASSING


def _is_homogeneous(activation: Any) -> bool:
    if isinstance(activation, keras.Layer):
        return _passes(activation)
    return any(activation is one for one in HOMOGENEOUS)


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", getattr(activation, "name", activation)))
