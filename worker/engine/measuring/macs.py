"""Multiply-accumulates of one sample, read from a Keras graph.

Counted are products with learned kernels and those of attention; element-wise work is not.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from worker.engine.measuring.calling import graph_of
from worker.engine.measuring.layers import row_names

layers = keras.layers

# They have weights, but no sums of products.
ELEMENT_WISE = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.GroupNormalization,
    layers.UnitNormalization,
    layers.Normalization,
    layers.Embedding,
    layers.PReLU,
)
DENSE_KERNELS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)


@dataclass(frozen=True)
class Call:
    """One use of a layer: shapes with a batch of 1 in front."""

    layer: keras.layers.Layer
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]

    @property
    def is_known(self) -> bool:
        """False where a length is left open."""
        return all(None not in shape for shape in (*self.inputs, self.output))


def macs_by_layer(
    model: keras.Model, row_shapes: Sequence[tuple[int | None, ...]]
) -> dict[str, int | None]:
    """Name of a layer's row -> multiply-accumulates over all its uses; null where not known.

    `row_shapes`: shape of each input without the batch, in the model's order.
    Layers of nested models are counted as often as the nested model is called.
    """
    rows = [
        keras.KerasTensor((1, *shape), tensor.dtype)
        for shape, tensor in zip(row_shapes, model.inputs, strict=True)
    ]
    names = row_names(model)
    counts: dict[str, int | None] = {}
    for call in _calls(model, rows):
        name = names[id(call.layer)]
        before, now = counts.get(name, 0), macs_of(call.layer, call)
        counts[name] = None if before is None or now is None else before + now
    return counts


def total(counts: Mapping[str, int | None]) -> int | None:
    """All layers together; null if one is not known."""
    known = [count for count in counts.values() if count is not None]
    return sum(known) if len(known) == len(counts) else None


def macs_of(layer: keras.layers.Layer, call: Call) -> int | None:
    """Multiply-accumulates of one call; `layer` may be what the called layer wraps."""
    if not call.is_known:
        return None
    if not layer.weights or isinstance(layer, ELEMENT_WISE):
        return 0
    if isinstance(layer, layers.TimeDistributed):
        return macs_of(layer.layer, call)
    if isinstance(layer, layers.Bidirectional):
        both = (macs_of(layer.forward_layer, call), macs_of(layer.backward_layer, call))
        return None if None in both else sum(one for one in both if one is not None)
    if isinstance(layer, RECURRENT):
        cell = layer.cell
        return call.inputs[0][1] * (
            math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape)
        )
    if isinstance(layer, layers.EinsumDense):
        return _einsum(layer.equation, call.inputs[0], tuple(layer.kernel.shape))
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer, call)
    return _convolution(layer, call)


def _convolution(layer: keras.layers.Layer, call: Call) -> int | None:
    """Dense too: a convolution over one place. Depthwise kernels are [..., in, multiplier]."""
    places = math.prod(call.output[:-1])
    if isinstance(layer, TRANSPOSED):
        return math.prod(call.inputs[0][:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, DENSE_KERNELS):
        return places * math.prod(layer.kernel.shape)
    if isinstance(layer, DEPTHWISE):
        return places * math.prod(layer.kernel.shape)
    if isinstance(layer, SEPARABLE):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return places * sum(math.prod(kernel.shape) for kernel in kernels)
    return None


def _einsum(equation: str, given: tuple[int, ...], kernel: tuple[int, ...]) -> int:
    """Every index once: that many products are summed. An ellipsis stands for leading axes."""
    operands, _ = equation.replace(" ", "").split("->")
    first, second = operands.split(",")
    named = first.replace("...", "")
    leading = given[: len(given) - len(named)]
    lengths = dict(zip(named, given[len(leading) :], strict=True))
    lengths.update(zip(second.replace("...", ""), kernel, strict=True))
    return math.prod(leading) * math.prod(lengths.values())


def _attention(layer: Any, call: Call) -> int:
    """Four projections; scores and their weighted sum, queries x keys for every head.

    Inputs are query, value and, if given, key; all [1, steps, features].
    """
    query, value = call.inputs[0], call.inputs[1] if len(call.inputs) > 1 else call.inputs[0]
    key = call.inputs[2] if len(call.inputs) > 2 else value
    width = layer.num_heads * layer.key_dim
    value_width = layer.num_heads * layer.value_dim
    steps, seen = math.prod(query[1:-1]), math.prod(value[1:-1])
    projections = (
        steps * query[-1] * width
        + seen * key[-1] * width
        + seen * value[-1] * value_width
        + steps * value_width * call.output[-1]
    )
    return projections + steps * seen * (width + value_width)


def _calls(model: keras.Model, rows: Sequence[keras.KerasTensor]) -> Iterator[Call]:
    """Every layer call of a Functional or Sequential graph, with the shapes these rows give it."""
    graph = graph_of(model)
    known = {id(given): row for given, row in zip(graph.inputs, rows, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            arguments, options = node.arguments.fill_in(known)
            results = node.operation.compute_output_spec(*arguments, **options)
            outputs = keras.tree.flatten(results)
            known.update(zip(map(id, node.outputs), outputs, strict=True))
            given = [known[id(tensor)] for tensor in node.arguments.keras_tensors]
            if isinstance(node.operation, keras.Model):
                yield from _calls(node.operation, given)
            elif isinstance(node.operation, layers.Layer):
                shapes = tuple(tuple(tensor.shape) for tensor in given)
                yield Call(node.operation, shapes, tuple(outputs[0].shape))
