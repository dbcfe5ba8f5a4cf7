"""Reading Keras configs, written here as Keras writes them."""

from typing import Any

import pytest

from app.recipes.facts import Activation, Head
from app.recipes.keras import config as keras_config

Json = dict[str, Any]
SPARSE = "sparse_categorical_crossentropy"


def layer(class_name: str, name: str, **config: Any) -> Json:
    return {"module": "keras.layers", "class_name": class_name, "config": {"name": name, **config}}


def source(name: str = "in", shape: tuple[int | None, ...] = (4,)) -> Json:
    return layer("InputLayer", name, batch_shape=[None, *shape], dtype="float32")


def dense(name: str, units: int, activation: object = "linear") -> Json:
    return layer("Dense", name, units=units, activation=activation)


def sequential(*layers: Json, name: str = "model") -> Json:
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": name, "layers": list(layers)},
    }


def tensor(history: tuple[str, int, int], shape: tuple[int | None, ...] | None = None) -> Json:
    config = {"shape": [None, *shape] if shape else None, "keras_history": list(history)}
    return {"class_name": "__keras_tensor__", "config": config}


def called(which: Json, *calls: object) -> Json:
    """A layer of a Functional with its calls; each is what the layer was given."""
    name = which["config"]["name"]
    nodes = [{"args": [call], "kwargs": {}} for call in calls]
    return {**which, "name": name, "inbound_nodes": nodes}


def functional(*layers: Json, inputs: object, outputs: object, name: str = "model") -> Json:
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": name,
            "layers": list(layers),
            "input_layers": inputs,
            "output_layers": outputs,
        },
    }


def after(*layers: Json, shape: tuple[int | None, ...] = (4,)) -> Head:
    """The head of a Sequential of these layers."""
    (head,) = keras_config.heads(sequential(source(shape=shape), *layers), None)
    return head


def two_heads() -> Json:
    return functional(
        called(source()),
        called(dense("kind", 3, "softmax"), tensor(("in", 0, 0), (4,))),
        called(dense("price", 1), tensor(("in", 0, 0), (4,))),
        inputs=["in", 0, 0],
        outputs=[["kind", 0, 0], ["price", 0, 0]],
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
def test_head_is_the_activation_of_the_last_dense_layer(activation: Activation) -> None:
    assert after(dense("out", 3, activation)) == Head(
        output="out", shape=(3,), activation=activation, units=3, compiled_loss=None
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "exponential"])
def test_head_is_other_when_the_activation_promises_nothing(activation: str) -> None:
    assert after(dense("out", 3, activation)).activation == "other"


def test_log_softmax_leaves_logits() -> None:
    assert after(dense("out", 3, "log_softmax")).activation == "linear"
    end = layer("Activation", "end", activation="log_softmax")
    assert after(dense("out", 3, "relu"), end).activation == "linear"


def test_activation_that_does_nothing_is_looked_through_however_it_is_written() -> None:
    written = {"module": "builtins", "class_name": "function", "config": "linear"}
    end = layer("Activation", "end", activation=written)
    assert after(dense("out", 3, "softmax"), end).activation == "softmax"


def test_head_is_read_when_the_activation_is_a_function_object() -> None:
    written = {"module": "builtins", "class_name": "function", "config": "softmax"}
    assert after(dense("out", 3, written)).activation == "softmax"


def test_head_is_read_when_the_activation_is_a_layer_object() -> None:
    assert after(dense("out", 3, layer("Softmax", "s", axis=-1))).activation == "softmax"
    assert after(dense("out", 3, layer("LeakyReLU", "l"))).activation == "other"


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        (layer("Activation", "end", activation="softmax"), "softmax"),
        (layer("Activation", "end", activation="linear"), "linear"),
        (layer("Softmax", "end", axis=-1), "softmax"),
        (layer("Softmax", "end", axis=1), "other"),
        (layer("ReLU", "end"), "other"),
        (layer("LSTM", "end", units=3, activation="linear"), "other"),
        (layer("Bidirectional", "end", layer=layer("LSTM", "inner", units=3)), "other"),
    ],
)
def test_head_is_told_by_a_layer_after_the_dense_one(last: Json, activation: str) -> None:
    assert after(dense("logits", 3), last).activation == activation


@pytest.mark.parametrize("class_name", ["Dropout", "Identity", "ActivityRegularization"])
def test_head_is_seen_through_layers_that_change_nothing(class_name: str) -> None:
    head = after(dense("out", 3, "softmax"), layer(class_name, "end"))
    assert (head.output, head.activation, head.units) == ("end", "softmax", 3)


def test_head_stays_linear_through_batch_normalization() -> None:
    assert after(dense("out", 3), layer("BatchNormalization", "end")).activation == "linear"


def test_head_is_other_when_softmax_is_rescaled() -> None:
    assert after(dense("out", 3, "softmax"), layer("Rescaling", "end")).activation == "other"


def test_head_keeps_softmax_when_reshape_keeps_the_last_axis() -> None:
    head = after(dense("out", 6, "softmax"), layer("Reshape", "end", target_shape=[1, 6]))
    assert (head.activation, head.units) == ("softmax", 6)


def test_head_is_other_when_reshape_cuts_softmax_up() -> None:
    head = after(dense("out", 6, "softmax"), layer("Reshape", "end", target_shape=[2, 3]))
    assert (head.activation, head.units) == ("other", 3)


def test_head_keeps_sigmoid_when_flattened() -> None:
    head = after(dense("out", 6, "sigmoid"), layer("Flatten", "end"), shape=(2, 4))
    assert (head.activation, head.units) == ("sigmoid", 12)


def test_head_of_a_convolution_counts_its_filters() -> None:
    end = layer("Conv2D", "end", filters=7, activation="softmax", data_format="channels_last")
    head = after(end, shape=(8, 8, 3))
    assert (head.activation, head.units) == ("softmax", 7)


def test_head_is_other_when_softmax_runs_over_width_instead_of_channels() -> None:
    end = layer("Conv2D", "end", filters=7, activation="softmax", data_format="channels_first")
    assert after(end, shape=(3, 8, 8)).activation == "other"


def test_head_is_that_of_the_layer_in_a_time_distributed() -> None:
    head = after(layer("TimeDistributed", "end", layer=dense("d", 3, "softmax")), shape=(9, 4))
    assert (head.activation, head.units) == ("softmax", 3)


def test_head_is_softmax_when_softmaxes_are_averaged() -> None:
    config = functional(
        called(source()),
        called(dense("a", 3, "softmax"), tensor(("in", 0, 0))),
        called(dense("b", 3, "softmax"), tensor(("in", 0, 0))),
        called(layer("Average", "mean"), [tensor(("a", 0, 0)), tensor(("b", 0, 0))]),
        inputs=["in", 0, 0],
        outputs=["mean", 0, 0],
    )
    assert keras_config.heads(config, None)[0].activation == "softmax"


@pytest.mark.parametrize(("second", "activation"), [("linear", "linear"), ("softmax", "other")])
def test_head_of_a_sum_is_linear_only_when_every_term_is(second: str, activation: str) -> None:
    config = functional(
        called(source()),
        called(dense("a", 3), tensor(("in", 0, 0))),
        called(dense("b", 3, second), tensor(("in", 0, 0))),
        called(layer("Add", "sum"), [tensor(("a", 0, 0)), tensor(("b", 0, 0))]),
        inputs=["in", 0, 0],
        outputs=["sum", 0, 0],
    )
    assert keras_config.heads(config, None)[0].activation == activation


def test_heads_come_in_the_order_of_the_outputs() -> None:
    heads = keras_config.heads(two_heads(), None)
    assert [(head.output, head.activation, head.units) for head in heads] == [
        ("kind", "softmax", 3),
        ("price", "linear", 1),
    ]


def test_heads_come_in_the_order_of_sorted_keys_when_outputs_are_a_dict() -> None:
    config = two_heads()
    config["config"]["output_layers"] = {"z": ["kind", 0, 0], "a": ["price", 0, 0]}
    losses = {"loss": {"a": "mse", "z": SPARSE}}
    heads = keras_config.heads(config, losses)
    assert [(head.output, head.compiled_loss) for head in heads] == [
        ("price", "regression"),
        ("kind", SPARSE),
    ]


def test_head_is_read_inside_a_nested_sequential() -> None:
    inner = sequential(source("inner_in"), dense("d", 5, "softmax"), name="inner")
    head = after(inner)
    assert (head.output, head.activation, head.units) == ("inner", "softmax", 5)


def test_heads_are_read_inside_a_nested_functional_with_two_outputs() -> None:
    inner = {**two_heads(), "config": {**two_heads()["config"], "name": "inner"}}
    config = functional(
        called(source("outer_in")),
        called(inner, tensor(("outer_in", 0, 0), (4,))),
        inputs=["outer_in", 0, 0],
        # A nested Functional has a 0-th call of its own that is never written.
        outputs=[["inner", 1, 0], ["inner", 1, 1]],
    )
    heads = keras_config.heads(config, None)
    assert [(head.activation, head.units) for head in heads] == [("softmax", 3), ("linear", 1)]


def test_head_is_that_of_the_second_call_when_a_layer_is_shared() -> None:
    config = functional(
        called(source()),
        called(layer("Softmax", "shared", axis=-1), tensor(("in", 0, 0)), tensor(("d", 0, 0))),
        called(dense("d", 4), tensor(("shared", 0, 0), (4,))),
        inputs=["in", 0, 0],
        outputs=["shared", 1, 0],
    )
    head = keras_config.heads(config, None)[0]
    assert (head.activation, head.units) == ("softmax", 4)


def test_head_is_found_at_once_when_sums_double_the_paths() -> None:
    layers = [called(source()), called(dense("s0", 3), tensor(("in", 0, 0)))]
    for depth in range(1, 60):
        twice = [tensor((f"s{depth - 1}", 0, 0))] * 2
        layers.append(called(layer("Add", f"s{depth}"), twice))
    config = functional(*layers, inputs=["in", 0, 0], outputs=["s59", 0, 0])
    assert keras_config.heads(config, None)[0].activation == "linear"


def test_head_is_read_from_the_calls_of_keras_2() -> None:
    config = {
        "class_name": "Functional",
        "config": {
            "name": "old",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "name": "in",
                    "config": {"batch_input_shape": [None, 4], "name": "in", "dtype": "float32"},
                    "inbound_nodes": [],
                },
                {
                    "class_name": "Dense",
                    "name": "d",
                    "config": {"name": "d", "units": 2, "activation": "linear"},
                    "inbound_nodes": [[["in", 0, 0, {}]]],
                },
                {
                    "class_name": "Activation",
                    "name": "end",
                    "config": {"name": "end", "activation": "softmax"},
                    "inbound_nodes": [[["d", 0, 0, {}]]],
                },
            ],
            "input_layers": [["in", 0, 0]],
            "output_layers": [["end", 0, 0]],
        },
    }
    head = keras_config.heads(config, None)[0]
    assert (head.activation, head.units) == ("softmax", 2)
    assert keras_config.outputs(config)[0].shape == (2,)


@pytest.mark.parametrize(
    ("loss", "understood"),
    [
        (SPARSE, SPARSE),
        ("mse", "regression"),
        ("mean_absolute_error", "regression"),
        ({"class_name": "MeanSquaredError", "config": {"name": "x"}}, "regression"),
        (
            {
                "module": "keras.losses",
                "class_name": "SparseCategoricalCrossentropy",
                "config": {"from_logits": True},
            },
            SPARSE,
        ),
        ({"class_name": "function", "config": "binary_crossentropy"}, "binary_crossentropy"),
        (["categorical_crossentropy"], "categorical_crossentropy"),
        ({"out": "huber"}, "regression"),
        ({"elsewhere": "huber"}, None),
        ("kl_divergence", None),
        (None, None),
    ],
)
def test_compiled_loss_is_read_however_it_is_written(loss: object, understood: str | None) -> None:
    config = sequential(source(), dense("out", 3))
    assert keras_config.heads(config, {"loss": loss})[0].compiled_loss == understood


@pytest.mark.parametrize("losses", [[SPARSE, "mse"], {"price": "mse", "kind": SPARSE}])
def test_compiled_loss_is_that_of_its_output_when_there_are_several(losses: object) -> None:
    heads = keras_config.heads(two_heads(), {"loss": losses})
    assert [head.compiled_loss for head in heads] == [SPARSE, "regression"]


def test_compiled_loss_is_everyones_when_there_is_one_for_several_outputs() -> None:
    heads = keras_config.heads(two_heads(), {"loss": "mse"})
    assert [head.compiled_loss for head in heads] == ["regression", "regression"]


def test_inputs_are_named_and_shaped_without_the_batch_axis() -> None:
    config = sequential(source("pixels", (28, None, 1)), dense("out", 3))
    (spec,) = keras_config.inputs(config)
    assert (spec.name, spec.shape, spec.dtype) == ("pixels", (28, None, 1), "float32")


def test_inputs_come_in_the_order_of_the_model_when_there_are_two() -> None:
    config = functional(
        called(source("b")),
        called(source("a", (7,))),
        called(layer("Concatenate", "both"), [tensor(("a", 0, 0)), tensor(("b", 0, 0))]),
        inputs=[["a", 0, 0], ["b", 0, 0]],
        outputs=["both", 0, 0],
    )
    assert [(spec.name, spec.shape) for spec in keras_config.inputs(config)] == [
        ("a", (7,)),
        ("b", (4,)),
    ]


def test_inputs_are_known_when_a_sequential_starts_with_a_model() -> None:
    inner = sequential(source("inner_in", (6,)), dense("d", 5), name="inner")
    assert keras_config.inputs(sequential(inner, dense("out", 2)))[0].shape == (6,)


def test_inputs_have_no_shape_when_the_model_was_never_built() -> None:
    assert keras_config.inputs(sequential(dense("out", 2)))[0].shape is None


def test_outputs_are_shaped_where_that_can_be_worked_out() -> None:
    config = sequential(source(shape=(3, 4)), layer("Flatten", "f"), dense("out", 2))
    assert keras_config.outputs(config)[0].shape == (2,)


def test_layers_walks_into_nested_models() -> None:
    inner = sequential(source("inner_in"), dense("d", 5), name="inner")
    names = [each["config"]["name"] for each in keras_config.layers(sequential(source(), inner))]
    assert names == ["in", "inner_in", "d"]


@pytest.mark.parametrize(
    "recurrent",
    [
        layer("LSTM", "r", units=2),
        layer("Bidirectional", "r", layer=layer("GRU", "g", units=2)),
        layer("RNN", "r", cell=layer("LSTMCell", "c", units=2)),
        layer("TimeDistributed", "r", layer=layer("SimpleRNN", "s", units=2)),
        sequential(layer("ConvLSTM2D", "r", filters=2), name="inner"),
    ],
)
def test_is_recurrent_finds_recurrence_however_deep(recurrent: Json) -> None:
    assert keras_config.is_recurrent(sequential(source(shape=(5, 4)), recurrent))


def test_is_recurrent_is_false_when_layers_only_feed_forward() -> None:
    assert not keras_config.is_recurrent(sequential(source(), dense("out", 2)))
