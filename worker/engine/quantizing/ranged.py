"""Puts layers of one's own at the points of a model: to read ranges, or to train with them."""

from collections.abc import Mapping
from typing import Any

import keras

from app.recipes.keras.graph import Ref
from worker.engine.quantizing.points import Place, point_name
from worker.engine.surgery.rebuilding import rebuilt, with_activation
from worker.engine.surgery.wiring import Level


class Elementwise(keras.layers.Layer):
    """A layer that returns what has the shape of what it is given.

    Said, not inferred: some bare operations of Keras call what they make sparse, falsely, and
    inference would believe them.
    """

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def with_layers_at(model: keras.Model, layers: Mapping[str, Elementwise]) -> keras.Model:
    """The model with a layer at each of these points, by `Point.name`.

    A layer may stand at several points.
    Its weights are those of the new model too. Where a point is before the activation of a layer,
    the activation becomes a layer of its own. The model is to be run, not saved: inputs, outputs
    and weights are in the given order, but outputs have other names.
    model: without fake quantization.
    """
    return rebuilt(model, _Standing(layers))


class _Standing:
    def __init__(self, layers: Mapping[str, Elementwise]) -> None:
        self._layers = layers
        self._activations: dict[tuple[str, str], Any] = {}

    def operation(self, level: Level, operation: Any) -> Any:
        if self._at(level, Ref(operation.name, 0, 0), Place.BEFORE_ACTIVATION):
            self._activations[level.path, operation.name] = operation.activation
            return with_activation(operation, keras.activations.linear)
        return operation

    def made(self, level: Level, ref: Ref, tensor: Any) -> Any:
        before = self._at(level, Ref(ref.layer, 0, ref.output), Place.BEFORE_ACTIVATION)
        if before:
            activation = self._activations[level.path, ref.layer]
            is_layer = isinstance(activation, keras.Layer)
            # A name that does not count up: checkpoints know a training by its model's description.
            name = f"{point_name('', ref, Place.AFTER)}__activation"
            apply = activation if is_layer else keras.layers.Activation(activation, name=name)
            tensor = apply(before(tensor))
        after = self._at(level, ref, Place.AFTER)
        return after(tensor) if after else tensor

    def _at(self, level: Level, ref: Ref, place: Place) -> Elementwise | None:
        return self._layers.get(point_name(level.path, ref, place))
