"""Walks through the graph of a model, nested models included, call by call."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.channels.calls import Axes, Call, Tensor
from worker.engine.surgery.channels.ids import FIXED
from worker.engine.surgery.channels.ledger import Ledger
from worker.engine.surgery.channels.rules.table import outputs_of
from worker.engine.surgery.weights import leaves

_BY_NAME = "it is a model that takes its inputs in order, but is called by name"


def walk(model: keras.Model) -> Ledger:
    """All that the rules say about the channels of a model. What it gives out has to stay."""
    found = leaves(model)
    ledger = Ledger(
        layer_names={id(leaf.layer): leaf.name for leaf in found},
        weight_names={
            id(weight): name for leaf in found for name, weight in leaf.weights().items()
        },
    )
    ends = _walked(ledger, model, [{} for _ in graph_of(model).inputs], "")
    made = [ids for axes in ends for ids in axes.values()]
    if made:
        ledger.ids.stop_foremost(np.concatenate(made), "it makes an output of the model")
    return ledger


def _walked(ledger: Ledger, model: keras.Model, given: Sequence[Axes], level: str) -> list[Axes]:
    """The channels of the outputs of a model whose path is `level`, for those of its inputs."""
    graph = graph_of(model)
    known = {
        id(tensor): Tensor(tuple(tensor.shape), axes)
        for tensor, axes in zip(graph.inputs, given, strict=True)
    }
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            follow = _enter if isinstance(node.operation, keras.Model) else _call
            made = follow(ledger, node, known, level)
            for tensor, axes in zip(node.outputs, made, strict=True):
                known[id(tensor)] = Tensor(tuple(tensor.shape), axes)
    return [known[id(tensor)].ids for tensor in graph.outputs]


def _call(ledger: Ledger, node: Any, known: Mapping[int, Tensor], level: str) -> list[Axes]:
    """Calls a layer or an operation."""
    return outputs_of(ledger, _call_of(ledger, node, known, level))


def _call_of(ledger: Ledger, node: Any, known: Mapping[int, Tensor], level: str) -> Call:
    return Call(
        name=ledger.path(node.operation, level),
        layer=node.operation,
        inputs=tuple(known[id(tensor)] for tensor in node.arguments.keras_tensors),
        shapes=tuple(tuple(tensor.shape) for tensor in node.outputs),
        arguments=_tensors(node.arguments.args, known),
        keywords=_tensors(node.arguments.kwargs, known),
    )


def _enter(ledger: Ledger, node: Any, known: Mapping[int, Tensor], level: str) -> list[Axes]:
    """Calls a nested model. Its inputs state their shape, which changes with what it is given."""
    model = node.operation
    call, inner = _call_of(ledger, node, known, level), f"{level}{model.name}/"
    ledger.pass_over(call, 1, {"inputs"})
    read = call.arguments[0] if call.arguments else call.keywords["inputs"]
    by_name = _is_by_name(model, read)
    if by_name:
        ledger.refuse(call, _BY_NAME)
    given = [Tensor(item.shape, {} if by_name else item.ids) for item in keras.tree.flatten(read)]
    for tensor, entering in zip(graph_of(model).inputs, given, strict=True):
        _state_shape(ledger, tensor, entering, inner)
    made = _walked(ledger, model, [tensor.ids for tensor in given], inner)
    if not by_name:
        return made
    for axes in made:
        for ids in axes.values():
            ledger.stop(call, ids, _BY_NAME)
    return [{} for _ in made]


def _state_shape(ledger: Ledger, tensor: Any, read: Tensor, level: str) -> None:
    layer = tensor._keras_history.operation
    call = Call(ledger.path(layer, level), layer, (read,), (read.shape,), (), {})
    for axis, length in enumerate(tensor.shape[1:], start=1):
        if length is not None:
            ids = read.ids.get(axis, np.full(length, FIXED))
            ledger.size(call, ("batch_shape", axis), ids)


def _is_by_name(model: keras.Model, read: Any) -> bool:
    """A dict is given to a model whose inputs are a list.

    Keras looks the tensors up by name when it computes, but takes them in alphabetical order when
    it works out shapes: widths that differ would be mixed up.
    """
    return isinstance(read, dict) and not isinstance(getattr(model, "_inputs_struct", None), dict)


def _tensors(structure: Any, known: Mapping[int, Tensor]) -> Any:
    """The arguments of a call with a Tensor for each tensor of Keras."""
    return keras.tree.map_structure(
        lambda item: known[id(item)] if isinstance(item, keras.KerasTensor) else item, structure
    )
