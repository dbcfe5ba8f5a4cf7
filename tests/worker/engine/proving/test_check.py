"""What is held against a file that was reloaded."""

from typing import Any, cast

import keras
import numpy as np
import pytest

from app.errors import ExportFailed, ModelNotLoadable
from tests.builders import normalization_model, outputs_of, rows_for
from worker.engine.proving.check import complaint, reference
from worker.engine.subject import Subject

GOOD = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


class Rows:
    """As much of a subject as a reference takes."""

    data = None

    def __init__(self, rows: dict[str, Any]) -> None:
        self.rows = rows

    def measured_batches(self, size: int) -> object:
        return iter([{name: array[:size] for name, array in self.rows.items()}])


def two_rows() -> Subject:
    return cast(Subject, Rows(rows_for(normalization_model(), 2)))


def test_reference_is_what_the_model_computes() -> None:
    model = normalization_model()

    outputs = reference(model, two_rows())

    np.testing.assert_array_equal(outputs, outputs_of(model, rows_for(model, 2)))


def test_reference_fails_when_the_model_computes_with_what_is_not_saved() -> None:
    model = normalization_model()
    model.get_layer("scale").mean += 3.0

    with pytest.raises(ExportFailed, match="after it is saved and loaded: its outputs are off by"):
        reference(model, two_rows())


def test_complaint_is_none_when_outputs_are_the_models() -> None:
    assert complaint("float32", [GOOD], [GOOD[:1]]) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_complaint_names_what_is_not_a_number(bad: float) -> None:
    outputs = GOOD.copy()
    outputs[1, 1] = bad
    assert complaint("int8", [outputs], [GOOD[:1]]) == "its outputs hold NaN or infinity"


def test_complaint_names_a_wrong_shape() -> None:
    assert "shape (2,)" in (complaint("int8", [GOOD], [GOOD[:, :1]]) or "")


def test_complaint_compares_float_files_by_value() -> None:
    assert "off by 0.1" in (complaint("float32", [GOOD + 0.1], [GOOD]) or "")


def test_complaint_leaves_the_errors_of_quantized_files_to_accuracy() -> None:
    assert complaint("int8", [GOOD + 0.1], [GOOD]) is None


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "complex64", "float16"])
def test_complaint_compares_outputs_of_any_type(dtype: str) -> None:
    given, wanted = np.array([[0, 1]], dtype), np.array([[1, 1]], dtype)
    assert complaint("float32", [wanted], [wanted]) is None
    assert complaint("float32", [given], [wanted]) == (
        "its outputs are off by 1; at most 0.001 is rounding"
    )


def test_reference_refuses_texts_with_what_to_do() -> None:
    inputs = keras.Input((3,), dtype="int64", name="in")
    words = keras.layers.StringLookup(vocabulary=["a", "b"], invert=True)
    model = keras.Model(inputs, words(inputs))

    with pytest.raises(ModelNotLoadable, match="output 0 of the model gives texts") as failed:
        reference(model, cast(Subject, Rows({"in": np.zeros((2, 3), "int64")})))
    assert "do their part behind" in str(failed.value.hint)


def test_reference_says_that_made_up_rows_may_be_why_a_model_cannot_be_run() -> None:
    inputs = keras.Input((3,), dtype="int32", name="in")
    table = keras.layers.IntegerLookup(vocabulary=[5, 6], num_oov_indices=0)
    model = keras.Model(inputs, table(inputs))

    with pytest.raises(ModelNotLoadable, match="the model cannot be run: ") as failed:
        reference(model, cast(Subject, Rows({"in": np.zeros((2, 3), "int32")})))
    assert "give one" in str(failed.value.hint)
