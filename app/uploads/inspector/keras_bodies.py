"""The graph of a model and of those inside it: names once each, and every call fed by a tensor."""

from typing import Any

from app.recipes.keras_graph import Config, Graph, Ref, layer_name
from app.uploads.inspector.keras_lookups import is_layer
from app.uploads.inspector.keras_names import MODELS
from app.uploads.inspector.keras_sizes import check_channels
from app.uploads.inspector.keras_walk import Spot, refused
from app.uploads.inspector.shown import shown


def is_body(value: Any) -> bool:
    """Whether it is a model that says which layers it has."""
    if not isinstance(value, dict) or value.get("class_name") not in MODELS:
        return False
    return isinstance(value.get("config"), dict) and "layers" in value["config"]


def check_body(spot: Spot, most: int) -> None:
    """Refuse a graph that cannot be what Keras wrote.

    Args:
        most: weight values that a layer may have.

    Raises: RejectedUpload; whatever indexing raises where the graph does not hang together.
    """
    _check_layers(spot)
    model: Config = spot.value
    graph = Graph.of(model)
    if model["class_name"] != "Sequential":
        _check_refs(spot, graph)
    for index, layer in enumerate(model["config"]["layers"]):
        here = Spot(layer, index, Spot(None, "layers", Spot(None, "config", spot, 0), 0), 0)
        for fed in _known_shapes(graph, layer):
            check_channels(here, fed, most)


def _check_layers(spot: Spot) -> None:
    """What stands in the list of layers must be some, and each have a name of its own."""
    seen: set[str] = set()
    for layer in spot.value["config"]["layers"]:
        name = layer_name(layer)
        if not is_layer(layer):
            raise refused(spot, f"{shown(layer['class_name'])} ({shown(name)}) is no layer")
        if name in seen:
            raise refused(spot, f"two layers are called {shown(name)}")
        seen.add(name)


def _check_refs(spot: Spot, graph: Graph) -> None:
    """Keras runs a call without a tensor at once, on whatever constants stand beside it."""
    for (name, _), refs in graph.calls.items():
        if not refs:
            raise refused(spot, f"layer {shown(name)} is called on nothing that flows in")
        for ref in refs:
            _check_ref(spot, graph, ref)
    for ref in (*graph.inputs, *graph.outputs):
        _check_ref(spot, graph, ref)


def _check_ref(spot: Spot, graph: Graph, ref: Ref) -> None:
    layer = graph.layers.get(ref.layer)
    if layer is None:
        raise refused(spot, f"{shown(ref.layer)} is named in the graph; there is no such layer")
    # What a job computes goes by the first, what is told of the model by the second.
    declared = layer["config"].get("batch_shape") if layer["class_name"] == "InputLayer" else None
    recorded = graph.known_shapes.get(ref)
    if declared and recorded and list(recorded) != declared:
        raise refused(
            spot,
            f"the input {shown(ref.layer)} has the shape {shown(declared)}, but a layer takes "
            f"{shown(list(recorded))} from it",
        )


def _known_shapes(graph: Graph, layer: Config) -> list[Any]:
    """What is said of a layer's input: where it was built, and where it is called."""
    feeds = graph.calls.get((layer_name(layer), 0), ())
    built = (layer.get("build_config") or {}).get("input_shape")
    known = [list(shape) for ref in feeds[:1] if (shape := graph.known_shapes.get(ref))]
    return [*known, built]
