"""Kinds of layers, as far as what belongs to a layer before it goes."""

import math
from typing import Any

import keras

layers = keras.layers

NORMALIZATIONS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
)
ACTIVATIONS = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ELU,
    layers.Softmax,
)
REGULARIZERS = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
# They say what the numbers of an input mean, which no later layer makes up for.
INPUT_SCALINGS = (layers.Normalization, layers.Discretization)


def parameters_of(operation: Any) -> int:
    """Weights of a layer or model; a bare operation has none."""
    weights = getattr(operation, "weights", ())
    return sum(math.prod(weight.shape) for weight in weights)


def effect_of(operation: Any) -> object:
    """What a layer does last to its output: the name of an activation, the class of a norm."""
    if isinstance(operation, NORMALIZATIONS):
        return type(operation)
    if isinstance(operation, layers.ReLU):
        parameters = (operation.max_value, operation.negative_slope, operation.threshold)
        return {(None, 0, 0): "relu", (6, 0, 0): "relu6"}.get(parameters, parameters)
    activation = getattr(operation, "activation", None)
    return getattr(activation, "__name__", None) or type(operation)
