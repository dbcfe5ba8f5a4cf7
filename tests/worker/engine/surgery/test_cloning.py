"""Copies of models that share nothing, and names of weights that survive rebuilding."""

import keras
import numpy as np
import pytest

from tests.builders import (
    MODELS,
    branched_model,
    dense_model,
    nested_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
)
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import named_weights


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_clone_with_weights_computes_exactly_the_same(kind: str) -> None:
    model = randomized(MODELS[kind]())

    clone = clone_with_weights(model)

    inputs = rows_for(model, 4)
    for given, wanted in zip(outputs_of(clone, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_clone_with_weights_keeps_every_name(kind: str) -> None:
    model = MODELS[kind]()

    clone = clone_with_weights(model)

    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert [tensor.name for tensor in clone.inputs] == [tensor.name for tensor in model.inputs]
    assert list(named_weights(clone)) == list(named_weights(model))
    assert clone.name == model.name


def test_clone_with_weights_changes_the_clone_alone() -> None:
    model = randomized(dense_model())
    before = model.get_weights()

    clone = clone_with_weights(model, {"classes/kernel": np.zeros((8, 3))})

    assert not np.any(named_weights(clone)["classes/kernel"].numpy())
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


@pytest.mark.parametrize("wrap", ["nested", "distributed"])
def test_clone_with_weights_keeps_what_a_normalization_inside_learned(wrap: str) -> None:
    rows = keras.Input((5, 4))
    scale = keras.layers.Normalization()
    scale.adapt(np.random.default_rng(0).normal(5.0, 3.0, (64, 4)))
    inner = keras.layers.TimeDistributed(scale)
    if wrap == "nested":
        inside = keras.Input((5, 4))
        inner = keras.Model(inside, scale(inside))
    model = keras.Model(rows, inner(rows))

    clone = clone_with_weights(model)

    inputs = rows_for(model, 4)
    np.testing.assert_array_equal(outputs_of(clone, inputs), outputs_of(model, inputs))


def test_clone_with_weights_keeps_the_boundaries_of_an_adapted_discretization() -> None:
    bins = keras.layers.Discretization(num_bins=4)
    bins.adapt(np.linspace(-1.0, 1.0, 100))
    model = keras.Sequential([keras.Input((4,)), bins])

    clone = clone_with_weights(model)

    inputs = rows_for(model, 4)
    np.testing.assert_array_equal(outputs_of(clone, inputs), outputs_of(model, inputs))


def test_clone_with_weights_keeps_a_shared_layer_shared() -> None:
    clone = clone_with_weights(branched_model())

    assert len(clone.trainable_variables) == 6


def test_clone_with_weights_keeps_frozen_layers_frozen() -> None:
    model = dense_model()
    model.get_layer("hidden").trainable = False

    clone = clone_with_weights(model)

    assert [weight.path.split("/")[-2] for weight in clone.trainable_variables] == ["classes"] * 2


def test_named_weights_leads_through_nested_models() -> None:
    assert "backbone/inner/kernel" in named_weights(nested_model())


def test_named_weights_tells_both_halves_of_a_bidirectional_layer_apart() -> None:
    names = [name for name in named_weights(recurrent_model()) if name.startswith("halves/")]

    assert names[:3] == ["halves/kernel", "halves/recurrent_kernel", "halves/bias"]
    assert names[3:] == ["halves/kernel_1", "halves/recurrent_kernel_1", "halves/bias_1"]


def test_named_weights_tells_layers_of_one_name_in_two_models_apart() -> None:
    inputs = keras.Input((3,))
    x = inputs
    for name in ("first", "second"):
        inside = keras.Input((3,))
        x = keras.Model(inside, keras.layers.Dense(3, name="same")(inside), name=name)(x)

    names = set(named_weights(keras.Model(inputs, x)))

    assert {"first/same/kernel", "second/same/kernel"} <= names
