"""Plain texts and numbers of a layer that have a closed meaning: Keras looks some of them up."""

import re
from collections.abc import Mapping
from typing import Any

from app.uploads.inspector.keras import names
from app.uploads.inspector.keras.sizes import WEIGHTS
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.keras.weights import snake_case
from app.uploads.inspector.shown import shown

_FLOAT = r"(mixed_)?(float16|float32|float64|bfloat16)"
_QUANTIZED = r"(int8|int4(/-?\d{1,6})?|float8|(gptq|awq)/\d{1,2}/-?\d{1,6})"
# Types and policies: float32, mixed_float16, int4/128_from_float32.
DTYPE = re.compile(
    rf"{_FLOAT}|{_QUANTIZED}_from_{_FLOAT}|u?int(4|8|16|32|64)|int|bool|string|complex(64|128)"
    r"|float8_(e4m3fn|e5m2)"
)
MAX_SEED = 2**63
CONSTANTS = frozenset({"__numpy__", "__tensor__"})


def _named(classes: frozenset[str], *others: str) -> frozenset[str]:
    """As text, a class may be named as a function would be."""
    return classes | {snake_case(name) for name in classes} | set(others)


# By how the key ends.
WORDS: Mapping[str, frozenset[str]] = {
    "activation": names.ACTIVATIONS,
    "_initializer": _named(
        names.INITIALIZERS | names.EARLIER_INITIALIZERS, "one", "zero", "uniform", "normal"
    ),
    "_regularizer": _named(names.REGULARIZERS, "l1_l2", "orthogonal"),
    "_constraint": _named(names.CONSTRAINTS, "nonneg", "maxnorm", "unitnorm", "minmaxnorm"),
}


def check_words(spot: Spot) -> None:
    """Of one layer.

    Raises: RejectedUpload.
    """
    config = spot.value["config"]
    for key, value in config.items():
        for ending, known in WORDS.items():
            if key.endswith(ending) and not _is_word(value, known):
                raise _unknown(spot, key, value)
    if config.get("stateful"):
        raise refused(
            spot,
            f"{shown(spot.value['class_name'])[1:-1]} {shown(config.get('name'))} is "
            "stateful: what it answers depends on the batch before",
            "Build the layer with stateful=False and an open batch (keras.Input(shape=...)), give "
            "it the weights of this one (set_weights), and save that.",
        )
    seed = config.get("seed")
    if type(seed) is int and abs(seed) >= MAX_SEED:
        raise refused(spot, f"the seed {seed} is larger than any that Keras takes")
    if config.get("dtype") == "string" and spot.value["class_name"] in WEIGHTS:
        raise _unknown(spot, "dtype", "string")


def _is_word(value: Any, known: frozenset[str]) -> bool:
    """One of these, none, or what is looked up at its own place."""
    if isinstance(value, str):
        return value in known
    return value is None or (isinstance(value, dict) and "class_name" in value)


def check_constant(spot: Spot) -> None:
    """Of a constant among the arguments of a call: a type that has a size of its own.

    NumPy would take a description of one as well, of as many bytes a value as it says.

    Raises: RejectedUpload.
    """
    if spot.value["class_name"] not in CONSTANTS:
        return
    inside = spot.value.get("config")
    dtype = inside.get("dtype") if isinstance(inside, dict) else None
    if not isinstance(dtype, str):
        raise refused(spot, f"a constant has the type {shown(dtype)}, which is no name of one")


def _unknown(spot: Spot, key: str, value: Any) -> Exception:
    return refused(
        spot,
        f"layer {shown(spot.value['config'].get('name'))} has the {key} {shown(value)}; Keras "
        "has none of that name for it",
        "Save the model with Keras' own, and upload the file as model.save wrote it.",
    )
