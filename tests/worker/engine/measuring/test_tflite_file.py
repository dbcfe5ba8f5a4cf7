"""What is read from a tflite file."""

import numpy as np
import pytest

from worker.engine.exporting.requantize import quantize_dynamic_range
from worker.engine.exporting.source import KerasSource
from worker.engine.measuring.tflite_file import read_tflite


def test_read_tflite_names_ports_as_the_signature_does(conv_files: dict[str, bytes]) -> None:
    file = read_tflite(conv_files["float32"])
    assert [port.name for port in file.inputs] == ["picture"]
    assert [port.name for port in file.outputs] == ["logits"]
    assert file.inputs[0].tensor.open_shape == (None, 6, 6, 1)


def test_read_tflite_finds_every_weight(
    conv_files: dict[str, bytes], conv_source: KerasSource
) -> None:
    kernel = np.asarray(conv_source.model.get_layer("logits").kernel)
    stored = [t.values for t in read_tflite(conv_files["float32"]).weights if t.shape == (3, 4)]
    assert len(stored) == 1
    np.testing.assert_array_equal(stored[0], kernel.T)


@pytest.mark.parametrize(
    ("variant", "type_name", "bits"),
    [("float32", "FLOAT32", 32), ("float16", "FLOAT16", 16), ("int8", "INT8", 8)],
)
def test_read_tflite_tells_how_a_kernel_is_stored(
    conv_files: dict[str, bytes], variant: str, type_name: str, bits: int
) -> None:
    file = read_tflite(conv_files[variant])
    stored = [(t.type_name, t.bits) for t in file.weights if t.shape == (3, 4)]
    assert stored == [(type_name, bits)]


def test_values_are_real_numbers_when_a_kernel_is_stored_in_integers(
    conv_files: dict[str, bytes], conv_source: KerasSource
) -> None:
    kernel = np.asarray(conv_source.model.get_layer("logits").kernel).T
    (stored,) = [t for t in read_tflite(conv_files["int8"]).weights if t.shape == (3, 4)]
    largest_step = float(stored.scale.max())
    assert np.abs(stored.values - kernel).max() <= largest_step / 2 * 1.001


def test_is_quantized_is_false_for_float_files_only(conv_files: dict[str, bytes]) -> None:
    read = {variant: read_tflite(content).is_quantized for variant, content in conv_files.items()}
    assert read.pop("float32") is False
    # Its kernels have fewer than 1024 weights: the converter leaves them float.
    assert read.pop("dynamic_range") is False
    assert set(read.values()) == {True}


def test_float_operators_are_none_when_a_file_is_all_integer(conv_files: dict[str, bytes]) -> None:
    assert read_tflite(conv_files["int8"]).float_operators == ()
    assert [operator.name for operator in read_tflite(conv_files["float32"]).float_operators] == [
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
    ]


def test_read_tflite_finds_constants_that_follow_the_flatbuffer(
    conv_files: dict[str, bytes],
) -> None:
    content = quantize_dynamic_range(conv_files["float32"])
    before = sum(tensor.size for tensor in read_tflite(conv_files["float32"]).weights)
    after = sum(tensor.size for tensor in read_tflite(content).weights)
    assert after == before


def test_weights_of_an_operator_are_those_behind_the_widening_of_float16(
    conv_files: dict[str, bytes],
) -> None:
    file = read_tflite(conv_files["float16"])
    (operator,) = [one for one in file.operators if one.name == "FULLY_CONNECTED"]
    assert {tensor.type_name for tensor in file.weights_of(operator)} == {"FLOAT16"}
