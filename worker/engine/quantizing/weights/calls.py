"""Runs rows through a model call by call, so that a layer can be changed just before its own."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.wiring import nodes_in_order

# A tensor of the graph for all rows: one value a batch.
Batches = Sequence[Any]
Calls = Generator["LayerCall", None, Sequence[Batches]]


@dataclass(frozen=True)
class LayerCall:
    """A layer that is about to be called. `given`: for each batch, the tensors it gets."""

    layer: keras.Layer
    given: Sequence[Sequence[Any]]


def calls(model: keras.Model, inputs: Sequence[Batches]) -> Calls:
    """Every call of a layer, nested models walked into; it is made when the next one is asked for.

    So what the caller does to the layer's weights meanwhile is what later calls see: all rows go
    through the model once, however many layers are changed one after another. Tensors are let go
    when their last reader had them. `inputs` and the outputs, which the generator returns, are in
    the model's order.
    """
    nodes = [node for node in nodes_in_order(model) if not node.is_input]
    last = _last_readers(nodes, model)
    known: dict[int, Batches] = {
        id(tensor): [keras.ops.convert_to_tensor(value, tensor.dtype) for value in batches]
        for tensor, batches in zip(graph_of(model).inputs, inputs, strict=True)
    }
    for number, node in enumerate(nodes):
        read = [id(tensor) for tensor in node.arguments.keras_tensors]
        if isinstance(node.operation, keras.Model):
            made = yield from calls(node.operation, [known[key] for key in read])
        else:
            if isinstance(node.operation, keras.Layer):
                batches = zip(*(known[key] for key in read), strict=True)
                yield LayerCall(node.operation, list(batches))
            made = _called(node, known)
        for key in dict.fromkeys(read):
            if last.get(key) == number:
                del known[key]
        known.update(zip(map(id, node.output_tensors), made, strict=True))
    return [known[id(tensor)] for tensor in graph_of(model).outputs]


def _last_readers(nodes: Sequence[Any], model: keras.Model) -> dict[int, int]:
    """Identity of a tensor -> the number of the last node that reads it; outputs are kept."""
    last = {
        id(tensor): number
        for number, node in enumerate(nodes)
        for tensor in node.arguments.keras_tensors
    }
    kept = {id(tensor) for tensor in graph_of(model).outputs}
    return {key: number for key, number in last.items() if key not in kept}


def _called(node: Any, known: Mapping[int, Batches]) -> Sequence[Batches]:
    """The outputs of a node, each for all batches."""
    read = [id(tensor) for tensor in node.arguments.keras_tensors]
    made: list[list[Any]] = [[] for _ in node.output_tensors]
    for values in zip(*(known[key] for key in read), strict=True):
        arguments, options = node.arguments.fill_in(dict(zip(read, values, strict=True)))
        if "training" in options:
            # A layer may have been told to train for ever; at inference a model overrules that.
            options = {**options, "training": False}
        results = keras.tree.flatten(node.operation(*arguments, **options))
        for batches, result in zip(made, results, strict=True):
            batches.append(result)
    return made
