"""Runs a model over rows, compiled once."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import Column

Array = NDArray[Any]


class Predictor:
    """A model's outputs for a batch, as arrays in the order of its outputs.

    Inputs are given by name, in the model's order, as a `Split` gives them.
    """

    def __init__(self, model: keras.Model, columns: Mapping[str, Column]) -> None:
        self._model = model
        self._compiled = tf.function(
            self._outputs, input_signature=[input_signature(columns)], autograph=False
        )

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [output.numpy() for output in self._compiled(list(inputs.values()))]

    def _outputs(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        outputs = self._model(packed_inputs(self._model, inputs), training=False)
        return list(flat_outputs(outputs))


def input_signature(columns: Mapping[str, Column]) -> list[tf.TensorSpec]:
    """One trace for every batch size: the last batch of an epoch is smaller."""
    return [
        tf.TensorSpec((None, *column.shape), tf.as_dtype(np.dtype(column.dtype)))
        for column in columns.values()
    ]
