"""Losses of every task against figures worked out by hand."""

from typing import Any, get_args

import numpy as np
import pytest

from app.recipes.losses import FITTING_LOSSES
from app.recipes.steps.recovery import Loss, Recovery
from app.recipes.task import Task, TaskKind
from worker.engine.training.losses import HeadLoss, class_weights_of
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


BINARY = task(TaskKind.BINARY_CLASSIFICATION, "probabilities", "integer")


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        # y = 1, 3; found 2, 5.
        ("mean_absolute_percentage_error", 100 * (1 / 1 + 2 / 3) / 2),
        ("mean_squared_logarithmic_error", (np.log(3 / 2) ** 2 + np.log(6 / 4) ** 2) / 2),
        ("poisson", (2 - np.log(2.0) + 5 - 3 * np.log(5.0)) / 2),
        ("log_cosh", (np.log(np.cosh(1.0)) + np.log(np.cosh(2.0))) / 2),
        ("cosine_similarity", -1.0),
    ],
)
def test_head_loss_of_values_is_what_its_name_says(loss: Loss, wanted: float) -> None:
    given = task(TaskKind.REGRESSION, "values", "real")

    assert loss_of(given, [1.0, 3.0], [[2.0], [5.0]], loss) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        # alpha (1 - p)^2 times the cross-entropy; Keras' alpha is 0.25 for classes.
        ("categorical_focal_crossentropy", -0.25 * ((1 - RIGHT) ** 2 * np.log(RIGHT)).mean()),
        ("kl_divergence", -np.log(RIGHT).mean()),
        # max(0, 1 + largest wrong logit - right logit): 0 and 2.
        ("categorical_hinge", 1.0),
        # 1 - 2 sum(y p) / (sum y + sum p).
        ("dice", 1 - 2 * RIGHT.sum() / 4),
    ],
)
def test_head_loss_of_classes_is_what_its_name_says(loss: Loss, wanted: float) -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")

    assert loss_of(given, [0, 0], LOGITS, loss) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        # p = 0.8 where 1 is right; binary focal has no alpha unless asked.
        ("binary_focal_crossentropy", -(0.2**2) * np.log(0.8)),
        # max(0, 1 - logit): the logit is ln 4.
        ("hinge", 0.0),
        ("squared_hinge", 0.0),
        ("dice", 1 - 2 * 0.8 / 1.8),
        ("tversky", 1 - 0.8 / 0.9),
    ],
)
def test_head_loss_of_two_outcomes_is_what_its_name_says(loss: Loss, wanted: float) -> None:
    assert loss_of(BINARY, [1], [[0.8]], loss) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_hinge_lies_between_logits_not_probabilities() -> None:
    """A logit of ln 4 for a 0: 1 + ln 4."""
    assert loss_of(BINARY, [0], [[0.8]], "hinge") == pytest.approx(1 + np.log(4), rel=1e-5)


@pytest.mark.parametrize("output_is", ["logits", "probabilities"])
def test_label_smoothing_spreads_a_share_over_all_classes(output_is: str) -> None:
    given = task(TaskKind.CLASSIFICATION, output_is, "integer")
    output = LOGITS if output_is == "logits" else PROBABILITIES
    smooth = np.array([[0.9, 0.1], [0.9, 0.1]])
    wanted = -(smooth * np.log(PROBABILITIES)).sum(axis=1).mean()
    loss = HeadLoss(given, "auto", label_smoothing=0.2)

    assert float(loss(np.array([0, 0], "int32"), output)) == pytest.approx(wanted, rel=1e-5)


def test_label_smoothing_of_two_outcomes_moves_both_towards_a_half() -> None:
    loss = HeadLoss(BINARY, "auto", label_smoothing=0.2)
    wanted = -(0.9 * np.log(0.8) + 0.1 * np.log(0.2))

    found = float(loss(np.array([1.0], "float32"), np.array([[0.8]], "float32")))

    assert found == pytest.approx(wanted, rel=1e-5)


def weights_for(given: Task, labels: Any, asked: Any) -> tuple[float, ...] | None:
    options = Recovery.model_validate({"class_weights": asked})
    return class_weights_of(options, given, np.asarray(labels))


def test_balanced_class_weights_are_rows_over_classes_times_their_rows() -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer").model_copy(update={"class_count": 3})

    # Six labels of two classes: 6 / (2 x 4) and 6 / (2 x 2); the absent class weighs 1.
    assert weights_for(given, [0, 0, 0, 0, 2, 2], "balanced") == (0.75, 1.0, 1.5)


def test_class_weights_count_every_position_of_a_sequence() -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")

    assert weights_for(given, [[0, 0], [0, 1]], "balanced") == pytest.approx((4 / 6, 2.0))


def test_class_weights_not_named_are_1() -> None:
    assert weights_for(BINARY, [0.0, 1.0], {"1": 3.0}) == (1.0, 3.0)


@pytest.mark.parametrize("kind", [TaskKind.REGRESSION, TaskKind.MULTI_LABEL])
def test_class_weights_are_none_where_no_class_is_chosen(kind: TaskKind) -> None:
    assert weights_for(task(kind, "probabilities", "multi_hot"), [[1, 0]], "balanced") is None


@pytest.mark.parametrize("loss", ["auto", "mean_absolute_error"])
@pytest.mark.parametrize("labels", [[0, 1], [[0], [1]]])
def test_class_weights_multiply_the_loss_of_their_class(loss: Loss, labels: Any) -> None:
    output = np.array([[0.3], [0.8]], "float32")
    alone = [
        float(HeadLoss(BINARY, loss)(np.array(labels[i : i + 1]), output[i : i + 1]))
        for i in (0, 1)
    ]
    weighted = HeadLoss(BINARY, loss, (2.0, 5.0))

    found = float(weighted(np.array(labels, "float32"), output))

    assert found == pytest.approx((2 * alone[0] + 5 * alone[1]) / 2, rel=1e-5)


def test_class_weights_apply_to_each_position_of_a_sequence() -> None:
    given = task(TaskKind.CLASSIFICATION, "logits", "integer")
    each = -np.log(PROBABILITIES[[0, 1], [0, 1]])
    weighted = HeadLoss(given, "auto", (2.0, 5.0))

    found = float(weighted(np.array([[0, 1]], "int32"), LOGITS[np.newaxis]))

    assert found == pytest.approx((2 * each[0] + 5 * each[1]) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [loss for loss in get_args(Loss) if loss != "auto"])
def test_every_loss_fits_some_head(loss: Loss) -> None:
    assert any(loss in fitting for fitting in FITTING_LOSSES.values())


@pytest.mark.parametrize(
    ("kind", "loss"),
    [(kind, loss) for kind, fitting in FITTING_LOSSES.items() for loss in sorted(fitting)],
)
def test_every_fitting_loss_is_smaller_for_better_answers(kind: TaskKind, loss: Loss) -> None:
    is_values = kind is TaskKind.REGRESSION
    is_classes = kind is TaskKind.CLASSIFICATION
    given = task(kind, "values" if is_values else "probabilities", "integer")
    labels = np.array([[2.0, 1.0]] if is_values else [1] if is_classes else [[0, 1]])
    good, bad = ([[2.1, 1.0]], [[0.5, 3.0]]) if is_values else ([[0.1, 0.9]], [[0.8, 0.2]])

    assert loss_of(given, labels, good, loss) < loss_of(given, labels, bad, loss)
