"""How right predictions are, for every kind of task; pure array functions.

Predictions are what the model's output gives: [rows, classes] or [rows, time, classes], read as
logits, probabilities or values as the task says. Every step of a sequence counts in a figure; but
the steps of a row are not independent, so what is judged by chance is the row: `right_share`.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from app.recipes.task import Task, TaskKind
from app.reports.report import HeadMeasurement

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
AnyNumber = TypeVar("AnyNumber", bound=np.generic)

# Below this a probability is taken as this: one certain mistake must not make the mean infinite.
SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class HeadResult:
    """One output's figures, and how much of each row was right (null in regression).

    `right_share`: [rows], in [0, 1]; 0 or 1 where a row has one decision.
    """

    figures: HeadMeasurement
    right_share: npt.NDArray[np.float64] | None


def judge(task: Task, predictions: Array, labels: Labels) -> HeadResult:
    """Compare one output's predictions with its labels.

    Multi-label: a row is right when every label of it is.
    """
    if task.kind is TaskKind.REGRESSION:
        return HeadResult(_regression(task, predictions, labels), None)
    is_right = decide(task, predictions) == class_labels(task, labels)
    if task.kind is TaskKind.MULTI_LABEL:
        is_right = is_right.all(axis=-1)
    figures = HeadMeasurement(
        output=task.output,
        task=task.kind,
        accuracy=float(is_right.mean()),
        loss=log_loss(task, predictions, labels),
        mse=None,
        mae=None,
        r2=None,
    )
    return HeadResult(figures, is_right.reshape(len(is_right), -1).mean(axis=1))


def decide(task: Task, predictions: Array) -> npt.NDArray[np.int64]:
    """The decision a prediction stands for.

    Classification: the class, [rows, ...]. Binary: 0 or 1, [rows, ...]. Multi-label: 0 or 1 a
    label, [rows, labels].
    """
    if task.kind is TaskKind.CLASSIFICATION:
        return predictions.argmax(axis=-1)
    threshold = 0.0 if task.output_is == "logits" else 0.5
    decided = (predictions > threshold).astype(np.int64)
    return decided if task.kind is TaskKind.MULTI_LABEL else _without_unit_axis(decided)


def class_labels(task: Task, labels: Labels) -> npt.NDArray[np.int64]:
    """Labels in the form of `decide`."""
    if task.kind is TaskKind.CLASSIFICATION and task.labels_are == "one_hot":
        return labels.argmax(axis=-1)
    whole = labels.astype(np.int64)
    return whole if task.kind is TaskKind.MULTI_LABEL else _without_unit_axis(whole)


def log_loss(task: Task, predictions: Array, labels: Labels) -> float:
    """Mean cross-entropy in nats a trial, probabilities clipped away from 0."""
    truth = class_labels(task, labels)
    if task.kind is TaskKind.CLASSIFICATION:
        chosen = np.take_along_axis(_class_probabilities(task, predictions), truth[..., None], -1)
        return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1)).mean())
    if task.kind is TaskKind.BINARY_CLASSIFICATION:
        predictions = _without_unit_axis(predictions)
    of_one = predictions.astype(np.float64)
    if task.output_is == "logits":
        of_one = np.exp(-np.logaddexp(0, -of_one))
    chosen = np.where(truth == 1, of_one, 1 - of_one)
    return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1)).mean())


def agreement(tasks: tuple[Task, ...], first: list[Array], second: list[Array]) -> float | None:
    """Share of rows in which two models decide alike on every classifying output; null if none."""
    same: list[BoolArray] = []
    for task, one, other in zip(tasks, first, second, strict=True):
        if task.is_classification:
            equal = decide(task, one) == decide(task, other)
            same.append(equal.reshape(len(equal), -1).all(axis=1))
    return float(np.logical_and.reduce(same).mean()) if same else None


def _class_probabilities(task: Task, predictions: Array) -> npt.NDArray[np.float64]:
    scores = predictions.astype(np.float64)
    if task.output_is == "logits":
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = scores.sum(axis=-1, keepdims=True)
    return np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)


def _regression(task: Task, predictions: Array, labels: Labels) -> HeadMeasurement:
    truth = labels.astype(np.float64).reshape(predictions.shape)
    errors = predictions.astype(np.float64) - truth
    mse = float(np.square(errors).mean())
    # Columns are scored apart and averaged: one with a large range would hide the others.
    columns = truth.reshape(len(truth), -1)
    spread = np.square(columns - columns.mean(axis=0)).sum(axis=0)
    residual = np.square(errors.reshape(columns.shape)).sum(axis=0)
    varies = spread > 0
    r2 = float((1 - residual[varies] / spread[varies]).mean()) if varies.any() else None
    return HeadMeasurement(
        output=task.output,
        task=task.kind,
        accuracy=None,
        loss=mse,
        mse=mse,
        mae=float(np.abs(errors).mean()),
        r2=r2,
    )


def _without_unit_axis(array: npt.NDArray[AnyNumber]) -> npt.NDArray[AnyNumber]:
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array
