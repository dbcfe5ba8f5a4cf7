"""Channels scaled against the next layer's: the arithmetic, the pairs, and the function kept."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import randomized
from worker.engine.quantizing.weights.equalization import (
    Pair,
    Side,
    equalized,
    factors,
    range_use,
)
from worker.engine.quantizing.weights.pairs import Found, Unpaired, pairs
from worker.engine.surgery.weights import assign_weights, leaves, named_weights

layers = keras.layers


def found_in(model: Any) -> tuple[dict[str, Found], dict[str, str]]:
    """Pairs by the first layer, and reasons by layer."""
    chosen = frozenset(leaf.layer.name for leaf in leaves(model))
    found = tuple(pairs(model, chosen))
    return (
        {one.first: one for one in found if isinstance(one, Found)},
        {one.layer: one.reason for one in found if isinstance(one, Unpaired)},
    )


def test_factors_make_both_reaches_alike_and_leave_dead_channels() -> None:
    found = factors(np.array([8.0, 0.0, 1.0, 1e-6]), np.array([2.0, 5.0, 0.0, 1.0]))

    np.testing.assert_allclose(found, [2.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(factors(np.zeros(2), np.ones(2)), [1.0, 1.0])


def test_two_dense_layers_share_their_ranges() -> None:
    weights = {
        "a": np.array([[4.0, 1.0]]),
        "bias": np.array([2.0, 3.0]),
        "b": np.array([[1.0], [4.0]]),
    }
    pair = Pair(Side("a", (1, 2), (1,)), Side("b", (2, 1), (0,)), "bias")

    found = equalized(weights, [pair])

    np.testing.assert_allclose(found["a"], [[2.0, 2.0]])
    np.testing.assert_allclose(found["b"], [[2.0], [2.0]])
    np.testing.assert_allclose(found["bias"], [1.0, 6.0])
    assert range_use(weights, pair.first) == 0.625
    assert range_use(found, pair.first) == 1.0


def chain(*middle: Any, shape: tuple[int, ...] = (8, 8, 2)) -> Any:
    given = keras.Input(shape, name="given")
    x = given
    for layer in middle:
        x = layer(x)
    return randomized(keras.Model(given, x))


CHAINS: dict[str, list[Any]] = {
    "convolutions": [
        layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.MaxPooling2D(),
        layers.ZeroPadding2D(),
        layers.Conv2D(3, 2, name="second"),
    ],
    "depthwise between": [
        layers.Conv2D(4, 3, activation="leaky_relu", name="first"),
        layers.DepthwiseConv2D(2, depth_multiplier=2, activation="relu", name="middle"),
        layers.Dropout(0.5),
        layers.Conv2D(3, 1, name="second"),
    ],
    "flattened": [
        layers.Conv2D(3, 3, name="first"),
        layers.ReLU(),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(2, name="second"),
    ],
    "grouped": [
        layers.Conv2D(4, 3, groups=2, use_bias=False, name="first"),
        layers.PReLU(),
        layers.Conv2D(6, 2, groups=2, name="second"),
    ],
    "pooled": [
        layers.Conv2D(4, 3, name="first"),
        layers.Activation("relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, name="second"),
    ],
    "separable and transposed": [
        layers.SeparableConv2D(4, 3, activation="relu", name="first"),
        layers.SeparableConv2D(3, 2, activation="relu", name="middle"),
        layers.Conv2DTranspose(5, 3, strides=2, activation="relu", name="wide"),
        layers.Conv2D(2, 1, name="second"),
    ],
}


@pytest.mark.parametrize("kind", sorted(CHAINS))
def test_equalization_keeps_the_function_and_evens_the_ranges(kind: str) -> None:
    keras.backend.set_floatx("float64")
    try:
        # Layers are made when tests are collected; each test calls copies, in float64.
        copies = [
            type(one).from_config({**one.get_config(), "dtype": "float64"}) for one in CHAINS[kind]
        ]
        model = chain(*copies)
        rows = np.random.default_rng(0).standard_normal((3, 8, 8, 2))
        before = np.asarray(model(rows))
        found, _ = found_in(model)
        weights = {name: weight.numpy() for name, weight in named_weights(model).items()}

        changed = equalized(weights, [one.pair for one in found.values()])
        assign_weights(model, changed)

        np.testing.assert_allclose(np.asarray(model(rows)), before, atol=1e-9)
    finally:
        keras.backend.set_floatx("float32")
    assert "first" in found
    for one in found.values():
        first, second = one.pair.first, one.pair.second
        np.testing.assert_allclose(
            first.reach(changed[first.weight]), second.reach(changed[second.weight]), rtol=2e-3
        )
        assert not np.allclose(weights[first.weight], changed[first.weight])


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ([layers.BatchNormalization(name="norm")], "batch_norm_folding first takes it away"),
        ([layers.Activation("sigmoid", name="bent")], "'bent' (Activation) reads it"),
        ([layers.ReLU(max_value=6, name="capped")], "'capped' (ReLU) reads it"),
        ([layers.LayerNormalization(name="norm")], "'norm' (LayerNormalization) reads it"),
    ],
)
def test_layers_are_not_paired_across_what_bends_or_adds(middle: list[Any], reason: str) -> None:
    model = chain(
        layers.Conv2D(3, 3, name="first"),
        *(type(one).from_config(one.get_config()) for one in middle),
        layers.Conv2D(2, 2, name="second"),
    )

    found, reasons = found_in(model)

    assert found == {}
    assert reason in reasons["first"]
    assert "leaves the model" in reasons["second"]


def test_an_activation_of_the_layer_itself_may_bend_too() -> None:
    model = chain(layers.Dense(3, activation="tanh", name="first"), layers.Dense(2, name="second"))

    assert found_in(model)[1]["first"].startswith("after it comes tanh")


def test_an_output_that_forks_is_not_scaled() -> None:
    given = keras.Input((4,), name="given")
    first = layers.Dense(3, activation="relu", name="first")(given)
    left, right = layers.Dense(2, name="left")(first), layers.Dense(2, name="right")(first)
    model = keras.Model(given, [left, right])

    assert found_in(model)[1]["first"] == "its output is read by 2 layers"


def test_shared_layers_are_not_scaled() -> None:
    one, other = keras.Input((4,), name="one"), keras.Input((4,), name="other")
    shared = layers.Dense(4, activation="relu", name="shared")
    first = layers.Dense(4, activation="relu", name="first")
    model = keras.Model([one, other], [shared(first(one)), shared(other)])

    reasons = found_in(model)[1]

    assert reasons["first"] == "'shared', which reads it, is shared: used more than once"
    assert reasons["shared"] == "it is shared: used more than once"


def test_layers_within_a_nested_model_are_paired_and_those_across_are_not() -> None:
    inside = keras.Input((4,), name="inside")
    x = layers.Dense(5, activation="relu", name="inner")(inside)
    nested = keras.Model(inside, layers.Dense(3, activation="relu", name="last")(x), name="nested")
    given = keras.Input((4,), name="given")
    model = keras.Model(given, layers.Dense(2, name="head")(nested(given)))

    found, reasons = found_in(model)

    assert found["inner"].pair.first.weight == "nested/inner/kernel"
    assert "the nested model it is in" in reasons["last"]


def test_only_chosen_layers_are_scaled() -> None:
    model = chain(layers.Dense(3, name="first"), layers.Dense(2, name="second"), shape=(4,))

    (only,) = pairs(model, frozenset({"first"}))

    assert isinstance(only, Unpaired)
    assert only.reason == "'second', which reads it, is not quantized"
