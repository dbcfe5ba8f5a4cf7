"""Errors of others that are the model's own, told as that."""

from pathlib import Path

import keras
import pytest

from app.errors import JobError, ModelNotLoadable, StepFailed
from app.recipes.facts import ModelFormat
from tests.keras_archives import Json, archive
from worker.engine.loading.faults import of_the_model
from worker.engine.loading.models import load_model


def dropout(rate: object) -> Json:
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "in"}},
        {"class_name": "Dropout", "config": {"name": "wet", "rate": rate}},
    ]
    named = [{"module": "keras.layers", **layer, "registered_name": None} for layer in layers]
    body = {"name": "net", "layers": named}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": body,
        "registered_name": "Sequential",
    }


def test_layer_that_keras_cannot_make_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(archive(dropout(-5), {}).getvalue())
    with pytest.raises(ModelNotLoadable) as caught:
        load_model(path, ModelFormat.KERAS)
    problem = caught.value.as_problem()
    assert problem.layer == "wet"
    assert "cannot rebuild the model: Invalid value received for argument `rate`" in problem.detail


@pytest.mark.parametrize("error", [IndexError("list index out of range"), ValueError("x")])
def test_what_others_raise_of_a_model_is_told_of_the_model(error: Exception) -> None:
    with (
        pytest.raises(ModelNotLoadable, match="cannot be read: ") as caught,
        of_the_model("the model cannot be read"),
    ):
        raise error
    assert caught.value.hint


@pytest.mark.parametrize("error", [StepFailed("x"), MemoryError()])
def test_what_is_not_the_models_fault_goes_through(error: Exception) -> None:
    with pytest.raises((JobError, MemoryError)) as caught, of_the_model("it cannot be read"):
        raise error
    assert caught.value is error


def test_kind_of_layer_that_failed_is_named() -> None:
    layer = keras.layers.Discretization(num_bins=3)
    with (
        pytest.raises(ModelNotLoadable, match=r"Discretization: .*bin_boundaries"),
        of_the_model("it cannot be run"),
    ):
        layer(keras.ops.ones((1, 2)))
