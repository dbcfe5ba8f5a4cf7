"""An uploaded student in the place of the job's model: names, order, activations."""

from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import (
    branched_model,
    conv_model,
    dense_model,
    embedding_model,
    normalization_model,
    outputs_of,
    randomized,
    rows_for,
)
from worker.engine.loading.models import heads, input_specs
from worker.engine.students.standing_in import in_the_place_of


def network(*, activation: str | None = "softmax", units: int = 3, inputs: int = 4) -> Any:
    """Numbers called `given` -> `classes`, hidden -> `end`; its names are not those of others."""
    given = keras.Input((inputs,), name="given")
    hidden = keras.layers.Dense(5, activation="relu", name="classes")(given)
    return randomized(
        keras.Model(given, keras.layers.Dense(units, activation=activation, name="end")(hidden))
    )


def names(model: Any) -> tuple[list[str], list[str]]:
    return (
        [spec.name for spec in input_specs(model)],
        [head.output for head in heads(model, None)],
    )


def test_student_gets_the_names_of_the_model_and_keeps_its_answers() -> None:
    model, student = dense_model(), network()

    standing = in_the_place_of(model, student)

    assert names(standing) == (["features"], ["classes"])
    assert standing.output_names == ["classes"]
    rows = rows_for(model, 4)
    np.testing.assert_array_equal(outputs_of(standing, rows)[0], outputs_of(student, rows)[0])
    # A hidden layer of the student had the name that its output was to get.
    assert [layer.name for layer in standing.layers] == ["features", "classes_inner_1", "classes"]


def test_student_is_left_as_it_is() -> None:
    student = network()
    before = student.get_weights()

    in_the_place_of(dense_model(), student)

    assert names(student) == (["given"], ["end"])
    for now, was in zip(student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_student_for_a_sequential_model_without_a_named_input() -> None:
    model = keras.Sequential([keras.layers.Dense(3, name="only")])
    model.build((None, 4))

    standing = in_the_place_of(model, network(activation=None))

    assert names(standing) == names(model)


def test_inputs_and_outputs_come_in_the_order_of_the_model() -> None:
    model = branched_model()
    right, left = keras.Input((4,), name="right"), keras.Input((4,), name="left")
    both = keras.layers.Concatenate()([right, left])
    amount = keras.layers.Dense(1, name="amount")(both)
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(left)
    student = randomized(keras.Model([right, left], [amount, kind]))

    standing = in_the_place_of(model, student)

    assert names(standing) == (["left", "right"], ["kind", "amount"])
    rows = rows_for(model, 4)
    swapped = {"right": rows["right"], "left": rows["left"]}
    for now, was in zip(
        outputs_of(standing, rows), reversed(outputs_of(student, swapped)), strict=True
    ):
        np.testing.assert_array_equal(now, was)


def test_student_whose_inputs_are_a_dictionary_is_called_in_order() -> None:
    model = branched_model()
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    both = keras.layers.Concatenate()([left, right])
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(both)
    amount = keras.layers.Dense(1, name="amount")(both)
    student = keras.Model({"left": left, "right": right}, {"x": amount, "y": kind})

    standing = in_the_place_of(model, student)

    assert names(standing) == (["left", "right"], ["kind", "amount"])
    assert [output.shape for output in outputs_of(standing, rows_for(model, 4))] == [(4, 3), (4, 1)]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_become_logits_where_the_model_gives_logits(activation: str) -> None:
    model = dense_model(activation="linear")
    student = network(activation=activation)
    function = keras.activations.get(activation)

    standing = in_the_place_of(model, student)

    rows = rows_for(model, 4)
    (logits,), (probabilities,) = outputs_of(standing, rows), outputs_of(student, rows)
    np.testing.assert_allclose(function(keras.ops.convert_to_tensor(logits)), probabilities, 1e-5)


def test_logits_become_probabilities_where_the_model_gives_them() -> None:
    standing = in_the_place_of(dense_model(), network(activation=None))

    (probabilities,) = outputs_of(standing, rows_for(standing, 4))
    np.testing.assert_allclose(probabilities.sum(axis=-1), np.ones(4), rtol=1e-5)


def test_statistics_of_a_normalization_are_taken_along() -> None:
    student = normalization_model()

    standing = in_the_place_of(dense_model(), student)

    rows = rows_for(student, 4)
    np.testing.assert_array_equal(outputs_of(standing, rows)[0], outputs_of(student, rows)[0])


@pytest.mark.parametrize(
    ("model", "student", "reason"),
    [
        (dense_model(), network(inputs=5), r"input 'given' takes .* shape \(5\).* shape \(4\)"),
        (dense_model(), network(units=2), r"output 'end' has the shape \(2\).* is \(3\)"),
        (dense_model(), branched_model(), "inputs are left, right; the model's is features"),
        (embedding_model(), network(inputs=5), "takes float32 rows .* int32 rows"),
        (conv_model(), network(), r"rows of shape \(6, 6, 1\)"),
        (dense_model(), network(activation="sigmoid"), "ends in sigmoid.* in softmax"),
        (dense_model(), network(activation="tanh"), "ends in other"),
    ],
)
def test_student_that_does_not_fit_is_refused(model: Any, student: Any, reason: str) -> None:
    with pytest.raises(StepFailed, match=reason):
        in_the_place_of(model, student)


def test_activation_that_is_a_layer_of_its_own_cannot_be_taken_off() -> None:
    given = keras.Input((4,))
    logits = keras.layers.Dense(3)(given)
    student = keras.Model(given, keras.layers.Softmax(name="end")(logits))

    with pytest.raises(StepFailed, match="cannot be changed in its last layer, a Softmax"):
        in_the_place_of(dense_model(activation="linear"), student)


def called_twice() -> Any:
    given = keras.Input((4,))
    shared = keras.layers.Dense(3, name="shared")
    middle = keras.layers.Dense(4)(shared(given))
    return keras.Model(given, shared(middle))


def read_by_another_output() -> Any:
    given = keras.Input((4,))
    kind = keras.layers.Dense(3, name="kind")(given)
    return keras.Model(given, [kind, keras.layers.Dense(1, name="amount")(kind)])


def with_two_outputs() -> Any:
    given = keras.Input((4,))
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(given)
    return keras.Model(given, [kind, keras.layers.Dense(1, name="amount")(given)])


@pytest.mark.parametrize(
    ("model", "student", "layer"),
    [
        (dense_model(), called_twice(), "shared"),
        (with_two_outputs(), read_by_another_output(), "kind"),
    ],
)
def test_activation_of_a_layer_that_others_use_is_not_changed(
    model: Any, student: Any, layer: str
) -> None:
    with pytest.raises(StepFailed, match=f"{layer!r}, without changing what else uses"):
        in_the_place_of(model, student)


def test_one_layer_cannot_have_the_names_of_two_outputs() -> None:
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = keras.layers.Dense(3, name="shared")
    model = keras.Model([left, right], [shared(left), shared(right)])
    again = keras.Model([left, right], [shared(left), shared(right)])

    with pytest.raises(StepFailed, match="one layer of the student makes several"):
        in_the_place_of(model, again)
