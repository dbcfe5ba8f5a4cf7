"""Takes channels out of a model."""

from collections.abc import Iterable, Mapping, Set
from pathlib import PurePosixPath
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.keras.graph import is_model, layer_name
from worker.engine.context import Masks
from worker.engine.surgery.channels.calls import Keys
from worker.engine.surgery.channels.groups import BoolArray, ChannelGraph, Keep
from worker.engine.surgery.lineage import KeptAxes
from worker.engine.surgery.removed import Removed
from worker.engine.surgery.weights import assign_weights, named_weights

Config = dict[str, Any]
# Path of a layer -> numbers in its configuration, by the keys that lead to them.
Sizes = Mapping[str, Mapping[Keys, int]]

_ZEROS = {"module": "keras.initializers", "class_name": "Zeros", "config": {}}


def kept_axes(graph: ChannelGraph, keep: Keep) -> KeptAxes:
    """What is left along each axis of each weight; whatever is not named stays whole."""
    left: dict[str, dict[int, BoolArray]] = {}
    for name, kept in keep.items():
        for part in graph.by_name[name].slices:
            axes = left.setdefault(part.weight, {})
            stays = axes.setdefault(part.axis, np.ones(len(part.units), np.bool_))
            stays &= kept[part.units] | (part.units < 0)
    return left


def removed(model: keras.Model, graph: ChannelGraph, keep: Keep, masks: Masks) -> Removed:
    """A copy of the model without the units that `keep` leaves out; names stay as they are.

    It computes what the model would with all weights at zero that read those channels; see
    `ChannelGraph.renormalized` for the exception.
    Raises: StepFailed if nothing of a group would be left.
    """
    for name, kept in keep.items():
        if not kept.any():
            raise StepFailed(
                f"all {kept.size} channels of layer {name!r} would be taken out",
                hint="A layer keeps at least one. Choose a smaller ratio, or exclude the layer; "
                "`layer_removal` takes whole layers out.",
            )
    axes = kept_axes(graph, keep)
    config = _resized(model.get_config(), _sizes(graph, keep), _layers_of(axes))
    smaller = type(model).from_config(config)
    values = {
        name: _left(weight.numpy(), axes.get(name, {}))
        for name, weight in named_weights(model).items()
    }
    assign_weights(smaller, values)
    return Removed(
        model=smaller,
        masks={name: _left(mask, axes.get(name, {})) for name, mask in masks.items()},
        kept=axes,
    )


def _left(array: NDArray[Any], axes: Mapping[int, BoolArray]) -> NDArray[Any]:
    for axis, stays in axes.items():
        array = np.compress(stays, array, axis=axis)
    return array


def _sizes(graph: ChannelGraph, keep: Keep) -> Sizes:
    sizes: dict[str, dict[Keys, int]] = {}
    kept = [keep.get(group.name, np.ones(group.count, np.bool_)) for group in graph.groups]
    # One array for all groups, so that a size that counts units of several is one look-up.
    starts = np.cumsum([0, *(len(of_one) for of_one in kept)])
    flat = np.concatenate([*kept, np.ones(1, np.bool_)])
    for size in graph.sizes:
        places = np.where(size.groups < 0, -1, starts[size.groups] + size.units)
        sizes.setdefault(size.layer, {})[size.keys] = int(flat[places].sum())
    return sizes


def _layers_of(weights: Iterable[str]) -> frozenset[str]:
    """Paths of the layers that have these weights, and of all that they lie in."""
    return frozenset(str(path) for weight in weights for path in PurePosixPath(weight).parents)


def _resized(config: Config, sizes: Sizes, sliced: Set[str], level: str = "") -> Config:
    """The configuration with these numbers, and without the shapes that layers were built for.

    Layers with `sliced` weights lose initial values that would not fit: they get others anyway.
    """
    layers = []
    for layer in config["layers"]:
        path = f"{level}{layer_name(layer)}"
        inner = _unbuilt(layer["config"])
        if is_model(layer):
            inner = _resized(inner, sizes, sliced, f"{path}/")
        elif path in sliced:
            inner = _without_arrays(inner)
        for keys, number in sizes.get(path, {}).items():
            inner = _with(inner, keys, number)
        layers.append({**_without_build(layer), "config": inner})
    return {**config, "layers": layers}


def _with(config: Any, keys: Keys, number: int) -> Any:
    """A copy with one number put in place. Keras writes a tuple as a dict that holds its items."""
    if not keys:
        return number
    if isinstance(config, dict) and config.get("class_name") == "__tuple__":
        return {**config, "items": _with(config["items"], keys, number)}
    first, *others = keys
    if isinstance(config, dict):
        return {**config, first: _with(config[first], tuple(others), number)}
    return [
        _with(item, tuple(others), number) if place == first else item
        for place, item in enumerate(config)
    ]


def _unbuilt(value: Any) -> Any:
    """Layers at any depth without the shape they were built for: they are built when called."""
    if isinstance(value, dict):
        return {key: _unbuilt(item) for key, item in _without_build(value).items()}
    if isinstance(value, list | tuple):
        return type(value)(_unbuilt(item) for item in value)
    return value


def _without_arrays(value: Any) -> Any:
    """Layers at any depth with zeros for initializers that hold one value for each weight."""
    if isinstance(value, list | tuple):
        return type(value)(_without_arrays(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "Constant":
        return value if isinstance(value["config"]["value"], int | float) else _ZEROS
    return {key: _without_arrays(item) for key, item in value.items()}


def _without_build(config: Config) -> Config:
    return {key: value for key, value in config.items() if key != "build_config"}
