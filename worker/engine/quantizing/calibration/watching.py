"""Runs a model so that every tensor inside it can be looked at."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from app.recipes.keras.graph import Ref
from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.wiring import Level, Structure, nodes_in_order

# Is told of each tensor once it is computed: its level, which one it is, its value.
Watch = Callable[[Level, Ref, Any], None]


class WatchedModel:
    """A model at inference; layers that are called several times are seen each time."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._levels = {id(level.model): level for level in Structure.of(model).levels}

    def run(self, inputs: Sequence[Any], watch: Watch) -> None:
        """Call the model on tensors in the order of its inputs, [rows, ...] each."""
        self._run(self._model, inputs, watch)

    def _run(self, model: keras.Model, given: Sequence[Any], watch: Watch) -> list[Any]:
        level, graph = self._levels[id(model)], graph_of(model)
        refs = {id(tensor): ref for ref, tensor in level.tensors.items()}
        known: dict[int, Any] = {}
        for tensor, value in zip(graph.inputs, given, strict=True):
            known[id(tensor)] = value
            watch(level, refs[id(tensor)], value)
        for node in nodes_in_order(model):
            if node.is_input:
                continue
            made = self._called(node, known, watch)
            for tensor, value in zip(node.output_tensors, made, strict=True):
                known[id(tensor)] = value
                watch(level, refs[id(tensor)], value)
        return [known[id(tensor)] for tensor in graph.outputs]

    def _called(self, node: Any, known: dict[int, Any], watch: Watch) -> list[Any]:
        arguments, options = node.arguments.fill_in(known)
        operation = node.operation
        if not isinstance(operation, keras.Model):
            flat: list[Any] = keras.tree.flatten(operation(*arguments, **options))
            return flat
        read = arguments[0] if arguments else options["inputs"]
        # As Keras itself orders what a nested model is given, by name or in a list.
        return self._run(operation, graph_of(operation)._standardize_inputs(read), watch)
