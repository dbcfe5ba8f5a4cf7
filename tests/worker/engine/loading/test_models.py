"""Models loaded from files: both formats, what Keras 2 wrote, and what cannot be loaded."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from app.errors import ModelNotLoadable
from app.recipes.facts import ModelFormat
from app.uploads.inspector.keras.rules import MAX_LAYERS
from tests.builders import MODELS, branched_model, dense_model, outputs_of, randomized, rows_for
from worker.engine.loading.models import (
    heads,
    input_specs,
    load_model,
    read_compile_config,
)

TWO = {"filters": 2, "kernel_size": 2}
SHIMMED = [
    ("InputLayer", keras.layers.Identity, {}, "batch_input_shape", [None, 4, 4, 2]),
    ("DepthwiseConv2D", keras.layers.DepthwiseConv2D, {"kernel_size": 2}, "groups", 1),
    ("SeparableConv2D", keras.layers.SeparableConv2D, TWO, "groups", 1),
    ("SeparableConv2D", keras.layers.SeparableConv2D, TWO, "kernel_initializer", None),
    ("Conv2DTranspose", keras.layers.Conv2DTranspose, TWO, "groups", 1),
]


def as_keras2(path: Path, class_name: str, keyword: str, value: object) -> None:
    """Write a keyword into every such layer's configuration, as Keras 2 did."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            for candidate in (layer, layer["config"].get("layer")):
                if candidate and candidate["class_name"] == class_name:
                    candidate["config"][keyword] = value
        file.attrs["model_config"] = json.dumps(config)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_load_model_gives_the_same_outputs(kind: str, suffix: str, tmp_path: Path) -> None:
    model = randomized(MODELS[kind]())
    path = tmp_path / f"model.{suffix}"
    model.save(path)

    loaded = load_model(path, ModelFormat(suffix))

    inputs = rows_for(model, 4)
    for given, wanted in zip(outputs_of(loaded, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize(("class_name", "layer", "arguments", "keyword", "value"), SHIMMED)
def test_load_model_drops_keywords_of_keras_2_when_they_mean_nothing(
    class_name: str, layer: Any, arguments: dict[str, Any], keyword: str, value: object,
    tmp_path: Path,
) -> None:  # fmt: skip
    model = randomized(keras.Sequential([keras.Input((4, 4, 2)), layer(**arguments)]))
    path = tmp_path / "model.h5"
    model.save(path)
    as_keras2(path, class_name, keyword, value)

    loaded = load_model(path, ModelFormat.H5)

    x = np.random.default_rng(0).standard_normal((2, 4, 4, 2)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("wrapped", [False, True])
def test_load_model_drops_time_major_of_recurrent_layers(wrapped: bool, tmp_path: Path) -> None:
    lstm = keras.layers.LSTM(3)
    layer = keras.layers.Bidirectional(lstm) if wrapped else lstm
    model = randomized(keras.Sequential([keras.Input((4, 2)), layer]))
    path = tmp_path / "model.h5"
    model.save(path)
    as_keras2(path, "LSTM", "time_major", False)

    loaded = load_model(path, ModelFormat.H5)

    x = np.random.default_rng(0).standard_normal((2, 4, 2)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_load_model_refuses_a_keras_2_keyword_that_has_a_meaning(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3)]).save(path)
    as_keras2(path, "LSTM", "time_major", True)

    with pytest.raises(ModelNotLoadable, match="time_major=True"):
        load_model(path, ModelFormat.H5)


def test_load_model_reads_an_input_shape_that_early_keras_2_wrote_into_the_first_layer(
    tmp_path: Path,
) -> None:
    model = randomized(dense_model())
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        del config["config"]["layers"][0]
        config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 4]
        file.attrs["model_config"] = json.dumps(config)

    loaded = load_model(path, ModelFormat.H5)

    assert [spec.shape for spec in input_specs(loaded)] == [(4,)]
    inputs = rows_for(model, 2)
    np.testing.assert_array_equal(outputs_of(loaded, inputs)[0], outputs_of(model, inputs)[0])


def test_load_model_leaves_the_file_as_it_is_when_it_drops_keywords(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3)]).save(path)
    as_keras2(path, "LSTM", "time_major", False)
    before = path.read_bytes()

    load_model(path, ModelFormat.H5)

    assert path.read_bytes() == before


@pytest.mark.parametrize("key", [(..., 0), (0, ..., None), (slice(None), ..., slice(1, None, 2))])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_load_model_reads_the_ellipsis_that_keras_writes_into_h5(key: Any, tmp_path: Path) -> None:
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, inputs[key] * 2)
    path = tmp_path / "model.h5"
    model.save(path)

    loaded = load_model(path, ModelFormat.H5)

    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_load_model_refuses_a_lambda(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)]).save(path)

    with pytest.raises(ModelNotLoadable, match="cannot rebuild the model") as caught:
        load_model(path, ModelFormat.KERAS)

    assert str(tmp_path) not in caught.value.detail


def test_load_model_names_no_folder_when_the_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK not really")

    with pytest.raises(ModelNotLoadable) as caught:
        load_model(path, ModelFormat.KERAS)

    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_load_model_names_the_layer_whose_weights_do_not_fit(suffix: str, tmp_path: Path) -> None:
    kept, given = tmp_path / f"kept.{suffix}", tmp_path / f"given.{suffix}"
    for path, units in ((kept, 3), (given, 5)):
        layers = [keras.layers.Dense(units, name="first"), keras.layers.Dense(2, name="second")]
        keras.Sequential([keras.Input((4,)), *layers]).save(path)
    if suffix == "keras":
        take_weights(kept, given)
    else:
        with h5py.File(kept) as file, h5py.File(given, "r+") as other:
            other.attrs["model_config"] = file.attrs["model_config"]

    with pytest.raises(ModelNotLoadable) as caught:
        load_model(given, ModelFormat(suffix))

    said = "do not fit layer 'first': one has the shape (4, 5), where (4, 3) belongs"
    assert said in caught.value.detail
    assert caught.value.layer == "first"


def test_load_model_says_how_many_weights_a_layer_lacks(tmp_path: Path) -> None:
    kept, given = tmp_path / "kept.keras", tmp_path / "given.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first")]).save(kept)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)]).save(given)
    take_weights(kept, given)

    with pytest.raises(ModelNotLoadable, match=r"layer 'first': .* expected 2 variables, but"):
        load_model(given, ModelFormat.KERAS)


def test_load_model_says_that_a_file_lacks_layers(tmp_path: Path) -> None:
    kept, given = tmp_path / "kept.h5", tmp_path / "given.h5"
    for path, count in ((kept, 2), (given, 1)):
        layers = [keras.layers.Dense(4) for _ in range(count)]
        keras.Sequential([keras.Input((4,)), *layers]).save(path)
    with h5py.File(kept) as file, h5py.File(given, "r+") as other:
        other.attrs["model_config"] = file.attrs["model_config"]

    with pytest.raises(ModelNotLoadable, match="Model expected 2 layers, found 1 saved layers"):
        load_model(given, ModelFormat.H5)


def take_weights(config: Path, weights: Path) -> None:
    """Put the configuration of one archive in front of the weights of another."""
    with zipfile.ZipFile(config) as kept, zipfile.ZipFile(weights) as given:
        members = {name: kept.read(name) for name in kept.namelist()}
        members["model.weights.h5"] = given.read("model.weights.h5")
    with zipfile.ZipFile(weights, "w") as written:
        for name, content in members.items():
            written.writestr(name, content)


def test_engine_follows_as_many_layers_in_a_row_as_the_door_takes() -> None:
    assert sys.getrecursionlimit() > MAX_LAYERS


@pytest.mark.hostile
def test_load_model_follows_more_layers_in_a_row_than_python_makes_calls(tmp_path: Path) -> None:
    path = tmp_path / "deep.keras"
    inputs = end = keras.Input((1,))
    for _ in range(1_000):
        end = keras.layers.Identity()(end)
    keras.Model(inputs, end).save(path)

    assert len(load_model(path, ModelFormat.KERAS).layers) == 1_001


def test_load_model_refuses_weights_without_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "some.weights.h5"
    dense_model().save_weights(path)

    with pytest.raises(ModelNotLoadable, match="weights only"):
        load_model(path, ModelFormat.H5)


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_load_model_refuses_a_model_that_was_never_built(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.layers.Dense(2)]).save(path)

    with pytest.raises(ModelNotLoadable, match="before it was built"):
        load_model(path, ModelFormat.KERAS)


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")]
)
def test_load_model_lets_errors_of_memory_through(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(keras.saving, "load_model", exhausted)
    with pytest.raises(type(error)):
        load_model(tmp_path / "model.keras", ModelFormat.KERAS)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_read_compile_config_finds_the_loss(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    dense_model(loss="categorical_crossentropy").save(path)

    config = read_compile_config(path, ModelFormat(suffix))

    assert config is not None
    assert config["loss"] == "categorical_crossentropy"


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_read_compile_config_is_none_when_the_model_was_never_compiled(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{suffix}"
    dense_model().save(path)

    assert read_compile_config(path, ModelFormat(suffix)) is None


def test_input_specs_and_heads_follow_the_order_of_the_model() -> None:
    model = branched_model()

    assert [spec.name for spec in input_specs(model)] == ["left", "right"]
    assert [head.output for head in heads(model, None)] == ["kind", "amount"]
