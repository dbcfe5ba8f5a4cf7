"""The graph of a model and of those inside it: names once each, and every call fed by a tensor."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.recipes.keras.graph import Graph, Ref, Shape, layer_name
from app.uploads.inspector.keras.built import check_channels
from app.uploads.inspector.keras.calls import check_calls, check_count
from app.uploads.inspector.keras.fits import fits
from app.uploads.inspector.keras.lookups import is_layer
from app.uploads.inspector.keras.names import MODELS
from app.uploads.inspector.keras.results import Results
from app.uploads.inspector.keras.shapes import values_in
from app.uploads.inspector.keras.sizes import MAX_VALUES
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown

# TensorFlow computes with fewer yet; none that Keras writes has as many.
MAX_AXES = 16


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
    graph = Graph.of(spot.value)
    if spot.above is None:
        check_count(spot, graph)
    if spot.value["class_name"] != "Sequential":
        _check_refs(spot, graph)
        check_calls(spot, graph)
    results = Results(graph)
    spots = {layer_name(here.value): here for here in _layers(spot)}
    for (name, node), feeds in graph.calls.items():
        here = spots[name]
        _check_fits(here, [results.shape(feed) for feed in feeds])
        _check_result(here, results.shape(Ref(name, node, 0)))
        # Weights are made at the first call, most for what comes first.
        if feeds and node == 0:
            check_channels(here, _listed(graph.known_shapes.get(feeds[0])), most)
            check_channels(here, results.shape(feeds[0]), most)


def _layers(spot: Spot) -> Iterator[Spot]:
    inside = Spot(spot.value["config"], "config", spot, spot.depth + 1)
    listed = Spot(inside.value["layers"], "layers", inside, spot.depth + 2)
    for index, layer in enumerate(listed.value):
        yield Spot(layer, index, listed, spot.depth + 3)


def _listed(shape: Shape | None) -> list[int | None] | None:
    return None if shape is None else list(shape)


def _check_result(spot: Spot, shape: Sequence[int | None] | None) -> None:
    if shape is None or (values_in(shape) <= MAX_VALUES and len(shape) <= MAX_AXES):
        return
    raise refused(
        spot,
        f"{shown(spot.value['class_name'])[1:-1]} {shown(layer_name(spot.value))} makes a result "
        f"of the shape {shown(list(shape))}: more than {MAX_VALUES} values in one sample, or than "
        f"{MAX_AXES} axes",
        "No job could compute that; save the model with the sizes it is used at.",
    )


def _check_fits(spot: Spot, fed: list[list[int | None] | None]) -> None:
    if not fits(spot.value, fed):
        raise refused(
            spot,
            f"{shown(spot.value['class_name'])[1:-1]} {shown(layer_name(spot.value))} is called on "
            f"what does not fit it: {shown(fed)}",
            "Save the model again with a current Keras; check that it loads.",
        )


def _check_layers(spot: Spot) -> None:
    """What stands in the list of layers must be some, and each have a name of its own."""
    seen: set[str] = set()
    for here in _layers(spot):
        layer, name = here.value, layer_name(here.value)
        if not is_layer(layer):
            raise refused(here, f"{shown(layer['class_name'])} ({shown(name)}) is no layer")
        if name in seen:
            raise refused(here, f"two layers are called {shown(name)}")
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
