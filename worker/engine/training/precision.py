"""Layers that compute in half the bits while a training step is traced."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.weights import leaves, sublayers

# They bring features of any range to one that a float16 holds, or are to.
SCALING = (keras.layers.Normalization, keras.layers.Rescaling)


@contextmanager
def computing_in(model: keras.Model, dtype: str) -> Iterator[None]:
    """Let hidden layers compute in a mixed type; read when a step is traced.

    Weights stay float32, and so do the last layers (a softmax in float16 loses small probabilities)
    and those that scale inputs. A layer whose type was chosen by its author keeps it. Every layer
    has its own policy again afterwards.
    """
    last = _last_layers(model)
    changed = [
        layer
        for leaf in leaves(model)
        if dtype != "float32" and leaf.layer not in last
        for layer in sublayers(leaf.layer)
        if layer.dtype_policy.name == "float32" and not isinstance(layer, SCALING)
    ]
    before = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = keras.DTypePolicy(dtype)
    try:
        yield
    finally:
        for layer, policy in zip(changed, before, strict=True):
            layer.dtype_policy = policy


def _last_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that give the model's outputs, looked for in nested models too."""
    found: list[keras.layers.Layer] = []
    for output in keras.tree.flatten(graph_of(model).outputs):
        layer = output._keras_history.operation
        found += _last_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found
