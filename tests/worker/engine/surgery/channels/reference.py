"""What a model without some channels has to compute: the original with those channels at zero."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.channels.groups import BoolArray, ChannelGraph, Keep
from worker.engine.surgery.channels.removal import kept_axes
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import assign_weights, named_weights

Array = NDArray[Any]

# Every axis but the last one of a kernel, unless it is named here, is summed over.
_FLAT = ("bias", "gamma", "beta", "alpha")


def in_float64(model: Any, *, seed: int = 0) -> Any:
    """The model in double precision, with random weights."""
    return randomize(type(model).from_config(_precise(model.get_config())), seed=seed)


def randomize(model: Any, *, seed: int = 0) -> Any:
    """Gives every weight and statistic a value of a sensible size, so that no check is vacuous."""
    rng = np.random.default_rng(seed)
    values = {name: _random(rng, weight) for name, weight in named_weights(model).items()}
    assign_weights(model, values)
    return model


def random_keep(graph: ChannelGraph, *, share: float = 0.5, seed: int = 1) -> dict[str, BoolArray]:
    """About this share of the units of every group stays, at least one."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in graph.groups:
        kept = rng.random(group.count) < share
        kept[rng.integers(group.count)] = True
        keep[group.name] = kept
    return keep


def zeroed_outputs(
    model: Any,
    graph: ChannelGraph,
    keep: Keep,
    inputs: list[Array],
    statistics: Mapping[str, BoolArray] | None = None,
) -> list[Array]:
    """What the model gives with zeros wherever a channel that does not stay is read.

    `statistics`: renormalized layer -> channels that it may count. Needed for those without
    weights; the others are known by theirs.
    """
    zeroed = clone_with_weights(model)
    return zero_and_run(zeroed, graph, keep, inputs, statistics)


def zero_and_run(
    model: Any,
    graph: ChannelGraph,
    keep: Keep,
    inputs: list[Array],
    statistics: Mapping[str, BoolArray] | None = None,
) -> list[Array]:
    """The same, on the given model itself: half the time for a large one."""
    assign_weights(model, _zeroed_weights(model, graph, keep))
    counted = {**_counted(graph, keep), **(statistics or {})}
    return [np.asarray(output) for output in _run(model, inputs, counted, "")]


def _zeroed_weights(model: Any, graph: ChannelGraph, keep: Keep) -> dict[str, Array]:
    weights, zeroed = named_weights(model), dict[str, Array]()
    for name, kept in keep.items():
        for part in graph.by_name[name].slices:
            if part.role == "input":
                values = zeroed.setdefault(part.weight, weights[part.weight].numpy())
                gone = (part.units >= 0) & ~kept[part.units]
                np.moveaxis(values, part.axis, 0)[gone] = 0
    return zeroed


def _counted(graph: ChannelGraph, keep: Keep) -> dict[str, BoolArray]:
    axes = kept_axes(graph, keep)
    counted = {}
    for layer in graph.renormalized:
        for weight in ("gamma", "beta", "scale"):
            for stays in axes.get(f"{layer}/{weight}", {}).values():
                counted[layer] = stays
    return counted


def _run(model: Any, inputs: Any, counted: Mapping[str, BoolArray], level: str) -> list[Any]:
    def instead_of(operation: Any) -> Callable[..., Any]:
        path = f"{level}{operation.name}"
        if isinstance(operation, keras.Model):
            return lambda given, **_: keras.tree.pack_sequence_as(
                graph_of(operation)._outputs_struct,
                _run(operation, given, counted, f"{path}/"),
            )
        if path in counted:
            return lambda given: _over_counted(operation, given, counted[path])
        return operation

    graph = graph_of(model)
    return keras.tree.flatten(graph._run_through_graph(inputs, operation_fn=instead_of))


def _over_counted(layer: Any, given: Any, counted: BoolArray) -> Array:
    """A normalization whose statistics leave out some channels, which become zero."""
    part = np.asarray(given)[..., counted]
    smaller = type(layer).from_config(layer.get_config())
    smaller.build(part.shape)
    for own, whole in zip(smaller.weights, layer.weights, strict=True):
        own.assign(whole.numpy()[counted])
    outputs = np.zeros(given.shape)
    outputs[..., counted] = smaller(part)
    return outputs


def _precise(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _precise(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_precise(item) for item in value)
    return "float64" if value in ("float32", "mixed_float16") else value


def _random(rng: np.random.Generator, weight: Any) -> Array:
    if weight.name.endswith("variance"):
        return rng.uniform(0.5, 2.0, weight.shape)
    if weight.name in ("gamma", "scale"):
        return rng.uniform(0.5, 1.5, weight.shape)
    if weight.name == "count":
        return np.asarray(1)
    if len(weight.shape) < 2 or weight.name in _FLAT:
        return rng.normal(0.0, 0.5, weight.shape)
    inputs = np.prod(weight.shape[:-1])
    return rng.normal(0.0, np.sqrt(2.0 / inputs), weight.shape)
