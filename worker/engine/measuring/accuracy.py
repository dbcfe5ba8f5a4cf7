"""How right predictions are, for every kind of task; pure array functions.

Predictions are what the model's output gives: [rows, classes] or [rows, time, classes], read as
logits, probabilities or values as the task says. Every step of a sequence counts in a figure; but
the steps of a row are not independent, so what is judged by chance is the row: `right_share`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from app.recipes.task import Task, TaskKind
from app.reports.report import HeadMeasurement

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
AnyNumber = TypeVar("AnyNumber", bound=np.generic)

# Below this a probability is taken as this: one certain mistake must not make the mean infinite.
SMALLEST_PROBABILITY = 1e-7
# Of predictions that are judged at once.
PART_BYTES = 4 << 20


@dataclass(frozen=True)
class HeadResult:
    """One output's figures, and how much of each row was right (null in regression).

    `right_share`: [rows], in [0, 1]; 0 or 1 where a row has one decision.
    """

    figures: HeadMeasurement
    right_share: FloatArray | None


def judge(task: Task, predictions: Array, labels: Labels) -> HeadResult:
    """Compare one output's predictions with its labels.

    Multi-label: a row is right when every label of it is.
    """
    tally = Tally(task)
    shares = tally.add(predictions, labels)
    return HeadResult(tally.figures(), shares)


class Tally:
    """One output's figures, gathered from batches of rows; it holds sums, no rows."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._of = _Values() if task.kind is TaskKind.REGRESSION else _Decisions(task)

    def add(self, predictions: Array, labels: Labels) -> FloatArray | None:
        """Count these rows in. Gives how much of each was right, [rows]; null in regression."""
        shares = [self._of.add(predictions[part], labels[part]) for part in _parts(predictions)]
        known = [share for share in shares if share is not None]
        return np.concatenate(known) if known else None

    def figures(self) -> HeadMeasurement:
        """Of all rows so far; there must be some."""
        figures = dict.fromkeys(("accuracy", "mse", "mae", "r2")) | self._of.figures()
        return HeadMeasurement(output=self._task.output, task=self._task.kind, **figures)


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


def log_losses(task: Task, predictions: Array, labels: Labels) -> FloatArray:
    """Cross-entropy of each trial in nats, probabilities clipped away from 0."""
    truth = class_labels(task, labels)
    if task.kind is TaskKind.CLASSIFICATION:
        chosen = np.take_along_axis(_class_probabilities(task, predictions), truth[..., None], -1)
        return _surprise(chosen)
    if task.kind is TaskKind.BINARY_CLASSIFICATION:
        predictions = _without_unit_axis(predictions)
    of_one = predictions.astype(np.float64)
    if task.output_is == "logits":
        of_one = np.exp(-np.logaddexp(0, -of_one))
    return _surprise(np.where(truth == 1, of_one, 1 - of_one))


def agreement(tasks: tuple[Task, ...], first: list[Array], second: list[Array]) -> float | None:
    """Share of rows in which two models decide alike on every classifying output; null if none."""
    same: list[BoolArray] = []
    for task, one, other in zip(tasks, first, second, strict=True):
        if task.is_classification:
            equal = decide(task, one) == decide(task, other)
            same.append(equal.reshape(len(equal), -1).all(axis=1))
    return float(np.logical_and.reduce(same).mean()) if same else None


def _class_probabilities(task: Task, predictions: Array) -> FloatArray:
    scores = predictions.astype(np.float64)
    if task.output_is == "logits":
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = scores.sum(axis=-1, keepdims=True)
    return np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)


def _surprise(chosen: FloatArray) -> FloatArray:
    """chosen: probabilities of what was true."""
    return -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1))


def _parts(predictions: Array) -> Iterator[slice]:
    """Rows in pieces of at most `PART_BYTES`: figures are computed in float64."""
    rows = max(1, PART_BYTES // max(1, predictions[:1].nbytes))
    for start in range(0, len(predictions), rows):
        yield slice(start, start + rows)


class _Decisions:
    """Sums of an output that classifies."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._right, self._decisions = 0, 0
        self._loss, self._trials = 0.0, 0

    def add(self, predictions: Array, labels: Labels) -> FloatArray:
        is_right = decide(self._task, predictions) == class_labels(self._task, labels)
        if self._task.kind is TaskKind.MULTI_LABEL:
            is_right = is_right.all(axis=-1)
        losses = log_losses(self._task, predictions, labels)
        self._right += int(is_right.sum())
        self._decisions += is_right.size
        self._loss += float(losses.sum())
        self._trials += losses.size
        return is_right.reshape(len(is_right), -1).mean(axis=1)

    def figures(self) -> dict[str, float | None]:
        return {"accuracy": self._right / self._decisions, "loss": self._loss / self._trials}


class _Values:
    """Sums of an output that gives values, by column: all numbers of one row.

    Columns are scored apart and averaged: one with a large range would hide the others.
    """

    def __init__(self) -> None:
        self._rows, self._absolute = 0, 0.0
        self._mean, self._spread, self._residual = np.zeros(1), np.zeros(1), np.zeros(1)

    def add(self, predictions: Array, labels: Labels) -> None:
        truth = labels.astype(np.float64).reshape(len(predictions), -1)
        errors = predictions.astype(np.float64).reshape(truth.shape) - truth
        self._absolute += float(np.abs(errors).sum())
        self._residual = self._residual + np.square(errors).sum(axis=0)
        self._add_spread(truth)

    def _add_spread(self, truth: FloatArray) -> None:
        """Joined with that of the rows before (Chan, Golub, LeVeque 1979, eq. 2.1)."""
        mean, before, rows = truth.mean(axis=0), self._rows, len(truth)
        shift = mean - self._mean
        self._rows = before + rows
        self._spread = (
            self._spread
            + np.square(truth - mean).sum(axis=0)
            + np.square(shift) * (before * rows / self._rows)
        )
        self._mean = self._mean + shift * (rows / self._rows)

    def figures(self) -> dict[str, float | None]:
        numbers = self._rows * self._residual.size
        mse = float(self._residual.sum() / numbers)
        varies = self._spread > 0
        shares = 1 - self._residual[varies] / self._spread[varies]
        r2 = float(shares.mean()) if varies.any() else None
        return {"loss": mse, "mse": mse, "mae": self._absolute / numbers, "r2": r2}


def _without_unit_axis(array: npt.NDArray[AnyNumber]) -> npt.NDArray[AnyNumber]:
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array
