"""A new model like the given one, with some weights changed."""

from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from worker.engine.surgery.weights import assign_weights


def clone_with_weights(
    model: keras.Model, changed: Mapping[str, NDArray[Any]] | None = None
) -> keras.Model:
    """A copy that shares nothing with `model`; `changed` gives new values by stable weight name.

    Rebuilt from its configuration, not by `clone_model`, which renames the inputs.
    """
    clone = type(model).from_config(model.get_config())
    clone.set_weights(model.get_weights())
    assign_weights(clone, changed or {})
    return clone
