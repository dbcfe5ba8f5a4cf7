"""Whole models: packed, and unpacked to the same bytes."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import MODELS
from worker.engine.coding.container import Kind
from worker.engine.coding.packing import pack
from worker.engine.coding.unpacking import unpack
from worker.engine.exporting.files import write_file
from worker.engine.exporting.keras_file import write_keras
from worker.engine.exporting.source import KerasSource
from worker.engine.progress import never_cancelled
from worker.engine.quantizing.levels import Grid
from worker.engine.surgery.weights import assign_weights, named_weights


def compiled_model() -> Any:
    model = MODELS["dense"]()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((4, 4)), np.zeros(4), verbose=0)
    return model


def fake_quantized_model() -> Any:
    """Operations as layers, one of them shared by two calls, odd names, a Dropout with a seed."""
    numbers = keras.Input((4,), name="numbers in")
    x = keras.quantizers.fake_quant_with_min_max_vars(numbers, -1.25, 3.5, num_bits=8)
    shared = keras.layers.Dense(4, name="écluse é", dtype="mixed_float16")
    x = keras.layers.Dropout(0.1, seed=3)(shared(x) + shared(numbers))
    return keras.Model(numbers, {"a": x * 2.0, "b": keras.ops.sum(x, axis=-1)}, name="odd")


BUILDERS: dict[str, Callable[[], Any]] = {
    **MODELS,
    "compiled": compiled_model,
    "fake_quantized": fake_quantized_model,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_unpacked_file_has_the_bytes_of_the_one_packed(name: str, tmp_path: Path) -> None:
    plain, again = tmp_path / "plain.keras", tmp_path / "again.keras"
    write_keras(BUILDERS[name](), plain)
    packed = pack(plain, [], never_cancelled)
    unpack(packed.content, again, never_cancelled)
    assert packed.content[3] & 15 == Kind.MODEL
    assert again.read_bytes() == plain.read_bytes()
    assert packed.weights_bytes < len(packed.content) < plain.stat().st_size / 10


def test_architecture_of_a_small_net_takes_about_a_hundred_bytes(tmp_path: Path) -> None:
    layers = keras.layers
    lenet = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="input_layer"),
            layers.Conv2D(20, 5, activation="relu", name="c1"),
            layers.MaxPooling2D(name="max_pooling2d"),
            layers.Conv2D(50, 5, activation="relu", name="c2"),
            layers.MaxPooling2D(name="max_pooling2d_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(500, activation="relu", name="f1"),
            layers.Dense(10, name="f2"),
        ],
        name="lenet",
    )
    for weight in lenet.weights:
        weight.assign(keras.ops.zeros_like(weight))
    write_keras(lenet, tmp_path / "lenet.keras")
    packed = pack(tmp_path / "lenet.keras", [], never_cancelled)
    assert len(packed.content) < 120
    assert packed.weights_bytes < 20


def test_file_with_more_inside_is_compressed_as_it_is(tmp_path: Path) -> None:
    plain, again = tmp_path / "plain.keras", tmp_path / "again.keras"
    write_keras(MODELS["dense"](), plain)
    with zipfile.ZipFile(plain, "a") as archive:
        archive.writestr("assets/vocabulary.txt", "one two")
    packed = pack(plain, [], never_cancelled)
    unpack(packed.content, again, never_cancelled)
    assert packed.content[3] & 15 == Kind.WHOLE_FILE
    assert again.read_bytes() == plain.read_bytes()


def test_weights_on_levels_are_stored_as_their_numbers(tmp_path: Path) -> None:
    model = MODELS["dense"]()
    name = "hidden/kernel"
    scale = np.array([[0.0123]], np.float32)
    grid = Grid(scale, np.zeros((1, 1), np.int32), 4, (4, 8))
    numbers = np.random.default_rng(0).integers(-7, 8, (4, 8)).astype(np.int32)
    assign_weights(model, {name: grid.values(numbers)})
    source = KerasSource(model, tmp_path, {}, {name: grid})
    file = write_file("packed", source, tmp_path / "out" / "m", None)
    full = write_file("packed", KerasSource(MODELS["dense"](), tmp_path, {}), tmp_path / "f", None)
    assert file.path.name == "m.packed"
    assert file.weights_bytes is not None
    assert full.path.stat().st_size - file.path.stat().st_size > 4 * 8 * 2
    unpack(file.path.read_bytes(), tmp_path / "again.keras", never_cancelled)
    again = keras.models.load_model(tmp_path / "again.keras")
    assert np.array_equal(named_weights(again)[name].numpy(), grid.values(numbers))
    assert not [path for path in file.path.parent.iterdir() if path != file.path]
