"""New weights: their spread, their streams, and what is no kernel."""

from typing import Any

import keras
import numpy as np
import pytest

from app.recipes.steps.initialization import InitialWeights, Scheme
from tests.builders import conv_model, normalization_model, randomized, recurrent_model
from worker.engine.initializing.drawing import held, new_weights, reason_to_stay, stream
from worker.engine.surgery.weights import leaves, named_weights


def wide_model() -> Any:
    """200 numbers -> `wide` of 300 units: enough weights to see how they are spread."""
    return keras.Sequential([keras.Input((200,)), keras.layers.Dense(300, name="wide")])


def drawn(model: Any, scheme: Scheme, seed: int = 3, **ranges: float) -> dict[str, Any]:
    weights = InitialWeights.model_validate({"scheme": scheme, **ranges})
    return new_weights(model, leaves(model), weights, scheme=scheme, seed=seed)


@pytest.mark.parametrize(
    ("scheme", "ranges", "deviation", "largest"),
    [
        ("uniform", {"minval": -0.3, "maxval": 0.3}, 0.3 / 3**0.5, 0.3),
        ("normal", {"stddev": 0.2}, 0.2, None),
        # Cut at two deviations, a normal distribution has 0.88 of its deviation.
        ("truncated_normal", {"stddev": 0.2}, 0.2 * 0.8796, 0.4),
        ("glorot_uniform", {}, (2 / 500) ** 0.5, (6 / 500) ** 0.5),
        ("glorot_normal", {}, (2 / 500) ** 0.5, None),
        ("he_uniform", {}, (2 / 200) ** 0.5, (6 / 200) ** 0.5),
        ("he_normal", {}, (2 / 200) ** 0.5, None),
        ("lecun_uniform", {}, (1 / 200) ** 0.5, (3 / 200) ** 0.5),
        ("lecun_normal", {}, (1 / 200) ** 0.5, None),
        ("zeros", {}, 0.0, 0.0),
    ],
)
def test_new_weights_are_spread_as_the_scheme_says(
    scheme: Scheme, ranges: dict[str, float], deviation: float, largest: float | None
) -> None:
    kernel = drawn(wide_model(), scheme, seed=3, **ranges)["wide/kernel"]

    assert kernel.std() == pytest.approx(deviation, rel=0.02)
    assert largest is None or np.abs(kernel).max() <= largest * 1.000001


def test_new_weights_are_orthogonal_times_the_gain() -> None:
    kernel = drawn(wide_model(), "orthogonal", gain=2.0)["wide/kernel"].astype("float64")

    np.testing.assert_allclose(kernel @ kernel.T, 4 * np.eye(200), atol=1e-4)


def test_new_weights_are_centered_on_the_mean() -> None:
    kernel = drawn(wide_model(), "normal", mean=1.5, stddev=0.1)["wide/kernel"]

    assert kernel.mean() == pytest.approx(1.5, abs=0.01)


def test_new_weights_of_a_layer_do_not_depend_on_the_others() -> None:
    model = conv_model()
    weights = InitialWeights(scheme="he_normal")
    everything = drawn(model, "he_normal")

    last = leaves(model)[-1]
    alone = new_weights(model, [last], weights, scheme="he_normal", seed=3)

    np.testing.assert_array_equal(alone["logits/kernel"], everything["logits/kernel"])


def test_new_weights_differ_by_seed_and_by_layer() -> None:
    same = [keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")]
    model = keras.Sequential([keras.Input((4,)), *same])
    first, other = drawn(model, "he_normal", seed=1), drawn(model, "he_normal", seed=2)

    assert not np.array_equal(first["one/kernel"], first["two/kernel"])
    assert not np.array_equal(first["one/kernel"], other["one/kernel"])


def test_stream_is_the_same_on_every_machine() -> None:
    assert stream(7, "conv/kernel") == 1144335733


def test_new_weights_that_are_no_kernels_are_those_of_a_new_layer() -> None:
    values = drawn(randomized(conv_model()), "normal")

    np.testing.assert_array_equal(values["norm/gamma"], np.ones(4))
    np.testing.assert_array_equal(values["norm/beta"], np.zeros(4))
    np.testing.assert_array_equal(values["norm/moving_mean"], np.zeros(4))
    np.testing.assert_array_equal(values["norm/moving_variance"], np.ones(4))
    np.testing.assert_array_equal(values["logits/bias"], np.zeros(3))


def test_new_recurrent_layer_forgets_little_as_a_new_one_does() -> None:
    values = drawn(randomized(recurrent_model()), "zeros")

    assert set(values) == set(named_weights(recurrent_model()))
    # Gates in Keras' order: input, forget, cell, output.
    np.testing.assert_array_equal(
        values["halves/bias"], np.repeat(np.array([0, 1, 0, 0]), 4).astype("float32")
    )
    assert not values["halves/recurrent_kernel"].any()


@pytest.mark.parametrize("scheme", ["he_normal", "glorot_uniform", "normal"])
def test_recurrent_kernels_start_as_in_a_new_layer(scheme: Scheme) -> None:
    values = drawn(randomized(recurrent_model()), scheme)

    for name in ("halves/recurrent_kernel", "halves/recurrent_kernel_1"):
        # [units, 4 x units]: Keras draws orthogonal rows.
        np.testing.assert_allclose(values[name] @ values[name].T, np.eye(4), atol=1e-5)


def test_new_weights_of_attention_count_the_inputs_of_its_equations() -> None:
    given = keras.Input((5, 64))
    attended = keras.layers.MultiHeadAttention(4, 32, name="attention")(given, given)
    values = drawn(keras.Model(given, attended), "lecun_normal")

    # query: 64 inputs -> 4 heads x 32; by rank alone it would be taken for 64 x 4 inputs.
    assert values["attention/kernel"].std() == pytest.approx(64**-0.5, rel=0.05)


def test_new_weights_leave_the_model_as_it_is() -> None:
    model = randomized(conv_model())
    before = [weight.copy() for weight in model.get_weights()]

    drawn(model, "he_normal")

    for now, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_reason_to_stay_names_what_nothing_would_train_again() -> None:
    frozen = keras.layers.Dense(2)
    frozen.trainable = False
    scale = normalization_model().get_layer("scale")

    assert "frozen" in (reason_to_stay(frozen) or "")
    assert "statistics of the data" in (reason_to_stay(scale) or "")
    assert reason_to_stay(keras.layers.Dense(2)) is None


def test_held_puts_zeros_back() -> None:
    values = {"a/kernel": np.array([1.0, -2.0, 3.0]), "a/bias": np.array([4.0])}

    kept = held(values, {"a/kernel": np.array([True, False, True])})

    np.testing.assert_array_equal(kept["a/kernel"], [1.0, 0.0, 3.0])
    np.testing.assert_array_equal(kept["a/bias"], [4.0])
