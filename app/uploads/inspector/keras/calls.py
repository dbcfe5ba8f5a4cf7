"""The calls in a model's graph: each takes what another made before it, and an output needs it.

Keras makes a call once all that it takes is there. At one that never is it gives up; one that no
output needs it leaves out, so that another model is loaded than the one that was looked at.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.recipes.keras.graph import Graph, Ref, is_model, layer_name
from app.uploads.inspector.keras.shapes import gives_one
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown
from app.uploads.inspector.topological_order import node_in_cycle

# Models inside models counted as often as they are called: four for each layer that one may have.
MAX_CALLS = 20_000
AGAIN = "Save the model again with a current Keras; check that it loads."

Call = tuple[str, int]


def check_calls(spot: Spot, graph: Graph) -> None:
    """Of one Functional model; those inside it are looked at by themselves.

    Raises: RejectedUpload; whatever indexing raises where the graph does not hang together.
    """
    for taken in (*graph.calls.values(), graph.outputs):
        for ref in taken:
            _check_made(spot, graph, ref)
    needs = {call: {(ref.layer, ref.node) for ref in refs} for call, refs in graph.calls.items()}
    stuck = node_in_cycle({call: made & needs.keys() for call, made in needs.items()})
    if stuck is not None:
        raise refused(spot, f"layer {shown(stuck[0])} waits for what it makes itself", AGAIN)
    _check_needed(spot, graph, _needed(needs, graph.outputs))


def check_count(spot: Spot, graph: Graph) -> None:
    """Models that call each other twice, level by level, double with each of them.

    Raises: RejectedUpload.
    """
    count = _count(graph)
    if count > MAX_CALLS:
        raise refused(
            spot,
            f"the layers of the model are called {count} times in all; {MAX_CALLS} are taken",
            "Layers of a model inside the model count at each call of it.",
        )


def _check_made(spot: Spot, graph: Graph, ref: Ref) -> None:
    layer = graph.layers[ref.layer]
    is_input = layer["class_name"] == "InputLayer"
    is_there = ref.node == 0 if is_input else (ref.layer, ref.node) in graph.calls
    outputs = len(graph.inner(ref.layer).outputs) if is_model(layer) else None
    if is_input or gives_one(layer):
        outputs = 1
    if not is_there or ref.output < 0 or (outputs is not None and ref.output >= outputs):
        raise refused(
            spot,
            f"output {ref.output} of call {ref.node} of layer {shown(ref.layer)} is taken in the "
            "graph; there is no such call or output",
            AGAIN,
        )


def _needed(needs: Mapping[Call, set[Call]], outputs: Iterable[Ref]) -> set[Call]:
    """Calls and inputs that the outputs are made from."""
    pending = [(ref.layer, ref.node) for ref in outputs]
    found: set[Call] = set()
    while pending:
        call = pending.pop()
        if call not in found:
            found.add(call)
            pending.extend(needs.get(call, ()))
    return found


def _check_needed(spot: Spot, graph: Graph, needed: set[Call]) -> None:
    inputs = {ref.layer for ref in graph.inputs}
    layers = {layer for layer, _ in needed} | inputs
    unused = [call[0] for call in graph.calls if call not in needed]
    unused += [
        layer_name(layer) for layer in graph.layers.values() if layer_name(layer) not in layers
    ]
    if unused:
        raise refused(
            spot,
            f"no output of the model depends on layer {shown(unused[0])}, or on a call of it",
            AGAIN,
        )
    sources = (layer for layer, _ in needed if graph.layers[layer]["class_name"] == "InputLayer")
    for source in sources:
        if source not in inputs:
            raise refused(
                spot, f"{shown(source)} is none of the inputs that the model names", AGAIN
            )


def _count(graph: Graph) -> int:
    """All calls, those inside of models and of wrapped ones as often as these are called."""
    inside: dict[str, int] = {}
    total = 0
    for name, _ in graph.calls:
        if name not in inside:
            model = _model_in(graph.layers[name])
            inside[name] = _count(Graph.of(model)) if model else 1
        total += max(1, inside[name])
    return total


def _model_in(layer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The layer itself, or the one that it wraps, where that is a model."""
    while True:
        if is_model(layer):
            return layer
        inner = layer["config"].get("layer")
        if not isinstance(inner, dict) or not isinstance(inner.get("config"), dict):
            return None
        layer = inner
