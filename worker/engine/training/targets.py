"""Labels in the form the loss wants, for every kind of task."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.recipes.task import Task, TaskKind
from worker.engine.measuring.accuracy import class_labels

Array = NDArray[Any]


def targets(task: Task, labels: Array) -> Array:
    """Labels as the loss compares them.

    Classification: class numbers, [rows, ...]; one-hot rows are turned into them, which is exact.
    Binary, multi-label: 0.0 or 1.0. Regression: values. These as float32.
    """
    if task.kind is TaskKind.CLASSIFICATION:
        return class_labels(task, labels).astype(np.int32)
    return labels.astype(np.float32)
