"""Files written from one model, read back by the libraries they are for."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.errors import ExportFailed
from app.recipes.outputs import OutputKind
from tests.builders import conv_model, outputs_of, randomized, rows_for
from worker.engine.exporting.files import write_file
from worker.engine.exporting.keras_file import write_keras
from worker.engine.exporting.source import Converted, KerasSource, TfliteSource

# Keras 3.15 copies variables in a way that numpy 2 announces the end of.


def test_write_keras_gives_the_same_bytes_for_the_same_model(tmp_path: Path) -> None:
    for name in ("one.keras", "two.keras"):
        write_keras(randomized(conv_model()), tmp_path / name)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.keras", "two.keras"]


def test_write_keras_loads_back_with_the_same_outputs(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    write_keras(conv_source.model, tmp_path / "model.keras")
    rows = rows_for(conv_source.model, 4)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        outputs_of(loaded, rows)[0], outputs_of(conv_source.model, rows)[0]
    )


def test_write_keras_leaves_out_what_the_optimizer_remembers(tmp_path: Path) -> None:
    model = conv_model()
    write_keras(model, tmp_path / "untrained.keras")
    model.compile("adam", "mse")
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    write_keras(model, tmp_path / "trained.keras")
    weights = [
        zipfile.ZipFile(tmp_path / name).getinfo("model.weights.h5").file_size
        for name in ("untrained.keras", "trained.keras")
    ]
    assert weights[0] == weights[1]
    assert model.optimizer is optimizer


class Unsaved(keras.layers.Dense):
    def save_own_variables(self, store: object) -> None:
        raise NotImplementedError("this layer keeps its weights to itself")


@pytest.mark.parametrize("kind", ["keras", "packed"])
def test_model_that_keras_cannot_save_is_a_failed_export(kind: OutputKind, tmp_path: Path) -> None:
    """A failed export drops the kind with a warning; any other error would fail the job."""
    model = keras.Sequential([keras.Input((4,)), Unsaved(2)])
    with pytest.raises(ExportFailed, match="keeps its weights"):
        write_file(kind, KerasSource(model, tmp_path, {}), tmp_path / "model", None)


def test_model_too_large_to_be_packed_is_a_failed_export(
    conv_source: KerasSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.coding.packing.MOST_BYTES", 1000)
    with pytest.raises(ExportFailed, match="1000 can be packed"):
        write_file("packed", conv_source, tmp_path / "model", None)


def test_write_file_zips_a_saved_model_that_runs_by_its_names(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    file = write_file("saved_model", conv_source, tmp_path / "out" / "conv", None)
    assert file.path.name == "conv.saved_model.zip"
    with zipfile.ZipFile(file.path) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
        archive.extractall(tmp_path / "unpacked")
    rows = rows_for(conv_source.model, 3)
    signature = tf.saved_model.load(str(tmp_path / "unpacked")).signatures["serving_default"]
    np.testing.assert_allclose(
        signature(picture=tf.constant(rows["picture"]))["logits"],
        outputs_of(conv_source.model, rows)[0],
        rtol=1e-5,
    )


def test_write_file_offers_what_was_converted_when_there_is_a_conversion(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    file = write_file("tflite", conv_source, tmp_path / "conv", Converted(b"converted", "int8"))
    assert (file.variant, file.path.read_bytes()) == ("int8", b"converted")


def test_write_file_refuses_to_turn_tflite_back_into_keras(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="cannot be turned into keras"):
        write_file("keras", TfliteSource(b""), tmp_path / "conv", None)
