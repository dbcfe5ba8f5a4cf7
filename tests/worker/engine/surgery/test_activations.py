"""Activations found and put in the place of others, whatever form they have."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import nested_model, outputs_of, randomized, rows_for
from worker.engine.surgery.activations import activations, with_activations
from worker.engine.surgery.weights import named_weights

layers = keras.layers


def chain(*stack: Any) -> Any:
    """4 numbers through these layers to one that is linear."""
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,), name="x"), *stack, layers.Dense(2, name="end")])


def names(model: Any) -> dict[str, str]:
    return {found.path: found.name for found in activations(model)}


def obstacles(model: Any) -> dict[str, str | None]:
    return {found.path: found.obstacle for found in activations(model)}


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (layers.Dense(3, activation="relu"), "relu"),
        (layers.Dense(3, activation="swish"), "silu"),
        (layers.Dense(3, activation=layers.LeakyReLU(0.1)), "leaky_relu"),
        (layers.EinsumDense("ab,bc->ac", 3, activation="gelu"), "gelu"),
        (layers.Activation("hard_swish"), "hard_silu"),
        (layers.Activation(layers.ReLU(max_value=6)), "relu6"),
        (layers.ReLU(), "relu"),
        (layers.ReLU(max_value=6.0), "relu6"),
        (layers.ReLU(negative_slope=0.3), "leaky_relu"),
        (layers.ReLU(max_value=1.0), "relu with limits of its own"),
        (layers.LeakyReLU(), "leaky_relu"),
        (layers.ELU(), "elu"),
        (layers.PReLU(), "prelu"),
    ],
)
def test_activation_is_recognized_and_replaced(layer: Any, name: str) -> None:
    model = randomized(chain(layer))
    path = layer.name

    changed = with_activations(model, {path: "tanh"})

    assert names(model) == {path: name}
    assert names(changed) == {path: "tanh"}
    assert [one.name for one in changed.layers] == [one.name for one in model.layers]
    for weight, variable in named_weights(changed).items():
        np.testing.assert_array_equal(variable, named_weights(model)[weight])


@pytest.mark.parametrize("layer", [layers.Dense(3), layers.Activation("linear"), layers.Dropout(0)])
def test_linear_layers_have_no_activation(layer: Any) -> None:
    assert activations(chain(layer)) == ()


def test_replaced_model_computes_what_its_weights_and_the_new_activation_say() -> None:
    model = randomized(chain(layers.Dense(3, activation="relu", name="hidden")))
    (rows,) = rows_for(model, 5).values()
    weights = [np.asarray(weight) for weight in model.get_weights()]

    changed = with_activations(model, {"hidden": "tanh"})

    expected = np.tanh(rows @ weights[0] + weights[1]) @ weights[2] + weights[3]
    np.testing.assert_allclose(outputs_of(changed, {"x": rows})[0], expected, atol=1e-5)


def test_given_model_keeps_its_activations() -> None:
    model = chain(layers.Dense(3, activation="relu", name="hidden"))

    with_activations(model, {"hidden": "tanh"})

    assert names(model) == {"hidden": "relu"}


def test_slopes_of_a_prelu_are_dropped() -> None:
    model = chain(layers.PReLU(name="slopes"))

    assert "slopes/alpha" in named_weights(model)
    assert "slopes/alpha" not in named_weights(with_activations(model, {"slopes": "relu"}))


def test_nested_layers_are_found_by_their_path() -> None:
    model = randomized(nested_model())

    changed = with_activations(model, {"backbone/inner": "relu6"})

    assert names(model) == {"backbone/inner": "relu", "classes": "softmax"}
    assert names(changed)["backbone/inner"] == "relu6"


def test_bare_operation_becomes_a_layer_of_its_name() -> None:
    given = keras.Input((4,), name="x")
    hidden = keras.ops.relu(layers.Dense(3)(given))
    model = randomized(keras.Model(given, layers.Dense(2, name="end")(hidden)))
    [path] = names(model)

    changed = with_activations(model, {path: "sigmoid"})

    assert names(model) == {path: "relu"}
    assert names(changed) == {path: "sigmoid"}
    assert isinstance(changed.get_layer(path), layers.Activation)


def test_wrapped_layers_are_replaced() -> None:
    given = keras.Input((5, 3), name="x")
    each = layers.TimeDistributed(layers.Dense(4, activation="relu"), name="each")(given)
    halves = layers.Bidirectional(layers.SimpleRNN(2), name="halves")(each)
    model = randomized(keras.Model(given, layers.Dense(2, name="end")(halves)))

    changed = with_activations(model, {"each": "tanh", "halves": "relu"})

    assert names(model) == {"each": "relu", "halves": "tanh"}
    assert names(changed) == {"each": "tanh", "halves": "relu"}
    assert changed.get_layer("halves").backward_layer.activation is keras.activations.relu


def test_cells_keep_what_they_compute_with() -> None:
    given = keras.Input((5, 3), name="x")
    state = layers.LSTM(4, name="state")(given)

    model = keras.Model(given, layers.Dense(2, name="end")(state))

    assert obstacles(model) == {"state": "the cell's state is made for its own activation"}


def test_hidden_softmax_stays() -> None:
    model = chain(layers.Dense(3, activation="softmax", name="shares"))

    assert (obstacles(model)["shares"] or "").startswith("softmax normalizes across an axis")
    assert names(model)["shares"] == "softmax"


@pytest.mark.parametrize(
    "end",
    [
        [layers.Dense(3, activation="sigmoid", name="head")],
        [layers.Dense(3), layers.Activation("sigmoid", name="head")],
        [layers.Dense(4, activation="tanh", name="head"), layers.Dropout(0.5)],
        [layers.Dense(4, activation="relu", name="head"), layers.Reshape((2, 2))],
        [layers.Dense(4, activation="relu", name="head"), layers.Activation("linear")],
    ],
)
def test_activation_of_an_output_stays(end: list[Any]) -> None:
    hidden = layers.Dense(4, activation="relu", name="hidden")

    model = keras.Sequential([keras.Input((4,)), hidden, *end])

    assert obstacles(model) == {"hidden": None, "head": "it makes an output of the model"}


def test_activation_of_an_output_stays_when_it_lies_in_a_nested_model() -> None:
    inside = keras.Input((4,))
    hidden = layers.Dense(3, activation="relu", name="hidden")(inside)
    head = layers.Dense(2, activation="softmax", name="head")(hidden)
    inner = keras.Model(inside, head, name="inner")

    model = keras.Sequential([keras.Input((4,)), inner])

    assert obstacles(model) == {
        "inner/hidden": None,
        "inner/head": "it makes an output of the model",
    }


def test_activation_of_any_output_stays() -> None:
    given = keras.Input((4,))
    hidden = layers.Dense(3, activation="relu", name="hidden")(given)
    model = keras.Model(given, [hidden, layers.Dense(1, name="end")(hidden)])

    assert obstacles(model) == {"hidden": "it makes an output of the model"}


def test_dtype_and_frozen_layers_stay_as_they_were() -> None:
    frozen = layers.Dense(3, activation="relu", name="frozen", trainable=False)
    model = chain(frozen, layers.ReLU(name="act", dtype="float16"))

    changed = with_activations(model, {"frozen": "tanh", "act": "tanh"})

    assert not changed.get_layer("frozen").trainable
    assert changed.get_layer("act").compute_dtype == "float16"
