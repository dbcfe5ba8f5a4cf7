"""Keras files written here as Keras writes them."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import pytest

from app.errors import RejectedUpload
from app.recipes.facts import ModelFacts
from app.uploads.inspector.keras.files import read_h5, read_keras

Json = dict[str, Any]
Arrays = Mapping[str, Any]

SOURCE: Json = {
    "module": "keras.layers",
    "class_name": "InputLayer",
    "config": {"name": "in", "batch_shape": [None, 4], "dtype": "float32"},
}


def dense(name: str, units: int = 3, **extra: Any) -> Json:
    config = {"name": name, "units": units, "activation": "softmax", **extra}
    return {"module": "keras.layers", "class_name": "Dense", "config": config}


def sequential(*layers: Json, **extra: Any) -> Json:
    body = {"name": "net", "layers": [SOURCE, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": body, **extra}


def kernel(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def hdf5(arrays: Arrays, **attributes: str) -> io.BytesIO:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.attrs.update(attributes)
        for path, array in arrays.items():
            written[path] = array
    return file


def keras_file(config: Json | str, arrays: Arrays) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.12.0"}')
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", hdf5(arrays).getvalue())
    return file


ONE_DENSE = {"layers/dense/vars/0": kernel(4, 3), "layers/dense/vars/1": kernel(3)}


def refusal(config: Json | str, arrays: Arrays = ONE_DENSE) -> str:
    with pytest.raises(RejectedUpload) as caught:
        read_keras(keras_file(config, arrays))
    return caught.value.detail


def counts(facts: ModelFacts) -> dict[str, int | None]:
    return {layer.name: layer.parameter_count for layer in facts.layers}


def test_read_keras_counts_layers_of_one_class_in_their_order() -> None:
    arrays = {
        "layers/dense/vars/0": kernel(4, 5),
        "layers/dense_1/vars/0": kernel(5, 3),
        "layers/dense_1/vars/1": kernel(3),
    }
    facts = read_keras(keras_file(sequential(dense("z", 5), dense("a", 3)), arrays))
    assert counts(facts) == {"in": 0, "z": 20, "a": 18}
    assert facts.parameter_count == 38


def test_read_keras_counts_no_optimizer_and_no_random_state() -> None:
    arrays = {
        **ONE_DENSE,
        "optimizer/vars/0": kernel(4, 3),
        "layers/dropout/seed_generator/vars/0": np.zeros(2, np.uint32),
    }
    assert read_keras(keras_file(sequential(dense("d")), arrays)).parameter_count == 15


def test_read_keras_leaves_counts_open_where_weights_are_kept_elsewhere() -> None:
    arrays = {"_layer_checkpoint_dependencies/d/vars/0": kernel(4, 3)}
    facts = read_keras(keras_file(sequential(dense("d")), arrays))
    assert counts(facts) == {"in": None, "d": None}
    assert facts.parameter_count == 12


def test_read_keras_reads_what_the_model_was_compiled_with() -> None:
    config = sequential(dense("d"), compile_config={"loss": "categorical_crossentropy"})
    facts = read_keras(keras_file(config, ONE_DENSE))
    assert facts.heads[0].compiled_loss == "categorical_crossentropy"


@pytest.mark.parametrize(
    "policy",
    [
        {"module": "keras", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}},
        {
            "module": "keras.dtype_policies",
            "class_name": "Int4DTypePolicy",
            "config": {"mode": "int4/128", "source_name": "float32"},
        },
        {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "int8_from_float32"}},
        "int8_from_float32",
    ],
)
def test_read_keras_says_so_when_the_model_is_quantized(policy: Any) -> None:
    arrays = {"layers/dense/vars/0": np.ones((4, 3), np.int8)}
    assert read_keras(keras_file(sequential(dense("d", dtype=policy)), arrays)).is_quantized


def test_read_keras_takes_plain_operations_between_layers() -> None:
    def fed(layer: Json, source: str) -> Json:
        history = {"class_name": "__keras_tensor__", "config": {"keras_history": [source, 0, 0]}}
        nodes = [{"args": [history], "kwargs": {}}]
        return {**layer, "name": layer["config"]["name"], "inbound_nodes": nodes}

    operation = {"class_name": "Multiply", "module": "keras.src.ops.numpy", "config": {"name": "m"}}
    layers = [
        {**SOURCE, "name": "in", "inbound_nodes": []},
        fed(operation, "in"),
        fed(dense("d"), "m"),
    ]
    body = {"layers": layers, "input_layers": ["in", 0, 0], "output_layers": ["d", 0, 0]}
    config = {"class_name": "Functional", "module": "keras.src.models.functional", "config": body}
    assert counts(read_keras(keras_file(config, ONE_DENSE))) == {"in": 0, "m": 0, "d": 15}


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (dense("d", activation={"class_name": "__lambda__", "config": {}}), "Lambda"),
        (dense("d", activation={"class_name": "function", "config": "exec"}), "'exec'"),
        (
            dense("d", kernel_initializer={"module": "os", "class_name": "system", "config": {}}),
            "'os.system'",
        ),
        (
            dense("d", kernel_initializer={"module": "keras.utils", "class_name": "get_file"}),
            "'keras.utils.get_file'",
        ),
        ({**dense("d"), "module": "mine"}, "'mine.Dense'"),
        ({**dense("d"), "class_name": "MyDense"}, "'keras.layers.MyDense'"),
        ({**dense("d"), "registered_name": "Package>Dense"}, "'Package>Dense' is a custom class"),
        ({**dense("d"), "class_name": ["Dense"]}, "class name that is no text"),
        (dense("d", units=True), "declares units=True"),
        (dense("d", units=-3), "declares units=-3"),
        (dense("d", units=16), "declares units=16, but the file stores 15"),
        (dense("tab\tbed"), r"a layer is called 'tab\tbed'"),
        (dense("n" * 300), "a layer is called 'nnn"),
        # Keras saves and loads both; TensorFlow fails when they compute.
        (dense("密集 层"), "a layer is called '密集 层'; TensorFlow computes nothing"),
        (dense("hidden layer"), "a layer is called 'hidden layer'; TensorFlow computes nothing"),
        ({"class_name": "Dense", "module": "keras.layers", "config": {}}, "hang together"),
        ({"class_name": "Dense", "module": "keras.layers", "config": None}, "hang together"),
    ],
)
def test_read_keras_refuses_layers_with_the_reason(layer: Json, why: str) -> None:
    assert why in refusal(sequential(layer))


def test_read_keras_refuses_a_model_whose_name_tensorflow_does_not_take() -> None:
    config = sequential(dense("d"))
    config["config"]["name"] = "_net"
    assert "the model is called '_net'" in refusal(config)


def test_read_keras_tells_which_channels_can_surely_be_taken_out() -> None:
    arrays = {"layers/dense/vars/0": kernel(4, 5), "layers/dense_1/vars/0": kernel(5, 3)}
    hidden = dense("hidden", 5)
    hidden["config"]["activation"] = "relu"

    facts = read_keras(keras_file(sequential(hidden, dense("out")), arrays))

    assert {layer.name: layer.removable_units for layer in facts.layers} == {
        "in": None,
        "hidden": 5,
        "out": None,
    }


def test_read_keras_tells_activations_and_which_layer_makes_the_output() -> None:
    arrays = {"layers/dense/vars/0": kernel(4, 5), "layers/dense_1/vars/0": kernel(5, 3)}
    hidden = dense("hidden", 5)
    hidden["config"]["activation"] = "swish"

    facts = read_keras(keras_file(sequential(hidden, dense("out")), arrays))

    assert [(one.name, one.activation, one.is_output) for one in facts.layers] == [
        ("in", "linear", False),
        ("hidden", "silu", False),
        ("out", "softmax", True),
    ]


def test_read_keras_takes_the_objects_that_keras_itself_writes() -> None:
    seed = {"module": "keras.random", "class_name": "SeedGenerator", "config": {"seed": 3}}
    start = {"module": "keras.initializers", "class_name": "Zeros", "config": {"seed": seed}}
    act = {"module": "keras.activations", "class_name": "function", "config": "gelu"}
    optimizer = {"module": "keras.optimizers", "class_name": "Adam", "config": {"name": "adam"}}
    config = sequential(
        dense("d", kernel_initializer=start, activation=act),
        compile_config={"optimizer": optimizer, "loss": "mse", "metrics": ["accuracy"]},
    )
    assert read_keras(keras_file(config, ONE_DENSE)).heads[0].compiled_loss == "regression"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "config.json is not JSON"),
        ("[]", "config.json is not a JSON object"),
        ("{}", "the configuration in the file names no model"),
        ({"class_name": "MyModel", "config": {}}, "the model is a 'MyModel'"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "hang together"),
    ],
)
def test_read_keras_refuses_what_is_no_model(config: Json | str, why: str) -> None:
    assert why in refusal(config)


def test_read_keras_refuses_more_layers_than_can_be_built() -> None:
    many = [{"class_name": "ReLU", "module": "keras.layers", "config": {}} for _ in range(5_001)]
    assert "more than 5000 layers" in refusal(sequential(*many))


def test_read_keras_refuses_infinite_weights() -> None:
    arrays = {"layers/dense/vars/0": np.array([1.0, np.inf, np.nan, 0.0])}
    assert "2 of 4 values of the weight 'layers/dense/vars/0'" in refusal(
        sequential(dense("d")), arrays
    )


def h5_file(arrays: Arrays, config: Json, training: Json | None = None) -> io.BytesIO:
    attributes = {"model_config": json.dumps(config), "keras_version": "2.15.0"}
    if training:
        attributes["training_config"] = json.dumps(training)
    return hdf5(arrays, **attributes)


def test_read_h5_reads_a_model_of_keras_2() -> None:
    arrays = {
        "model_weights/d/d/kernel:0": kernel(4, 3),
        "model_weights/d/d/bias:0": kernel(3),
        "optimizer_weights/Adam/m/d/kernel:0": kernel(4, 3),
    }
    layers = [
        {
            "class_name": "Dense",
            "config": {
                "name": "d",
                "batch_input_shape": [None, 4],
                "units": 3,
                "activation": "linear",
                "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
            },
        }
    ]
    config = {"class_name": "Sequential", "config": {"name": "old", "layers": layers}}
    training = {"loss": {"class_name": "MeanSquaredError", "config": {}}, "metrics": None}
    facts = read_h5(h5_file(arrays, config, training))
    assert (facts.inputs[0].shape, facts.outputs[0].shape) == ((4,), (3,))
    assert (facts.heads[0].activation, facts.heads[0].compiled_loss) == ("linear", "regression")
    assert counts(facts) == {"d": 15}
    assert facts.keras_version == "2.15.0"


@pytest.mark.parametrize(
    ("config", "training"),
    [
        ({"recurrent_initializer": {"class_name": "OrthogonalInitializer", "config": {}}}, {}),
        (
            {
                "recurrent_initializer": {
                    "module": "keras.initializers",
                    "class_name": "OrthogonalInitializer",
                    "config": {"gain": 1.0, "seed": None},
                    "registered_name": None,
                }
            },
            {},
        ),
        ({"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}, {}),
        ({"kernel_initializer": {"class_name": "VarianceScaling", "config": {"seed": None}}}, {}),
        ({"kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}}}, {}),
        ({}, {"optimizer_config": {"class_name": "Custom>Adam", "config": {"decay": 0.0}}}),
        ({}, {"metrics": [[{"class_name": "MeanMetricWrapper", "config": {"fn": "accuracy"}}]]}),
        ({}, {"loss": {"class_name": "LossFunctionWrapper", "config": {"fn": "my_loss"}}}),
    ],
)
def test_read_h5_takes_what_earlier_versions_of_keras_wrote(config: Json, training: Json) -> None:
    written = sequential(dense("d", trainable=True, **config))
    without = {key: value for key, value in written.items() if key != "module"}
    arrays = {"model_weights/d/d/kernel:0": kernel(4, 3)}
    assert read_h5(h5_file(arrays, without, {"loss": "mse", **training})).parameter_count == 12


def test_read_keras_leaves_out_what_an_inner_model_keeps_for_training() -> None:
    inner = sequential(dense("inside"))
    inner["config"]["name"] = "inner"
    arrays = {f"layers/sequential/{path}": array for path, array in ONE_DENSE.items()}
    state = {f"layers/sequential/optimizer/vars/{index}": kernel(99) for index in range(3)}
    facts = read_keras(keras_file(sequential(inner), {**arrays, **state}))
    assert [layer.parameter_count for layer in facts.layers if layer.name == "inside"] == [15]
    assert facts.parameter_count == 15


def test_read_h5_leaves_counts_of_nested_layers_open() -> None:
    inner = sequential(dense("d"))
    inner["config"]["name"] = "inner"
    facts = read_h5(h5_file({"model_weights/inner/d/kernel": kernel(4, 3)}, sequential(inner)))
    assert facts.parameter_count == 12
    assert facts.layers[-1].parameter_count is None


def test_read_h5_refuses_a_lambda_without_a_module() -> None:
    layer = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEA", None, None]}}
    with pytest.raises(RejectedUpload, match="Lambda"):
        read_h5(h5_file({}, sequential(layer)))


def test_read_h5_refuses_what_is_cut_off() -> None:
    whole = h5_file({"model_weights/d/d/kernel": kernel(40, 30)}, sequential(dense("d")))
    with pytest.raises(RejectedUpload, match="ends at byte"):
        read_h5(io.BytesIO(whole.getvalue()[:2000]))
