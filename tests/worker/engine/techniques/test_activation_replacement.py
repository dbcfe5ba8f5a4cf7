"""Activation replacement as a step: what it changes, keeps, refuses and tells."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import context_for, dense_model, randomized, step
from worker.engine.context import StepOutcome
from worker.engine.surgery.activations import activations
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import activation_replacement
from worker.engine.training.evaluation import evaluate

layers = keras.layers
QUICK = {"epochs": 2, "learning_rate": 0.01, "distill": True}


def smooth_model() -> Any:
    """4 numbers -> `a` (silu) -> `b` (elu) -> `classes` (softmax)."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            layers.Dense(8, activation="silu", name="a"),
            layers.Dense(8, activation="elu", name="b"),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )


def replaced(model: Any, folder: Path, masks: Any = None, **parameters: Any) -> StepOutcome:
    asked = step("activation_replacement", **{"recovery": None, **parameters})
    return activation_replacement.apply(asked, model, context_for(model, folder, masks=masks))


def test_every_hidden_activation_is_replaced_and_the_output_stays(tmp_path: Path) -> None:
    outcome = replaced(smooth_model(), tmp_path)

    assert {one.path: one.name for one in activations(outcome.model)} == {
        "a": "relu",
        "b": "relu",
        "classes": "softmax",
    }
    assert outcome.facts["replaced"] == {"a": "silu", "b": "elu"}
    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [
        ("classes", "softmax stays: it makes an output of the model")
    ]
    assert outcome.accuracy_after_change is None


def test_only_what_is_named_and_chosen_is_replaced(tmp_path: Path) -> None:
    by_name = replaced(smooth_model(), tmp_path, **{"from": "elu", "to": "relu6"})
    by_layer = replaced(smooth_model(), tmp_path, include=["a"])

    assert by_name.facts["replaced"] == {"b": "elu"}
    assert by_layer.facts["replaced"] == {"a": "silu"}


def test_int8_friendliness_is_told_before_and_after(tmp_path: Path) -> None:
    facts = replaced(smooth_model(), tmp_path).facts["int8"]

    assert facts["computed"] == {
        "elu": "in float, between conversions to float and back",
        "relu": "part of the layer before it",
        "silu": "integer operators: LOGISTIC, MUL",
    }
    assert facts["before"]["float_operators"] == {"ELU": 1}
    assert facts["after"]["float_operators"] == {}
    # Two of the silu, three around and of the elu.
    assert facts["before"]["operators"] == facts["after"]["operators"] + 5


def test_accuracy_right_after_the_change_is_told_when_training_follows(tmp_path: Path) -> None:
    model = randomized(smooth_model())
    context = context_for(model, tmp_path)
    untrained = replaced(model, tmp_path).model
    rows = context.validation_of(step("activation_replacement"))
    assert rows is not None

    outcome = replaced(model, tmp_path, recovery=QUICK)

    figures = evaluate(untrained, rows, context.tasks, context.check_cancelled)
    assert outcome.accuracy_after_change == figures.accuracy
    assert any(
        not np.array_equal(now, was)
        for now, was in zip(outcome.model.get_weights(), model.get_weights(), strict=True)
    )


def test_zeros_stay_zero_and_dropped_slopes_are_named(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((4,), name="features"),
            layers.Dense(6, name="a"),
            layers.PReLU(name="slopes"),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    kept = np.ones((4, 6), np.bool_)
    kept[0] = False
    model.get_layer("a").kernel.assign(model.get_layer("a").kernel * kept)
    masks = {"a/kernel": kept, "slopes/alpha": np.ones(6, np.bool_)}

    outcome = replaced(model, tmp_path, masks, recovery=QUICK)

    assert outcome.facts["parameters_dropped"] == ["slopes/alpha"]
    assert outcome.masks.keys() == {"a/kernel"}
    assert not np.asarray(named_weights(outcome.model)["a/kernel"])[0].any()


@pytest.mark.parametrize("source", ["tanh", ["tanh", "sigmoid"]])
def test_activation_that_no_layer_has_is_refused_with_what_there_is(
    source: str | list[str], tmp_path: Path
) -> None:
    with pytest.raises(StepFailed, match=r"There are: silu \(a\), elu \(b\), softmax \(classes: "):
        replaced(smooth_model(), tmp_path, **{"from": source})


def test_activation_that_only_the_output_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="it makes an output of the model"):
        replaced(dense_model(activation="sigmoid"), tmp_path, **{"from": "sigmoid"})


def test_nothing_is_converted_when_there_is_nothing_to_replace(tmp_path: Path) -> None:
    outcome = replaced(dense_model(), tmp_path)

    assert outcome.facts["replaced"] == {}
    assert outcome.facts["int8"]["after"] is None
    [warning] = outcome.warnings
    assert warning.startswith("activation_replacement changed nothing")


def test_warning_says_that_an_int8_file_would_be_slow(tmp_path: Path) -> None:
    [warning] = replaced(dense_model(), tmp_path, to="hard_swish").warnings

    assert warning.startswith("hard_silu has no fast integer kernel on x86")


def test_warning_says_what_an_int8_file_would_compute_in_float(tmp_path: Path) -> None:
    [warning] = replaced(dense_model(), tmp_path, to="elu").warnings

    assert warning.startswith("With elu, an int8 file of the model computes in float here: 1 x ELU")
