"""Activations by name, and what an int8 tflite file makes of each; pure."""

from collections.abc import Mapping
from typing import Literal

Target = Literal[
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "hard_tanh",
    "hard_silu",
    "hard_swish",
    "softplus",
    "softsign",
]
# A PReLU has slopes that were learned: it can be replaced, but nothing can be made into one.
Source = Literal[Target, "prelu"]

# Two names of one function.
SAME_AS: Mapping[str, str] = {"swish": "silu", "hard_swish": "hard_silu"}

# The operators behind a convolution in a file of TensorFlow Lite's converter: none where the
# convolution itself clamps its output. Measured: test_int8_operators.py converts each one.
INT8_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "hard_sigmoid": (),
    "hard_tanh": (),
    "leaky_relu": ("LEAKY_RELU",),
    "gelu": ("GELU",),
    "sigmoid": ("LOGISTIC",),
    "tanh": ("TANH",),
    "hard_silu": ("HARD_SWISH",),
    "silu": ("LOGISTIC", "MUL"),
    "softsign": ("ABS", "ADD", "DIV"),
    "softplus": ("EXP", "ADD", "LOG"),
    "elu": ("DEQUANTIZE", "ELU", "QUANTIZE"),
    "mish": ("EXP", "ADD", "LOG", "TANH", "MUL"),
    "celu": ("RELU", "MINIMUM", "EXP", "SUB", "ADD"),
    "selu": ("GREATER", "MUL", "EXP", "SUB", "MUL", "SELECT_V2"),
}


# Integer operators without a fast kernel: slower than the float file on x86 (LiteRT 2.3), from
# twice (selu) and eight times (hard_silu) to hundreds of times (softsign). Measured by
# benchmarks/structure/activations.py.
SLOW_IN_INT8 = frozenset({"hard_silu", "selu", "celu", "softsign"})


def canonical(name: str) -> str:
    """The one name of a function that has two."""
    return SAME_AS.get(name, name)


def int8_words(name: str) -> str | None:
    """How an int8 file computes an activation, in words; None where that was not measured."""
    operators = INT8_OPERATORS.get(name)
    if operators is None:
        return None
    if not operators:
        return "part of the layer before it"
    if "DEQUANTIZE" in operators:
        return "in float, between conversions to float and back"
    listed = f"integer operators: {', '.join(operators)}"
    return f"{listed}; slower than float on x86" if name in SLOW_IN_INT8 else listed
