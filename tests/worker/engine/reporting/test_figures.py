"""From predictions to figures."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from app.recipes.task import Task
from worker.engine.reporting.figures import Rating, paired_p_value, rate
from worker.engine.subject import Subject


def subject_with(labels: Any) -> Subject:
    """Nothing but what is needed to judge one output of two classes."""
    task = Task.model_validate(
        {
            "output": "out",
            "kind": "classification",
            "output_is": "probabilities",
            "labels_are": "integer",
            "class_count": 2,
            "because": "the test says so",
        }
    )
    data = SimpleNamespace(test=SimpleNamespace(labels={"out": labels}))
    return cast(Subject, SimpleNamespace(data=data, tasks=(task,)))


def test_rate_takes_a_row_of_many_steps_as_one_trial() -> None:
    # 10 rows of 50 steps; half the rows are all right, half all wrong.
    labels = np.zeros((10, 50), np.int64)
    predictions = np.zeros((10, 50, 2), np.float32)
    predictions[:5, :, 0] = predictions[5:, :, 1] = 1
    rating = rate([predictions], subject_with(labels))
    assert rating.heads[0].accuracy == 0.5
    assert rating.right_share is not None
    assert rating.right_share.tolist() == [1] * 5 + [0] * 5


def test_paired_p_value_counts_rows_and_not_their_steps() -> None:
    before, after = np.ones(10), np.array([0.2, *[1.0] * 9])
    # One row of ten differs: a single flip of a coin says nothing.
    assert paired_p_value((Rating((), before), Rating((), after))) == 1.0


def test_paired_p_value_is_small_when_many_rows_got_worse() -> None:
    before, after = np.ones(10), np.full(10, 0.9)
    assert paired_p_value((Rating((), before), Rating((), after))) == pytest.approx(2 / 2**10)
