"""Keras models on their way to files: names, shapes, and nothing written twice."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.lite import TFLiteSavedModelConverterV2

from app.errors import ExportFailed
from tests.builders import MODELS, outputs_of, randomized, rows_for
from worker.engine.exporting.signature import signature_of
from worker.engine.exporting.source import KerasSource


@pytest.mark.parametrize("name", MODELS)
def test_float32_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    model = randomized(MODELS[name]())
    source = KerasSource(model, tmp_path, {})
    runner = Interpreter(model_content=source.float32()).get_signature_runner()
    rows = rows_for(model, 1)
    given = runner(**rows)
    for port, expected in zip(source.signature.outputs, outputs_of(model, rows), strict=True):
        np.testing.assert_allclose(given[port.exported_name], expected, rtol=1e-4, atol=1e-5)


def test_float32_reads_and_writes_float32_where_the_model_has_bfloat16(tmp_path: Path) -> None:
    inputs = keras.Input((4,), dtype="bfloat16", name="x")
    outputs = keras.ops.cast(keras.layers.Dense(3)(inputs), "bfloat16")
    source = KerasSource(randomized(keras.Model(inputs, outputs)), tmp_path, {})
    (output,) = source.signature.outputs
    runner = Interpreter(model_content=source.float32()).get_signature_runner()
    given = runner(x=np.ones((1, 4), np.float32))[output.exported_name]
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, source.model(np.ones((1, 4), np.float32)), rtol=1e-2)


def test_float32_takes_any_batch_when_the_model_has_no_loops(conv_source: KerasSource) -> None:
    interpreter = Interpreter(model_content=conv_source.float32())
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, 6, 6, 1]


def test_float32_is_converted_once(conv_source: KerasSource) -> None:
    assert conv_source.float32() is conv_source.float32()


def test_saved_model_is_shared_when_both_uses_have_the_same_shapes(
    conv_source: KerasSource,
) -> None:
    assert conv_source.saved_model() == conv_source.saved_model_for_tflite()


def test_float32_takes_one_row_at_a_time_when_the_model_loops(
    recurrent_source: KerasSource,
) -> None:
    assert recurrent_source.is_recurrent
    interpreter = Interpreter(model_content=recurrent_source.float32())
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [1, 5, 3]


def open_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None, 3), name="sequence"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, name="out"),
        ]
    )


def test_float32_is_as_long_as_the_rows_when_the_model_leaves_a_length_open(tmp_path: Path) -> None:
    source = KerasSource(open_model(), tmp_path, {"sequence": (7, 3)})
    shape = Interpreter(model_content=source.float32()).get_input_details()[0]["shape_signature"]
    assert shape.tolist() == [-1, 7, 3]


def test_float32_asks_for_data_when_a_length_is_open_and_there_are_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="'sequence' has shape"):
        KerasSource(open_model(), tmp_path, {}).float32()


@pytest.mark.parametrize("name", ["the input", "in", "1st"])
def test_signature_renames_what_a_file_cannot_be_called_by(name: str) -> None:
    given = keras.Input((2,), name=name)
    model = keras.Model(given, keras.layers.Dense(1, name="out.put")(given))
    signature = signature_of(model)
    assert [(p.name, p.exported_name) for p in (*signature.inputs, *signature.outputs)] == [
        (name, "input_0"),
        ("out.put", "output_0"),
    ]


class Untraceable(keras.layers.Layer):
    """A layer that works on arrays only."""

    def call(self, inputs: Any) -> Any:
        raise TypeError("only arrays, please")

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def test_float32_names_the_reason_when_a_layer_cannot_be_traced(tmp_path: Path) -> None:
    given = keras.Input((2,), name="x")
    model = keras.Model(given, Untraceable(name="out")(given))
    with pytest.raises(ExportFailed, match="only arrays, please"):
        KerasSource(model, tmp_path, {}).float32()


def exhausted(*_: object, **__: object) -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM")


def test_saved_model_lets_errors_of_memory_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = keras.Input((2,), name="x")
    model = keras.Model(given, Untraceable(name="out")(given))
    monkeypatch.setattr(Untraceable, "call", exhausted)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        KerasSource(model, tmp_path, {}).saved_model()


def test_float32_lets_errors_of_memory_through(
    conv_source: KerasSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TFLiteSavedModelConverterV2, "convert", exhausted)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        KerasSource(conv_source.model, tmp_path, {}).float32()
