"""Soft losses against figures worked out by hand, and logits behind every kind of head."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.recipes.task import TaskKind
from worker.engine.training.logits import OutputIs, logits_of
from worker.engine.training.soft_losses import SoftLoss, soft_loss

# softmax(ln 4, 0) = (0.8, 0.2); softmax(0, 0) = (0.5, 0.5). At T = 2: (2/3, 1/3) and the same.
TEACHER = np.array([[np.log(4.0), 0.0]], "float32")
STUDENT = np.zeros((1, 2), "float32")


def loss_of(
    teacher: Any,
    student: Any,
    loss: SoftLoss = "kl",
    *,
    kind: TaskKind = TaskKind.CLASSIFICATION,
    temperature: float = 1.0,
) -> float:
    given = (np.asarray(teacher, "float32"), np.asarray(student, "float32"))
    return float(soft_loss(kind, loss, temperature, *given))


@pytest.mark.parametrize(
    ("temperature", "wanted"),
    [
        (1.0, 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)),
        (2.0, 4 * (2 / 3 * np.log(4 / 3) + 1 / 3 * np.log(2 / 3))),
    ],
)
def test_kl_is_that_of_softened_classes_times_temperature_squared(
    temperature: float, wanted: float
) -> None:
    assert loss_of(TEACHER, STUDENT, temperature=temperature) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_what_keras_computes(temperature: float) -> None:
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(0, 2, (2, 5, 4)).astype("float32")
    # By instance: the name "kl_divergence" would compare logits as if they were probabilities.
    theirs = keras.distillation.LogitsDistillation(temperature, keras.losses.KLDivergence())

    assert loss_of(teacher, student, temperature=temperature) == pytest.approx(
        float(theirs.compute_loss(teacher, student)), rel=1e-4
    )


def test_kl_sees_a_student_that_is_surely_wrong() -> None:
    """Clipped probabilities would have no slope here."""
    student = tf.constant([[-60.0, 60.0]])
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = soft_loss(TaskKind.CLASSIFICATION, "kl", 1.0, TEACHER, student)

    np.testing.assert_allclose(tape.gradient(loss, student).numpy(), [[-0.8, 0.8]], atol=1e-6)


@pytest.mark.parametrize("kind", [TaskKind.BINARY_CLASSIFICATION, TaskKind.MULTI_LABEL])
def test_kl_of_sigmoids_is_a_mean_over_units(kind: TaskKind) -> None:
    """sigmoid(ln 4) = 0.8 against 0.5, and one unit that agrees."""
    wanted = (0.8 * np.log(1.6) + 0.2 * np.log(0.4)) / 2

    assert loss_of([[np.log(4.0), 1.0]], [[0.0, 1.0]], kind=kind) == pytest.approx(wanted, rel=1e-5)


def test_kl_of_sigmoids_is_softened_too() -> None:
    wanted = 4 * (2 / 3 * np.log(4 / 3) + 1 / 3 * np.log(2 / 3))
    kind = TaskKind.BINARY_CLASSIFICATION

    assert loss_of([[np.log(4.0)]], [[0.0]], kind=kind, temperature=2.0) == pytest.approx(
        wanted, rel=1e-5
    )


def test_mse_and_cosine_of_classes_do_not_see_a_constant_in_a_row() -> None:
    """[3, 1] and [8, 4] are [1, -1] and [2, -2] but for their means."""
    assert loss_of([[3.0, 1.0]], [[8.0, 4.0]], "mse") == pytest.approx(1.0)
    assert loss_of([[3.0, 1.0]], [[8.0, 4.0]], "cosine") == pytest.approx(0.0, abs=1e-6)
    assert loss_of([[3.0, 1.0]], [[4.0, 8.0]], "cosine") == pytest.approx(2.0)


def test_cosine_does_not_throw_a_student_that_starts_at_zeros() -> None:
    student = tf.zeros((1, 3))
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = soft_loss(
            TaskKind.CLASSIFICATION, "cosine", 1.0, np.array([[3, 0, -3]], "float32"), student
        )

    assert float(loss) == 1.0
    slope = tape.gradient(loss, student).numpy()
    np.testing.assert_allclose(slope, np.array([[-1, 0, 1]]) / (0.1 * np.sqrt(2)), atol=1e-5)


def test_losses_average_over_the_positions_of_a_sequence() -> None:
    wanted = loss_of(TEACHER, STUDENT) / 2

    assert loss_of([[TEACHER[0], [0.0, 0.0]]], [[STUDENT[0], [0.0, 0.0]]]) == pytest.approx(wanted)


@pytest.mark.parametrize("loss", ["kl", "mse", "cosine"])
def test_values_are_compared_by_squared_error_whatever_is_asked(loss: SoftLoss) -> None:
    kind = TaskKind.REGRESSION

    assert loss_of([[1.0], [2.0]], [[3.0], [2.0]], loss, kind=kind, temperature=9.0) == 2.0


LOGITS = np.array([[2.0, -1.0, 0.5], [-40.0, 0.0, 40.0]], "float32")


def traced_logits(activation: Any, kind: TaskKind, output_is: OutputIs) -> Any:
    @tf.function
    def run(logits: Any) -> Any:
        return logits_of(kind, output_is, activation(logits))

    return run(tf.constant(LOGITS)).numpy()


@pytest.mark.parametrize(
    ("name", "kind", "output_is"),
    [
        ("softmax", TaskKind.CLASSIFICATION, "probabilities"),
        ("sigmoid", TaskKind.MULTI_LABEL, "probabilities"),
        ("linear", TaskKind.CLASSIFICATION, "logits"),
        ("linear", TaskKind.REGRESSION, "values"),
    ],
)
def test_logits_are_those_before_the_activation(
    name: str, kind: TaskKind, output_is: OutputIs
) -> None:
    layer = keras.layers.Activation(name)

    np.testing.assert_array_equal(traced_logits(layer, kind, output_is), LOGITS)


def test_logits_of_a_softmax_further_back_differ_by_a_constant_of_each_row() -> None:
    head = keras.Sequential([keras.layers.Softmax(), keras.layers.Reshape((3,))])

    found = traced_logits(head, TaskKind.CLASSIFICATION, "probabilities")

    np.testing.assert_allclose(found[0] - found[0, 0], LOGITS[0] - LOGITS[0, 0], atol=1e-5)
    assert np.isfinite(found).all()


def test_logits_of_a_sigmoid_further_back_are_finite_where_it_is_full() -> None:
    head = keras.Sequential([keras.layers.Activation("sigmoid"), keras.layers.Reshape((3,))])

    found = traced_logits(head, TaskKind.MULTI_LABEL, "probabilities")

    np.testing.assert_allclose(found[0], LOGITS[0], atol=1e-5)
    np.testing.assert_allclose(found[1], [-16.1, 0.0, 15.9], atol=0.1)


def test_logits_of_sigmoids_that_choose_one_class_are_logarithms() -> None:
    """Their own logits are none of a softmax."""
    layer = keras.layers.Activation("sigmoid")

    found = traced_logits(layer, TaskKind.CLASSIFICATION, "probabilities")

    np.testing.assert_allclose(found[0], -np.log1p(np.exp(-LOGITS[0])), atol=1e-5)
