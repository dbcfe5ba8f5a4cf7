"""The loss of one output over a batch, for every kind of task and every loss by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from app.recipes.steps.recovery import Loss, Recovery
from app.recipes.task import Task, TaskKind
from worker.engine.training.logits import logits_of

LossFunction = Callable[[Any, Any], Any]

# Compared as they are: values, or probabilities with the 0 and 1 of the labels.
COMPARED: Mapping[str, LossFunction] = {
    "mean_squared_error": keras.losses.mean_squared_error,
    "mean_absolute_error": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
    "log_cosh": keras.losses.log_cosh,
    "mean_absolute_percentage_error": keras.losses.mean_absolute_percentage_error,
    "mean_squared_logarithmic_error": keras.losses.mean_squared_logarithmic_error,
    "poisson": keras.losses.poisson,
    "cosine_similarity": keras.losses.cosine_similarity,
    "kl_divergence": keras.losses.kl_divergence,
    "dice": keras.losses.dice,
    "tversky": keras.losses.tversky,
}
# A margin of 1 lies between logits; between probabilities it would ask for certainty.
HINGES: Mapping[str, LossFunction] = {
    "hinge": keras.losses.hinge,
    "squared_hinge": keras.losses.squared_hinge,
    "categorical_hinge": keras.losses.categorical_hinge,
}


@dataclass(frozen=True)
class HeadLoss:
    """Mean loss of one output over a batch.

    `auto` is the cross-entropy of the task, or the squared error in regression. A distance
    (`mean_squared_error` ...) of a classifier is taken on its probabilities, a hinge on its logits.
    `class_weights`, [classes], are factors by the true class; `label_smoothing` is the share of a
    cross-entropy's target that is spread over all classes.
    """

    task: Task
    loss: Loss
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0

    def __call__(self, y: Any, output: Any) -> Any:
        losses = self._losses(y, output)
        if self.class_weights is None:
            return ops.mean(losses)
        weights = ops.take(ops.convert_to_tensor(self.class_weights), ops.cast(y, "int32"))
        return ops.mean(losses * ops.reshape(weights, ops.shape(losses)))

    def _losses(self, y: Any, output: Any) -> Any:
        """One for each row or position, before any mean over them."""
        if self.loss in HINGES:
            logits = logits_of(self.task.kind, self.task.output_is, output)
            return HINGES[self.loss](self._as_output(y, logits), logits)
        if self.loss in COMPARED:
            return COMPARED[self.loss](self._as_output(y, output), self._probabilities(output))
        if self.task.kind is TaskKind.REGRESSION:
            return keras.losses.mean_squared_error(_like(y, output), output)
        if "focal" in self.loss:
            return self._focal(y, output)
        return self._cross_entropy(y, output)

    def _cross_entropy(self, y: Any, output: Any) -> Any:
        is_logits = self.task.output_is == "logits"
        if self.task.kind is not TaskKind.CLASSIFICATION:
            smooth = self._smoothed(_like(y, output), 2)
            return ops.binary_crossentropy(smooth, output, from_logits=is_logits)
        if not self.label_smoothing:
            return ops.sparse_categorical_crossentropy(y, output, from_logits=is_logits)
        smooth = self._smoothed(self._as_output(y, output), output.shape[-1])
        return ops.categorical_crossentropy(smooth, output, from_logits=is_logits)

    def _focal(self, y: Any, output: Any) -> Any:
        """(1 - p)^2 times the cross-entropy, p that of the truth (Lin et al., arXiv:1708.02002).

        Of classes, it is a quarter of that: Keras' alpha, the same for all of them.
        """
        is_classes = self.task.kind is TaskKind.CLASSIFICATION
        focal = (
            keras.losses.categorical_focal_crossentropy
            if is_classes
            else keras.losses.binary_focal_crossentropy
        )
        return focal(
            self._as_output(y, output),
            output,
            from_logits=self.task.output_is == "logits",
            label_smoothing=self.label_smoothing,
        )

    def _smoothed(self, y: Any, classes: int) -> Any:
        """(1 - s) y + s / classes (Szegedy et al. 2016, arXiv:1512.00567, section 7)."""
        share = self.label_smoothing
        return y * (1 - share) + share / classes if share else y

    def _as_output(self, y: Any, output: Any) -> Any:
        """Targets in the output's shape and type; class numbers become one-hot rows."""
        if self.task.kind is TaskKind.CLASSIFICATION:
            y = ops.one_hot(y, output.shape[-1], dtype=output.dtype)
        return _like(y, output)

    def _probabilities(self, output: Any) -> Any:
        if self.task.output_is != "logits":
            return output
        is_classes = self.task.kind is TaskKind.CLASSIFICATION
        return ops.softmax(output) if is_classes else ops.sigmoid(output)


def head_losses(
    options: Recovery, tasks: Sequence[Task], targets: Sequence[NDArray[Any]]
) -> tuple[HeadLoss, ...]:
    """What a training asks for of each output."""
    return tuple(
        HeadLoss(
            task, options.loss, class_weights_of(options, task, labels), options.label_smoothing
        )
        for task, labels in zip(tasks, targets, strict=True)
    )


def class_weights_of(
    options: Recovery, task: Task, labels: NDArray[Any]
) -> tuple[float, ...] | None:
    """Factors by class, [classes]; None where none are asked for or the task knows no classes.

    Balanced: n / (k n_c) for n labels, k classes among them, n_c of class c, so that the mean over
    all labels is 1; a class that no label has weighs 1. labels: as `targets` gives them.
    """
    asked = options.class_weights
    is_one_of_several = task.kind in (TaskKind.CLASSIFICATION, TaskKind.BINARY_CLASSIFICATION)
    if asked == "none" or not is_one_of_several:
        return None
    counts = np.bincount(labels.astype(np.int64).ravel(), minlength=task.class_count or 0)
    if isinstance(asked, Mapping):
        return tuple(asked.get(str(label), 1.0) for label in range(len(counts)))
    present = np.count_nonzero(counts)
    balanced = counts.sum() / (present * np.maximum(counts, 1))
    return tuple(np.where(counts > 0, balanced, 1.0).tolist())


def _like(y: Any, output: Any) -> Any:
    """Targets in the output's shape and type: [rows] fits [rows, 1]."""
    return ops.cast(ops.reshape(y, ops.shape(output)), output.dtype)
