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


@dataclass(frozen=True)
class Product:
    """Multiply-accumulates that grow with the lengths of some axes of a weight, all else fixed."""

    count: int
    weight: keras.Variable
    axes: tuple[int, ...]


def products(
    model: keras.Model, row_shapes: Sequence[tuple[int | None, ...]]
) -> Iterator[tuple[str, tuple[Product, ...] | None]]:
    """For every use of a layer the name of its row and what it multiplies; null where not known.

    `row_shapes`: shape of each input without the batch, in the model's order.
    Layers of nested models are used as often as the nested model is called.
    """
    rows = [
        keras.KerasTensor((1, *shape), tensor.dtype)
        for shape, tensor in zip(row_shapes, model.inputs, strict=True)
    ]
    names = row_names(model)
    for call in _calls(model, rows):
        yield names[id(call.layer)], products_of(call.layer, call)


def macs_by_layer(
    model: keras.Model, row_shapes: Sequence[tuple[int | None, ...]]
) -> dict[str, int | None]:
    """Name of a layer's row -> multiply-accumulates over all its uses; null where not known.

    Takes what `products` takes.
    """
    counts: dict[str, int | None] = {}
    for name, found in products(model, row_shapes):
        before = counts.get(name, 0)
        if before is None or found is None:
            counts[name] = None
        else:
            counts[name] = before + sum(part.count for part in found)
    return counts


def total(counts: Mapping[str, int | None]) -> int | None:
    """All layers together; null if one is not known."""
    known = [count for count in counts.values() if count is not None]
    return sum(known) if len(known) == len(counts) else None


def products_of(layer: keras.layers.Layer, call: Call) -> tuple[Product, ...] | None:
    """What one call multiplies; `layer` may be what the called layer wraps. Null if not known."""
    if not call.is_known:
        return None
    if not layer.weights or isinstance(layer, ELEMENT_WISE):
        return ()
    if isinstance(layer, layers.TimeDistributed):
        return products_of(layer.layer, call)
    if isinstance(layer, layers.Bidirectional):
        forward = products_of(layer.forward_layer, call)
        backward = products_of(layer.backward_layer, call)
        return None if forward is None or backward is None else (*forward, *backward)
    if isinstance(layer, RECURRENT):
        steps, cell = call.inputs[0][1], layer.cell
        return tuple(_each_weight(steps, one) for one in (cell.kernel, cell.recurrent_kernel))
    if isinstance(layer, layers.EinsumDense):
        count = _einsum(layer.equation, call.inputs[0], tuple(layer.kernel.shape))
        return (Product(count, layer.kernel, tuple(range(len(layer.kernel.shape)))),)
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer, call)
    return _convolution(layer, call)


def _each_weight(times: int, kernel: keras.Variable) -> Product:
    """Every weight of a kernel is multiplied with that many numbers."""
    return Product(times * math.prod(kernel.shape), kernel, tuple(range(len(kernel.shape))))


def _convolution(layer: keras.layers.Layer, call: Call) -> tuple[Product, ...] | None:
    """Dense too: a convolution over one place. Depthwise kernels are [..., in, multiplier]."""
    places = math.prod(call.output[:-1])
    if isinstance(layer, TRANSPOSED):
        return (_each_weight(math.prod(call.inputs[0][:-1]), layer.kernel),)
    if isinstance(layer, (*DENSE_KERNELS, *DEPTHWISE)):
        return (_each_weight(places, layer.kernel),)
    if isinstance(layer, SEPARABLE):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return tuple(_each_weight(places, kernel) for kernel in kernels)
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


def _attention(layer: Any, call: Call) -> tuple[Product, ...]:
    """Four projections; scores and their weighted sum, queries x keys for every head.

    Inputs are query, value and, if given, key; all [1, steps, features]. Kernels of query, key and
    value are [features, heads, size of a head].
    """
    query, value = call.inputs[0], call.inputs[1] if len(call.inputs) > 1 else call.inputs[0]
    steps, seen = math.prod(query[1:-1]), math.prod(value[1:-1])
    asked, answered = layer.query_dense.kernel, layer.value_dense.kernel
    return (
        _each_weight(steps, asked),
        _each_weight(seen, layer.key_dense.kernel),
        _each_weight(seen, answered),
        _each_weight(steps, layer.output_dense.kernel),
        Product(steps * seen * math.prod(asked.shape[1:]), asked, (1, 2)),
        Product(steps * seen * math.prod(answered.shape[1:]), answered, (1, 2)),
    )


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
