"""How right predictions are, on numbers small enough to check by hand."""

from typing import Any

import numpy as np
import pytest

from app.recipes.task import Task, TaskKind
from worker.engine.measuring.accuracy import Tally, agreement, judge


def task(kind: TaskKind, output_is: str, labels_are: str = "integer") -> Task:
    return Task.model_validate(
        {
            "output": "out",
            "kind": kind,
            "output_is": output_is,
            "labels_are": labels_are,
            "class_count": None,
            "because": "the test says so",
        }
    )


def array(values: Any) -> Any:
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_tally_of_batches_says_what_all_rows_at_once_do(batch: int) -> None:
    """Values far from zero, where sums of squares would lose the spread."""
    rng = np.random.default_rng(0)
    values = array(rng.normal(size=(50, 3)) * [1, 5, 0.1] + [1e3, 0, -20])
    truth = values + array(rng.normal(size=(50, 3)))
    tally = Tally(task(TaskKind.REGRESSION, "values", "real"))

    for start in range(0, 50, batch):
        tally.add(values[start : start + batch], truth[start : start + batch])

    errors, exact = values.astype(np.float64) - truth, truth.astype(np.float64)
    spread = np.square(exact - exact.mean(axis=0)).sum(axis=0)
    found = tally.figures()
    assert found.mse == found.loss == pytest.approx(np.square(errors).mean(), rel=1e-12)
    assert found.mae == pytest.approx(np.abs(errors).mean(), rel=1e-12)
    r2 = (1 - np.square(errors).sum(axis=0) / spread).mean()
    assert found.r2 == pytest.approx(r2, rel=1e-11)


def test_a_constant_column_has_no_r2_in_batches_either() -> None:
    tally = Tally(task(TaskKind.REGRESSION, "values", "real"))
    for _ in range(7):
        tally.add(array([[1.0], [2.0], [3.0]]), array([[0.1]] * 3))

    assert tally.figures().r2 is None


@pytest.mark.parametrize("kind", [TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL])
def test_a_tally_of_decisions_in_batches_says_what_all_rows_at_once_do(kind: TaskKind) -> None:
    rng = np.random.default_rng(0)
    logits = array(rng.normal(size=(30, 5)))
    labels = rng.integers(0, 5, 30) if kind is TaskKind.CLASSIFICATION else logits < 0.3
    tally = Tally(task(kind, "logits"))

    shares: list[Any] = [
        tally.add(logits[start : start + 7], labels[start : start + 7]) for start in range(0, 30, 7)
    ]

    whole = judge(task(kind, "logits"), logits, labels)
    assert whole.right_share is not None
    np.testing.assert_array_equal(np.concatenate(shares), whole.right_share)
    assert tally.figures().accuracy == whole.figures.accuracy == whole.right_share.mean()
    assert tally.figures().loss == pytest.approx(whole.figures.loss, rel=1e-12)


def test_judge_takes_the_largest_output_when_classifying() -> None:
    predictions = array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]])
    result = judge(task(TaskKind.CLASSIFICATION, "probabilities"), predictions, np.array([0, 2, 1]))
    assert result.right_share is not None
    assert result.right_share.tolist() == [1, 1, 0]
    assert result.figures.accuracy == pytest.approx(2 / 3)
    assert result.figures.loss == pytest.approx(-np.log([0.7, 0.6, 0.4]).mean(), rel=1e-6)


def test_judge_reads_one_hot_rows_like_class_numbers() -> None:
    predictions = array([[2.0, 0.0], [0.0, 1.0]])
    whole = judge(task(TaskKind.CLASSIFICATION, "logits"), predictions, np.array([0, 0]))
    hot = judge(task(TaskKind.CLASSIFICATION, "logits", "one_hot"), predictions, np.eye(2)[[0, 0]])
    assert whole.figures == hot.figures


def test_judge_turns_logits_into_probabilities_for_the_loss() -> None:
    result = judge(task(TaskKind.CLASSIFICATION, "logits"), array([[0.0, 0.0]]), np.array([1]))
    assert result.figures.loss == pytest.approx(np.log(2))


def test_judge_keeps_the_loss_finite_when_a_certain_prediction_is_wrong() -> None:
    result = judge(
        task(TaskKind.CLASSIFICATION, "probabilities"), array([[1.0, 0.0]]), np.array([1])
    )
    assert result.figures.loss == pytest.approx(-np.log(1e-7))


def test_judge_counts_every_step_of_a_sequence_but_each_row_as_one_trial() -> None:
    predictions = array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.9, 0.1]]])
    result = judge(
        task(TaskKind.CLASSIFICATION, "probabilities"), predictions, np.array([[0, 1], [0, 1]])
    )
    assert result.figures.accuracy == 0.75
    assert result.right_share is not None
    assert result.right_share.tolist() == [1, 0.5]


@pytest.mark.parametrize(
    ("output_is", "values"), [("probabilities", [0.6, 0.4]), ("logits", [0.1, -0.1])]
)
def test_judge_splits_two_classes_at_the_right_threshold(
    output_is: str, values: list[float]
) -> None:
    result = judge(
        task(TaskKind.BINARY_CLASSIFICATION, output_is),
        array(values).reshape(2, 1),
        np.array([1, 1]),
    )
    assert result.right_share is not None
    assert result.right_share.tolist() == [1, 0]


def test_judge_gives_binary_logits_their_cross_entropy() -> None:
    result = judge(task(TaskKind.BINARY_CLASSIFICATION, "logits"), array([[3.0]]), np.array([0]))
    assert result.figures.loss == pytest.approx(np.log1p(np.exp(3.0)))


def test_judge_wants_every_label_of_a_row_when_there_are_several() -> None:
    predictions = array([[0.9, 0.9], [0.9, 0.1]])
    result = judge(
        task(TaskKind.MULTI_LABEL, "probabilities", "multi_hot"),
        predictions,
        np.array([[1, 1], [1, 1]]),
    )
    assert result.figures.accuracy == 0.5


def test_judge_reports_errors_and_r2_in_regression() -> None:
    figures = judge(
        task(TaskKind.REGRESSION, "values", "real"),
        array([[1.0], [2.0], [6.0]]),
        np.array([1.0, 2.0, 3.0]),
    ).figures
    assert (figures.mse, figures.mae, figures.accuracy) == (3.0, 1.0, None)
    assert figures.r2 == pytest.approx(1 - 9 / 2)


def test_judge_averages_r2_over_columns_of_different_ranges() -> None:
    labels = np.array([[0.0, 0.0], [1.0, 1000.0], [2.0, 2000.0]])
    predictions = array([[1.0, 0.0], [1.0, 1000.0], [1.0, 2000.0]])
    figures = judge(task(TaskKind.REGRESSION, "values", "real"), predictions, labels).figures
    assert figures.r2 == pytest.approx(0.5)


def test_judge_leaves_r2_out_when_labels_do_not_vary() -> None:
    figures = judge(
        task(TaskKind.REGRESSION, "values", "real"), array([[1.0], [2.0]]), np.array([1.0, 1.0])
    ).figures
    assert figures.r2 is None


def test_agreement_counts_rows_that_are_the_same_on_every_classifying_output() -> None:
    kinds = task(TaskKind.CLASSIFICATION, "logits")
    values = task(TaskKind.REGRESSION, "values", "real")
    first = [array([[1, 0], [1, 0]]), array([[0.0], [0.0]])]
    second = [array([[2, 0], [0, 2]]), array([[9.0], [9.0]])]
    assert agreement((kinds, values), first, second) == 0.5


def test_agreement_is_unknown_when_nothing_is_classified() -> None:
    values = task(TaskKind.REGRESSION, "values", "real")
    assert agreement((values,), [array([[1.0]])], [array([[1.0]])]) is None
