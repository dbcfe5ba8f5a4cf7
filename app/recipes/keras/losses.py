"""Which loss each output of a Keras model was compiled with, as far as it says what the output is.

Keras writes a loss as a name, as a class or function object, or as a list or dict of these.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.recipes.facts import CompiledLoss
from app.recipes.keras.graph import Ref

CLASSES: dict[str, CompiledLoss] = {
    "sparse_categorical_crossentropy": "sparse_categorical_crossentropy",
    "categorical_crossentropy": "categorical_crossentropy",
    "categorical_focal_crossentropy": "categorical_crossentropy",
    "binary_crossentropy": "binary_crossentropy",
    "binary_focal_crossentropy": "binary_crossentropy",
    "bce": "binary_crossentropy",
}
REGRESSION = frozenset(
    {
        "mean_squared_error",
        "mse",
        "mean_absolute_error",
        "mae",
        "mean_absolute_percentage_error",
        "mape",
        "mean_squared_logarithmic_error",
        "msle",
        "huber",
        "log_cosh",
        "logcosh",
        "cosine_similarity",
        "poisson",
    }
)


def compiled_losses(
    loss: Any,
    outputs: Sequence[Ref],
    keys: Sequence[str] | None,
) -> tuple[CompiledLoss | None, ...]:
    """One an output; None where there is none or it does not tell classes from values.

    Args:
        loss: the "loss" of a compile config.
        outputs: of the model, in order.
        keys: where the model returns a dict: its keys, in the order of `outputs`.
    """
    if isinstance(loss, list):
        one_each = loss if len(loss) == len(outputs) else [None] * len(outputs)
        return tuple(compiled_loss(item) for item in one_each)
    if isinstance(loss, dict) and "class_name" not in loss:
        names = keys if keys and set(loss) <= set(keys) else [ref.layer for ref in outputs]
        return tuple(compiled_loss(loss.get(name)) for name in names)
    return (compiled_loss(loss),) * len(outputs)


def compiled_loss(loss: Any) -> CompiledLoss | None:
    """What one loss says of its output."""
    if is_own(loss):
        return None
    name = snake_case(loss_name(loss))
    return "regression" if name in REGRESSION else CLASSES.get(name)


def snake_case(name: str) -> str:
    """`MeanSquaredError` and `mean_squared_error` are one loss."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def is_own(loss: Any) -> bool:
    """Whether it is the author's, whatever it is called: Keras writes where its own ones are."""
    if not isinstance(loss, Mapping) or loss.get("class_name") == "function":
        return False
    registered = loss.get("registered_name")
    return registered is not None and not str(loss.get("module")).startswith("keras.")


def loss_name(loss: Any) -> str:
    """As written: of a function, or of a class, with the package it is registered in."""
    if isinstance(loss, str):
        return loss
    if not isinstance(loss, Mapping):
        return ""
    if loss.get("class_name") == "function":
        return str(loss.get("config"))
    config = loss.get("config")
    if loss.get("class_name") == "LossFunctionWrapper" and isinstance(config, Mapping):
        # Keras 2 wrapped functions so.
        return str(config.get("fn"))
    return str(loss.get("registered_name") or loss.get("class_name"))
