"""Which weights of a model can share values."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from worker.engine.surgery.kernels import Kernel, kernels
from worker.engine.surgery.weights import Leaf, leaves


@dataclass(frozen=True)
class Target:
    """One weight; `channel_axis` is where values may differ from index to index; null = nowhere."""

    name: str
    layer_name: str
    variable: keras.Variable
    channel_axis: int | None


@dataclass(frozen=True)
class NoTarget:
    """A layer none of whose weights can share values, and why."""

    layer_name: str
    reason: str


def targets(model: keras.Model, *, with_biases: bool) -> Iterator[Target | NoTarget]:
    """Every kernel and embedding table, then every bias if asked for, in the model's order."""
    tables = {leaf.layer.name: leaf for leaf in leaves(model) if _is_table(leaf)}
    for found in kernels(model):
        if isinstance(found, Kernel):
            yield Target(found.name, found.layer_name, found.variable, _channel_axis(found))
        elif found.layer_name not in tables:
            yield NoTarget(found.layer_name, found.reason)
    for leaf in tables.values():
        # A table of one row a word: its columns are the channels.
        yield Target(f"{leaf.name}/embeddings", leaf.layer.name, leaf.layer.embeddings, 1)
    if with_biases:
        yield from _biases(model)


def obstacle(target: Target) -> str | None:
    """Why values cannot be shared within this weight; null = they can."""
    weight = target.variable
    if weight.dtype != "float32":
        return f"its {weight.name} is stored as {weight.dtype}"
    if not np.isfinite(weight.numpy()).all():
        return f"its {weight.name} holds NaN or infinity"
    return None


def too_small(target: Target, number_of_clusters: int, *, per_channel: bool) -> str | None:
    """Why sharing would change nothing and cost more than it saves; null = it would not."""
    shape = tuple(target.variable.shape)
    size = int(np.prod(shape))
    what = target.variable.name
    if not per_channel or target.channel_axis is None:
        if size > number_of_clusters:
            return None
        return f"its {what} has {size} weights, no more than {number_of_clusters} clusters"
    channels = shape[target.channel_axis]
    if size // channels > number_of_clusters:
        return None
    return (
        f"each of {channels} channels of its {what} has {size // channels} weights, no more than "
        f"{number_of_clusters} clusters"
    )


def _is_table(leaf: Leaf) -> bool:
    return isinstance(leaf.layer, keras.layers.Embedding)


def _channel_axis(kernel: Kernel) -> int | None:
    """The longest axis over outputs, the last of several: of a depthwise kernel its channels."""
    axes = [axis for axis in range(len(kernel.variable.shape)) if axis not in kernel.input_axes]
    if not axes:
        return None
    return max(axes, key=lambda axis: (kernel.variable.shape[axis], axis))


def _biases(model: keras.Model) -> Iterator[Target]:
    for leaf in leaves(model):
        for name, weight in leaf.weights().items():
            if weight.name == "bias":
                yield Target(name, leaf.layer.name, weight, None)
