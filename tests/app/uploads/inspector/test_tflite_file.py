"""TensorFlow Lite files in `files/`, converted by TensorFlow 2.21 from small Keras models.

float32, float16, int8: `Input((4,), name="pixels")`, Dense(8, relu), Dense(3, softmax); the latter
two with `Optimize.DEFAULT` and float16 types or a representative data set. two_by_two: inputs
`left` (4) and `right` (2) concatenated, then Dense(1) and Dense(2, sigmoid). lstm: `Input((5, 3),
batch_size=1)`, LSTM(4), Dense(2); unset_variables: the same from a concrete function that was not
frozen.
"""

from pathlib import Path

import pytest

from app.errors import RejectedUpload
from app.recipes.facts import ModelFacts
from app.uploads.inspector.tflite.file import read_tflite

FILES = Path(__file__).parent / "files"


def read(name: str) -> ModelFacts:
    with (FILES / f"{name}.tflite").open("rb") as file:
        return read_tflite(file)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_read_tflite_sees_softmax_however_the_weights_are_stored(name: str) -> None:
    facts = read(name)
    assert [(head.activation, head.units) for head in facts.heads] == [("softmax", 3)]
    assert [(spec.name, spec.shape, spec.dtype) for spec in facts.inputs] == [
        ("pixels", (4,), "float32")
    ]
    # Biases that are all zero are dropped by the converter.
    assert facts.parameter_count == 4 * 8 + 8 * 3


@pytest.mark.parametrize(
    ("name", "is_quantized"), [("float32", False), ("float16", True), ("int8", True)]
)
def test_read_tflite_tells_whether_float_weights_are_gone(name: str, is_quantized: bool) -> None:
    assert read(name).is_quantized is is_quantized


def test_read_tflite_lists_operators_with_their_weights() -> None:
    layers = [(layer.class_name, layer.parameter_count) for layer in read("float32").layers]
    assert layers == [("FULLY_CONNECTED", 32), ("FULLY_CONNECTED", 24), ("SOFTMAX", 0)]


def test_read_tflite_counts_the_weights_inside_a_loop() -> None:
    facts = read("lstm")
    inside, state, dense = 4 * 4 * (3 + 4 + 1), 4, 4 * 2 + 2
    assert facts.is_recurrent
    # The state that it begins with is stored as well.
    assert facts.parameter_count == inside + state + dense
    counts = [(layer.class_name, layer.parameter_count) for layer in facts.layers]
    assert ("WHILE", inside + state) in counts
    assert sum(count for _, count in counts if count) == facts.parameter_count


def test_read_tflite_refuses_a_model_whose_weights_were_left_out() -> None:
    with pytest.raises(RejectedUpload, match="variables that nothing in the file sets"):
        read("unset_variables")


def test_read_tflite_names_ports_as_the_signature_does() -> None:
    facts = read("two_by_two")
    assert {(spec.name, spec.shape) for spec in facts.inputs} == {("left", (4,)), ("right", (2,))}
    assert {(head.output, head.activation, head.units) for head in facts.heads} == {
        ("output_0", "linear", 1),
        ("output_1", "sigmoid", 2),
    }


def test_read_tflite_never_fails_otherwise_than_by_refusing_when_bytes_are_changed(
    tmp_path: Path,
) -> None:
    content = (FILES / "float32.tflite").read_bytes()
    refused = 0
    for at in range(8, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        path = tmp_path / "changed.tflite"
        path.write_bytes(changed)
        with path.open("rb") as file:
            try:
                read_tflite(file)
            except RejectedUpload:
                refused += 1
    assert refused > 30
