"""What is held against a file that was reloaded."""

import numpy as np
import pytest

from worker.engine.proving.check import complaint

GOOD = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


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
