"""How an uploaded tflite file is understood."""

import keras
import pytest

from worker.engine.exporting.source import KerasSource
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.measuring.tflite_macs import tflite_macs
from worker.engine.measuring.tflite_ports import tflite_heads, tflite_inputs


@pytest.mark.parametrize(
    ("given", "units", "expected"),
    [
        ("softmax", 3, "softmax"),
        ("sigmoid", 1, "sigmoid"),
        ("linear", 2, "linear"),
        ("relu", 2, "other"),
    ],
)
def test_heads_read_the_last_activation(
    given: str, units: int, expected: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = keras.Sequential(
        [keras.Input((4,), name="x"), keras.layers.Dense(units, activation=given, name="out")]
    )
    content = KerasSource(model, tmp_path_factory.mktemp("head"), {}).float32()
    (head,) = tflite_heads(read_tflite(content))
    assert (head.output, head.activation, head.units) == ("out", expected, units)


def test_heads_look_through_the_conversion_to_float(conv_files: dict[str, bytes]) -> None:
    (head,) = tflite_heads(read_tflite(conv_files["int8_float_io"]))
    assert head.activation == "linear"


def test_inputs_have_no_batch_axis(conv_files: dict[str, bytes]) -> None:
    (spec,) = tflite_inputs(read_tflite(conv_files["float32"]))
    assert (spec.name, spec.shape, spec.dtype) == ("picture", (6, 6, 1), "float32")


def test_macs_of_a_file_equal_those_of_its_model(conv_files: dict[str, bytes]) -> None:
    macs = tflite_macs(read_tflite(conv_files["float32"]))
    assert sorted(count or 0 for count in macs.values()) == [4 * 3, 4 * 4 * 9 * 4]


def test_macs_are_unknown_when_a_file_loops(recurrent_source: KerasSource) -> None:
    assert None in tflite_macs(read_tflite(recurrent_source.float32())).values()
