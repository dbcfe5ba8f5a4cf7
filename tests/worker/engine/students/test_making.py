"""Students made of a model: the same one, a narrower one, a shallower one."""

from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import conv_model, dense_model, outputs_of, randomized, rows_for
from worker.engine.students.making import narrow_student, same_student, shallow_student
from worker.engine.surgery.weights import named_weights


def blocks() -> Any:
    """4 numbers -> `stem` (4) -> two residual blocks -> `classes`."""
    given = keras.Input((4,), name="features")
    x = keras.layers.Dense(4, activation="relu", name="stem")(given)
    for number in (1, 2):
        inner = keras.layers.Dense(6, activation="relu", name=f"inner_{number}")(x)
        inner = keras.layers.Dense(4, name=f"outer_{number}")(inner)
        x = keras.layers.Add(name=f"sum_{number}")([x, inner])
    return randomized(keras.Model(given, keras.layers.Dense(3, name="classes")(x)))


def kernel(model: Any, layer: str) -> Any:
    return named_weights(model)[f"{layer}/kernel"].numpy()


def test_same_student_is_a_copy_with_its_zeros() -> None:
    model = randomized(dense_model())
    masks = {"hidden/kernel": np.ones((4, 8), np.bool_)}

    student = same_student(model, masks)

    assert student.model is not model
    assert student.masks == masks
    np.testing.assert_array_equal(kernel(student.model, "hidden"), kernel(model, "hidden"))
    assert student.facts["inherited_layers"] == ["hidden", "classes"]


def test_narrow_student_keeps_the_channels_with_the_largest_norm() -> None:
    model = randomized(dense_model())
    norms = np.abs(kernel(model, "hidden")).sum(axis=0)
    best = np.sort(np.argsort(-norms)[:4])
    mask = np.random.default_rng(0).random((4, 8)) > 0.5

    student = narrow_student(model, 0.5, {"hidden/kernel": mask})

    np.testing.assert_array_equal(kernel(student.model, "hidden"), kernel(model, "hidden")[:, best])
    np.testing.assert_array_equal(kernel(student.model, "classes"), kernel(model, "classes")[best])
    np.testing.assert_array_equal(student.masks["hidden/kernel"], mask[:, best])
    assert student.facts["sliced_layers"] == ["hidden", "classes"]
    assert [skip.layer for skip in student.skipped] == ["classes"]


def test_narrow_student_narrows_residual_paths_together() -> None:
    student = narrow_student(blocks(), 0.5, {}).model

    widths = {layer: kernel(student, layer).shape for layer in ("stem", "inner_1", "outer_2")}
    assert widths == {"stem": (4, 2), "inner_1": (2, 3), "outer_2": (3, 2)}
    assert outputs_of(student, rows_for(student, 5))[0].shape == (5, 3)


def test_narrow_student_keeps_one_channel_at_least() -> None:
    assert kernel(narrow_student(dense_model(), 0.01, {}).model, "hidden").shape == (4, 1)


def test_narrow_student_of_a_model_that_cannot_shrink_is_refused() -> None:
    given = keras.Input((4,))
    model = keras.Model(given, keras.layers.Dense(3, name="only")(given))

    with pytest.raises(StepFailed, match=r"no layer gets narrower .*only: "):
        narrow_student(model, 0.5, {})


def test_shallow_student_lacks_a_block_and_nothing_else() -> None:
    model = blocks()
    masks = {name: np.ones((4, 6), np.bool_) for name in ("inner_1/kernel", "inner_2/kernel")}

    student = shallow_student(model, ["outer_1"], masks)

    assert student.facts["removed_layers"] == ["inner_1", "outer_1"]
    assert set(student.masks) == {"inner_2/kernel"}
    np.testing.assert_array_equal(kernel(student.model, "inner_2"), kernel(model, "inner_2"))
    assert "inner_1/kernel" not in named_weights(student.model)
    # Without what it adds, a residual block is the identity.
    silent = blocks()
    for weight in silent.get_layer("outer_1").weights:
        weight.assign(np.zeros(weight.shape))
    rows = rows_for(model, 4)
    np.testing.assert_allclose(
        outputs_of(student.model, rows)[0], outputs_of(silent, rows)[0], rtol=1e-5
    )


def test_shallow_student_takes_a_block_once_however_often_it_is_named() -> None:
    student = shallow_student(blocks(), ["inner_2", "outer_2", "sum_2"], {})

    assert student.facts["removed_layers"] == ["inner_2", "outer_2"]


@pytest.mark.parametrize("layer", ["classes", "stem_2"])
def test_layer_that_cannot_go_is_refused_with_those_that_can(layer: str) -> None:
    with pytest.raises(StepFailed, match=f"{layer}' cannot be taken out.*Can go: .*sum_1"):
        shallow_student(blocks(), [layer], {})


def test_layer_that_needs_a_bridge_is_refused() -> None:
    with pytest.raises(StepFailed, match=r"conv' cannot be taken out: what goes into 'conv' has"):
        shallow_student(conv_model(), ["conv"], {})
