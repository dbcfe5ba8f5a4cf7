"""What an integer runtime makes of a Keras layer or operation: whether it rescales, and how."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import keras
import numpy as np

from app.recipes.activations import canonical
from app.recipes.keras.config import RECURRENT
from app.recipes.keras.ends import WEIGHTED
from worker.engine.surgery.activations import LAYERS, OPERATIONS, activation_name


class Kind(StrEnum):
    """How the range of what a layer makes follows from that of what it is given."""

    MODEL = "model"
    KEEPS_RANGE = "keeps_range"  # The very same values: nothing is rounded anew.
    SHARES_RANGE = "shares_range"  # New values in the range of the given ones.
    SCALES_INPUTS = "scales_inputs"
    ACTIVATION = "activation"
    ARITHMETIC = "arithmetic"
    WEIGHTED = "weighted"
    OTHER = "other"


# Layers and bare operations alike, by class.
_KEEPING = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GetItem",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "Identity",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "Pad",
        "Permute",
        "RepeatVector",
        "Reshape",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "Squeeze",
        "StopGradient",
        "Transpose",
        "UpSampling1D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
_SHARING = frozenset({"AveragePooling1D", "AveragePooling2D", "Concatenate", "UpSampling2D"})
_ARITHMETIC = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})
_SCALING = frozenset({"Normalization", "Rescaling"})
_POOLING = frozenset({"GlobalAveragePooling1D", "GlobalAveragePooling2D", "Mean"})

# Activations that the operator before them computes itself.
FUSED = frozenset({"linear", "relu", "relu6"})
# Those that are one integer operator, or several whose ranges are known.
_SINGLE = frozenset(
    {"softmax", "log_softmax", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu", "hard_silu",
     "silu", "hard_sigmoid", "hard_tanh"}
)  # fmt: skip
# Quantized values of these are fixed by TensorFlow Lite's specification: scale 1/256 (softmax,
# sigmoid; zero point -128), 1/128 (tanh; 0), 16/256 (log_softmax; 127).
_LIMITS: Mapping[str, tuple[float, float]] = {
    "softmax": (0.0, 255 / 256),
    "sigmoid": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
    "log_softmax": (-255 / 16, 0.0),
}
_NOT_IN_INTEGERS = frozenset({"Conv3D", "Conv3DTranspose", "EinsumDense"})
_TWO_STEPS = frozenset({"SeparableConv1D", "SeparableConv2D"})


def kind_of(operation: Any) -> Kind:
    """The kind of a layer, nested model or bare operation."""
    if isinstance(operation, keras.Model):
        return Kind.MODEL
    name = type(operation).__name__
    if name in _KEEPING or (name == "Activation" and activation_of(operation) == "linear"):
        return Kind.KEEPS_RANGE
    if name == "UpSampling2D" and operation.interpolation == "nearest":
        return Kind.KEEPS_RANGE
    if name in ("Activation", "ReLU", *LAYERS) or _is_bare_activation(operation):
        return Kind.ACTIVATION
    for kind, names in (
        (Kind.SHARES_RANGE, _SHARING),
        (Kind.SCALES_INPUTS, _SCALING),
        (Kind.ARITHMETIC, _ARITHMETIC),
        (Kind.WEIGHTED, WEIGHTED),
    ):
        if name in names:
            return kind
    return Kind.OTHER


def activation_of(operation: Any) -> str:
    """What it does to single values in the end; "linear" where it has no activation."""
    if isinstance(operation, keras.Layer):
        return activation_name(operation)
    return (
        canonical(OPERATIONS[type(operation).__name__])
        if _is_bare_activation(operation)
        else "linear"
    )


def fixed_limits(activation: str) -> tuple[float, float] | None:
    """Smallest and largest value that 8 bits hold of this activation, where runtimes fix them."""
    return _LIMITS.get(activation)


def float_reason(operation: Any) -> str | None:
    """Why an integer runtime computes it in float; null where it does not."""
    name = type(operation).__name__
    kind = kind_of(operation)
    if name in _NOT_IN_INTEGERS:
        return f"TensorFlow Lite has no integer {name}"
    if name in _TWO_STEPS:
        return (
            "the tensor between its two convolutions has no range: split it into a "
            "DepthwiseConv and a Conv of size 1"
        )
    if name in RECURRENT:
        return "recurrent layers do not convert to integers"
    if kind is Kind.WEIGHTED and (reason := _weighted_reason(operation)):
        return reason
    if kind in (Kind.WEIGHTED, Kind.ACTIVATION):
        activation = activation_of(operation)
        is_known = activation in FUSED or activation in _SINGLE
        return None if is_known else f"{activation} is no integer operator"
    if (
        kind is Kind.OTHER
        and name not in _POOLING
        and name not in ("InputLayer", "Embedding", "BatchNormalization")
    ):
        return f"no rule for the ranges inside a {name}"
    return None


def has_weighted_activation(operation: Any) -> bool:
    """Whether the activation inside a layer is one with weights of its own, as PReLU.

    It may not have them yet: a layer that knows its output's shape does not call it to find out.
    """
    activation = getattr(operation, "activation", None)
    if isinstance(activation, keras.Model) or not isinstance(activation, keras.Layer):
        return False
    return bool(activation.weights) or type(activation).build is not keras.Layer.build


def _weighted_reason(operation: Any) -> str | None:
    rates = np.atleast_1d(getattr(operation, "dilation_rate", 1))
    if max(rates) > 1:
        return (
            f"dilation_rate {max(rates)}: TensorFlow computes it between rearrangements of "
            "the tensor, on which the converter finds no ranges"
        )
    if has_weighted_activation(operation):
        name = type(operation.activation).__name__
        return f"its activation {name} has weights of its own: make it a layer behind this one"
    return None


def _is_bare_activation(operation: Any) -> bool:
    is_layer = isinstance(operation, keras.Layer)
    return not is_layer and type(operation).__name__ in OPERATIONS
