"""Losses of every task against figures worked out by hand."""

from typing import Any

import numpy as np
import pytest

from app.recipes.steps.recovery import Loss
from app.recipes.task import Task, TaskKind
from worker.engine.training.losses import HeadLoss
from worker.engine.training.targets import targets

LOGITS = np.array([[2.0, 0.0], [0.0, 1.0]], "float32")
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
RIGHT = PROBABILITIES[[0, 1], [0, 0]]


def task(kind: TaskKind, output_is: str, labels_are: str) -> Task:
    return Task.model_validate(
        {
            "output": "y",
            "kind": kind,
            "output_is": output_is,
            "labels_are": labels_are,
            "class_count": 2,
            "because": "a test says so",
        }
    )


def loss_of(given: Task, labels: Any, output: Any, loss: Loss = "auto") -> float:
    labels = targets(given, np.asarray(labels))
    return float(HeadLoss(given, loss)(labels, np.asarray(output, "float32")))


@pytest.mark.parametrize(
    ("output_is", "output"), [("logits", LOGITS), ("probabilities", PROBABILITIES)]
)
@pytest.mark.parametrize(
    ("labels_are", "labels"), [("integer", [0, 0]), ("one_hot", [[1, 0], [1, 0]])]
)
def test_head_loss_is_cross_entropy_of_the_right_class(
    output_is: str, output: Any, labels_are: str, labels: Any
) -> None:
    given = task(TaskKind.CLASSIFICATION, output_is, labels_are)

    assert loss_of(given, labels, output) == pytest.approx(-np.log(RIGHT).mean(), rel=1e-5)


def test_head_loss_averages_over_the_steps_of_a_sequence() -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")

    assert loss_of(given, [[0, 0]], LOGITS[np.newaxis]) == pytest.approx(
        -np.log(RIGHT).mean(), rel=1e-5
    )


@pytest.mark.parametrize("labels", [[1, 0], [[1], [0]]])
def test_head_loss_of_one_unit_takes_labels_with_and_without_an_axis(labels: Any) -> None:
    given = task(TaskKind.BINARY_CLASSIFICATION, "probabilities", "integer")
    wanted = -(np.log(0.8) + np.log(1 - 0.3)) / 2

    assert loss_of(given, labels, [[0.8], [0.3]]) == pytest.approx(wanted, rel=1e-5)


def test_head_loss_of_logits_of_one_unit_is_that_of_its_probabilities() -> None:
    given = task(TaskKind.BINARY_CLASSIFICATION, "logits", "integer")

    assert loss_of(given, [1], [[np.log(4.0)]]) == pytest.approx(-np.log(0.8), rel=1e-5)


def test_head_loss_of_several_labels_averages_over_them() -> None:
    given = task(TaskKind.MULTI_LABEL, "probabilities", "multi_hot")
    wanted = -(np.log(0.8) + np.log(0.9)) / 2

    assert loss_of(given, [[1, 0]], [[0.8, 0.1]]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [("auto", 2.5), ("mean_squared_error", 2.5), ("mean_absolute_error", 1.5), ("huber", 1.0)],
)
def test_head_loss_of_values_is_a_distance(loss: Loss, wanted: float) -> None:
    given = task(TaskKind.REGRESSION, "values", "real")

    assert loss_of(given, [1.0, 2.0], [[2.0], [4.0]], loss) == pytest.approx(wanted)


def test_head_loss_measures_a_classifier_by_distance_on_its_probabilities() -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")
    wanted = np.square(PROBABILITIES - [[1, 0], [1, 0]]).mean()

    assert loss_of(given, [0, 0], LOGITS, "mean_squared_error") == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_head_loss_takes_either_name_of_cross_entropy_for_either_labels(loss: Loss) -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")

    assert loss_of(given, [0, 0], LOGITS, loss) == loss_of(given, [0, 0], LOGITS)
