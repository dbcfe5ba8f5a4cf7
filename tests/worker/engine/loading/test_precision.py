"""Models saved in other float types, brought to float32."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.recipes.facts import ModelFormat
from tests.builders import dense_model, randomized
from worker.engine.loading.models import input_specs, load_as_saved, load_model
from worker.engine.loading.precision import in_float32, other_policies

POLICIES = ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64"]


def net(dtype: str) -> Any:
    """A Normalization, which computes with what it derives from its weights, and a nested model."""
    inner = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, dtype=dtype, name="inner")], name="nested"
    )
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="float16"),
            layers.Normalization(dtype=dtype),
            layers.Dense(3, activation="relu", dtype=dtype),
            layers.BatchNormalization(dtype=dtype),
            inner,
        ]
    )
    model.layers[0].adapt(np.random.default_rng(3).standard_normal((64, 4)))
    return model


@pytest.mark.parametrize("dtype", POLICIES)
def test_load_model_gives_float32_and_the_values_of_the_weights(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    net(dtype).save(path)

    as_saved, loaded = load_as_saved(path, ModelFormat.KERAS), load_model(path, ModelFormat.KERAS)

    assert other_policies(as_saved) == (dtype,)
    assert other_policies(loaded) == ()
    assert [output.dtype for output in loaded.outputs] == ["float32"]
    for given, wanted in zip(loaded.get_weights(), as_saved.get_weights(), strict=True):
        # A Normalization counts its rows in an integer.
        assert given.dtype in (np.float32, np.int64)
        np.testing.assert_array_equal(given, wanted.astype(given.dtype))
    x = np.random.default_rng(0).standard_normal((8, 4)).astype("float16")
    np.testing.assert_allclose(loaded(x), np.asarray(as_saved(x), np.float32), atol=0.05)


def test_load_model_leaves_the_types_of_inputs(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    net("mixed_float16").save(path)

    assert [spec.dtype for spec in input_specs(load_model(path, ModelFormat.KERAS))] == ["float16"]


def test_in_float32_gives_back_a_model_that_is_float32_already() -> None:
    model = randomized(dense_model())

    assert in_float32(model) is model
