"""Takes weights from another model: whole layers, or their most important channels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

from worker.engine.initializing.channels import narrowed, wanted_count
from worker.engine.initializing.pairing import LayerShapes, pair_layers
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.weights import Leaf, leaves, named_weights

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Taken:
    """New values by stable weight name, and for every chosen layer what became of it.

    `whole` and `sliced` lead from our layer's path to the other model's; `left` gives the reason.
    """

    values: Mapping[str, Array]
    whole: Mapping[str, str]
    sliced: Mapping[str, str]
    left: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Plain values for a step's report."""
        return {
            "taken_layers": dict(self.whole),
            "sliced_layers": dict(self.sliced),
            "left_layers": dict(self.left),
        }


def take_weights(model: keras.Model, source: keras.Model, chosen: Iterable[Leaf]) -> Taken:
    """Weights of `source` for the chosen layers of `model`; both stay as they are.

    All layers are paired, chosen or not, so that a layer's counterpart is always the same one. Of a
    layer that is wider there, the channels with the largest L1 norm are taken, and the layers that
    read them take the same ones.
    """
    pairs = pair_layers(_shapes(model), _shapes(source))
    wanted = _wanted_shapes(model, pairs)
    given = _fitted(source, wanted)
    stored = {name: tuple(weight.shape) for name, weight in named_weights(source).items()}
    values: dict[str, Array] = {}
    whole: dict[str, str] = {}
    sliced: dict[str, str] = {}
    left: dict[str, str] = {}
    for leaf in chosen:
        if not leaf.layer.weights:
            continue
        other = pairs.get(leaf.name)
        if other is None:
            left[leaf.name] = "the other model has no layer of its kind and shape left for it"
            continue
        found = {name: _counterpart(name, leaf.name, other) for name in leaf.weights()}
        if misfit := _misfit(found, given, wanted):
            left[leaf.name] = misfit
            continue
        values |= {name: given[theirs] for name, theirs in found.items()}
        is_whole = all(given[theirs].shape == stored[theirs] for theirs in found.values())
        (whole if is_whole else sliced)[leaf.name] = other
    return Taken(values, whole, sliced, left)


def _shapes(model: keras.Model) -> list[LayerShapes]:
    """Every layer with weights, in the model's order."""
    return [
        LayerShapes(
            path=leaf.name,
            kind=type(leaf.layer).__name__,
            shapes={
                name.removeprefix(f"{leaf.name}/"): tuple(weight.shape)
                for name, weight in leaf.weights().items()
            },
        )
        for leaf in leaves(model)
        if leaf.layer.weights
    ]


def _wanted_shapes(model: keras.Model, pairs: Mapping[str, str]) -> Shapes:
    """Weight of the other model -> the shape its counterpart here has."""
    return {
        _counterpart(name, leaf.name, pairs[leaf.name]): tuple(weight.shape)
        for leaf in leaves(model)
        if leaf.name in pairs
        for name, weight in leaf.weights().items()
    }


def _fitted(source: keras.Model, wanted: Shapes) -> Mapping[str, Array]:
    """The source's weights, without the channels that are too many."""
    weights = {name: weight.numpy() for name, weight in named_weights(source).items()}
    if all(weights[name].shape == shape for name, shape in wanted.items()):
        return weights
    graph = channel_graph(source)
    counts = {group.name: wanted_count(group, wanted) for group in graph.groups}
    return narrowed(graph, weights, {name: count for name, count in counts.items() if count})


def _misfit(found: Mapping[str, str], given: Mapping[str, Array], wanted: Shapes) -> str | None:
    """Why a layer cannot be filled with what is left of its counterpart."""
    for theirs in found.values():
        if given[theirs].shape != wanted[theirs]:
            return (
                f"{theirs} has the shape {given[theirs].shape} once its channels are cut to fit; "
                f"here it is {wanted[theirs]}"
            )
    return None


def _counterpart(weight: str, ours: str, theirs: str) -> str:
    return f"{theirs}/{weight.removeprefix(f'{ours}/')}"
