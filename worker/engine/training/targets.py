"""Labels in the form the loss wants, and the loss itself, for every kind of task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from app.recipes.steps.recovery import Loss
from app.recipes.task import Task, TaskKind
from worker.engine.measuring.accuracy import class_labels

Array = NDArray[Any]

DISTANCES: Mapping[str, Callable[[Any, Any], Any]] = {
    "mean_squared_error": keras.losses.mean_squared_error,
    "mean_absolute_error": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
}


def targets(task: Task, labels: Array) -> Array:
    """Labels as the loss compares them.

    Classification: class numbers, [rows, ...]; one-hot rows are turned into them, which is exact.
    Binary, multi-label: 0.0 or 1.0. Regression: values. These as float32.
    """
    if task.kind is TaskKind.CLASSIFICATION:
        return class_labels(task, labels).astype(np.int32)
    return labels.astype(np.float32)


@dataclass(frozen=True)
class HeadLoss:
    """Mean loss of one output over a batch.

    `auto` is the cross-entropy of the task, or the squared error in regression. A distance
    (`mean_squared_error` ...) of a classifier is taken on its probabilities.
    """

    task: Task
    loss: Loss

    def __call__(self, y: Any, output: Any) -> Any:
        if self.loss in DISTANCES:
            return self._distance(DISTANCES[self.loss], y, output)
        if self.task.kind is TaskKind.REGRESSION:
            return self._distance(keras.losses.mean_squared_error, y, output)
        is_logits = self.task.output_is == "logits"
        if self.task.kind is TaskKind.CLASSIFICATION:
            entropy = ops.sparse_categorical_crossentropy(y, output, from_logits=is_logits)
        else:
            entropy = ops.binary_crossentropy(_like(y, output), output, from_logits=is_logits)
        return ops.mean(entropy)

    def _distance(self, distance: Callable[[Any, Any], Any], y: Any, output: Any) -> Any:
        if self.task.kind is TaskKind.CLASSIFICATION:
            y = ops.one_hot(y, output.shape[-1], dtype=output.dtype)
        return ops.mean(distance(_like(y, output), _probabilities(self.task, output)))


def _probabilities(task: Task, output: Any) -> Any:
    if task.output_is != "logits":
        return output
    return ops.softmax(output) if task.kind is TaskKind.CLASSIFICATION else ops.sigmoid(output)


def _like(y: Any, output: Any) -> Any:
    """Targets in the output's shape and type: [rows] fits [rows, 1]."""
    return ops.cast(ops.reshape(y, ops.shape(output)), output.dtype)
