"""Calls a Keras model with its inputs in order, whatever structure it wants them in."""

from collections.abc import Sequence
from typing import Any

import keras


def call_in_order(model: keras.Model, inputs: Sequence[Any]) -> list[Any]:
    """The outputs at inference, in the model's order.

    By order, not by name: the tensors of inputs that were never named have names of their own.
    """
    structure = getattr(model, "_inputs_struct", None)
    given = inputs[0] if structure is None else keras.tree.pack_sequence_as(structure, inputs)
    outputs: list[Any] = keras.tree.flatten(model(given, training=False))
    return outputs


def graph_of(model: keras.Model) -> Any:
    """The Functional graph behind a model; a Sequential one keeps it inside."""
    return getattr(model, "_functional", None) or model
