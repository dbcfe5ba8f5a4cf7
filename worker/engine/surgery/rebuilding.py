"""Rebuilds a model call by call, with other operations or more of them on the way."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras

from app.recipes.keras.graph import Ref
from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.surgery.wiring import Level, Structure, nodes_in_order


class Changes(Protocol):
    """What is different in the model that is built."""

    def operation(self, level: Level, operation: Any) -> Any:
        """What is called in place of a layer or bare operation: its copy, or something else.

        `operation` is the copy already: a layer of the same configuration, not built yet.
        """

    def made(self, level: Level, ref: Ref, tensor: Any) -> Any:
        """What the readers of a tensor are to read; `ref` says which one it was in the given model.

        Asked for the inputs of each level too.
        """


def rebuilt(model: keras.Model, changes: Changes) -> keras.Model:
    """A Functional model with the same inputs, weights and nesting, and these changes.

    Every layer that is called in place of another has its weights. Outputs stay in their order;
    they are called after the operations that make them now.
    """
    rebuilding = _Rebuilding(model, changes)
    new = rebuilding.of(model)
    names = {id(variable): name for name, variable in named_weights(new).items()}
    assign_weights(
        new, {names[id(now)]: was.numpy() for was, now in rebuilding.weights() if id(now) in names}
    )
    return new


class _Rebuilding:
    """Layers and nested models that are used several times are made once."""

    def __init__(self, model: keras.Model, changes: Changes) -> None:
        self._levels = {id(level.model): level for level in Structure.of(model).levels}
        self._changes = changes
        self._made: dict[int, tuple[Any, Any]] = {}

    def weights(self) -> Iterator[tuple[keras.Variable, keras.Variable]]:
        """Each weight of a layer with that of what is called in its place."""
        for given, made in self._made.values():
            is_layer = isinstance(given, keras.Layer) and not isinstance(given, keras.Model)
            if is_layer and isinstance(made, keras.Layer):
                yield from zip(given.weights, made.weights, strict=True)

    def of(self, model: keras.Model) -> keras.Model:
        level, graph = self._levels[id(model)], graph_of(model)
        refs = {id(tensor): ref for ref, tensor in level.tensors.items()}
        inputs = [_input_like(refs[id(tensor)].layer, tensor) for tensor in graph.inputs]
        known: dict[int, Any] = {}
        for old, new in zip(graph.inputs, inputs, strict=True):
            known[id(old)] = self._changes.made(level, refs[id(old)], new)
        for node in _in_calling_order(level):
            arguments, options = node.arguments.fill_in(known)
            made = self._instead_of(level, node.operation)(*arguments, **options)
            for old, new in zip(node.output_tensors, keras.tree.flatten(made), strict=True):
                known[id(old)] = self._changes.made(level, refs[id(old)], new)
        outputs = [known[id(tensor)] for tensor in graph.outputs]
        return keras.Model(
            _packed(graph._inputs_struct, inputs),
            _packed(graph._outputs_struct, outputs),
            name=model.name,
        )

    def _instead_of(self, level: Level, operation: Any) -> Any:
        if id(operation) not in self._made:
            made = (
                self.of(operation)
                if isinstance(operation, keras.Model)
                else self._changes.operation(level, _copy_of(operation))
            )
            self._made[id(operation)] = (operation, made)
        return self._made[id(operation)][1]


def _in_calling_order(level: Level) -> Iterator[Any]:
    """Producers before readers, and the calls of each operation in the order they are numbered."""
    refs = {id(tensor): ref for ref, tensor in level.tensors.items()}
    known = {id(tensor) for tensor in graph_of(level.model).inputs}
    called: Counter[str] = Counter()
    waiting = [node for node in nodes_in_order(level.model) if not node.is_input]
    while waiting:
        later = []
        for node in waiting:
            ref = refs[id(node.output_tensors[0])]
            fed = {id(tensor) for tensor in node.input_tensors}
            if called[ref.layer] == ref.node and fed <= known:
                called[ref.layer] += 1
                known.update(map(id, node.output_tensors))
                yield node
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"calls of {later[0].operation.name!r} wait for each other")
        waiting = later


def with_activation(layer: keras.Layer, activation: Any) -> keras.Layer:
    """The layer, not built yet, with another `activation`: a function, a layer or a model.

    Made anew, for a layer keeps track of what it once held, and some are closed from the start.
    """
    return type(layer).from_config({**layer.get_config(), "activation": activation})


def _copy_of(operation: Any) -> Any:
    if isinstance(operation, keras.Layer):
        return type(operation).from_config(operation.get_config())
    # Most bare operations cannot be configured under their own name; they hold no weights.
    twin = copy.copy(operation)
    twin._inbound_nodes, twin._outbound_nodes = [], []
    return twin


def _input_like(name: str, tensor: Any) -> Any:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _packed(structure: Any, tensors: Sequence[Any]) -> Any:
    return keras.tree.pack_sequence_as(structure, list(tensors))
