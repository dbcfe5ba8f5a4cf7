"""Runs a model layer by layer, so that one can look at tensors on the way and put others there."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from app.recipes.keras.graph import Ref
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.wiring import Level, Structure, nodes_in_order

# A span, its entry and what it makes of it -> what the readers of its exit are given.
AtExit = Callable[[Span, Any, Any], Any]


class Replay:
    """The outputs of a model at inference, with something done at the exit of every span.

    It calls the model's own layers, so it has the model's weights as they are at each call.
    """

    def __init__(self, model: keras.Model, spans: Sequence[Span], at_exit: AtExit) -> None:
        self._levels = {level.path: level for level in Structure.of(model).levels}
        self._at_exit = at_exit
        self._spans: dict[tuple[str, Ref], list[Span]] = defaultdict(list)
        # Where spans of one exit lie in each other, the inner one comes first.
        for span in sorted(spans, key=lambda span: len(span.layers)):
            self._spans[span.level, span.exit].append(span)
        self._opened = {span.level for span in spans}

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Both in the model's order."""
        return self._run(self._levels[""], inputs)

    def _run(self, level: Level, inputs: Sequence[Any]) -> list[Any]:
        tensors = level.tensors
        refs = {id(tensor): ref for ref, tensor in tensors.items()}
        known = {
            id(tensors[ref]): keras.ops.convert_to_tensor(value, tensors[ref].dtype)
            for ref, value in zip(level.wiring.inputs, inputs, strict=True)
        }
        for node in nodes_in_order(level.model):
            if node.is_input:
                continue
            for tensor, value in zip(
                node.output_tensors, self._called(level, node, known), strict=True
            ):
                known[id(tensor)] = value
                for span in self._spans.get((level.path, refs[id(tensor)]), ()):
                    entry = known[id(tensors[span.entry])]
                    known[id(tensor)] = self._at_exit(span, entry, known[id(tensor)])
        return [known[id(tensors[ref])] for ref in level.wiring.outputs]

    def _called(self, level: Level, node: Any, known: Mapping[int, Any]) -> Sequence[Any]:
        arguments, options = node.arguments.fill_in(known)
        path = f"{level.path}{node.operation.name}/"
        if path in self._levels and any(opened.startswith(path) for opened in self._opened):
            return self._run(self._levels[path], keras.tree.flatten(arguments))
        if isinstance(node.operation, keras.Model) or "training" in options:
            # A layer may have been told to train for ever; at inference a model overrules that.
            options = {**options, "training": False}
        outputs: Sequence[Any] = keras.tree.flatten(node.operation(*arguments, **options))
        return outputs
