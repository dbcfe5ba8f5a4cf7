"""What is held against a file that was reloaded."""

from typing import cast

import numpy as np
import pytest

from app.errors import ExportFailed
from tests.builders import normalization_model, outputs_of, rows_for
from worker.engine.proving.check import complaint, reference
from worker.engine.subject import Subject

GOOD = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


class TwoRows:
    """As much of a subject as a reference takes."""

    def measured_batches(self, size: int) -> object:
        return iter([rows_for(normalization_model(), min(size, 2))])


def test_reference_is_what_the_model_computes() -> None:
    model = normalization_model()

    outputs = reference(model, cast(Subject, TwoRows()))

    np.testing.assert_array_equal(outputs, outputs_of(model, rows_for(model, 2)))


def test_reference_fails_when_the_model_computes_with_what_is_not_saved() -> None:
    model = normalization_model()
    model.get_layer("scale").mean += 3.0

    with pytest.raises(ExportFailed, match="after it is saved and loaded: its outputs are off by"):
        reference(model, cast(Subject, TwoRows()))


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
