"""What is told of errors that others raise."""

from typing import Any

import pytest
import tensorflow as tf

from worker.engine.foreign import first_line, is_out_of_memory


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cannot broadcast\nTraceback: ...", "cannot broadcast"),
        ("\n\x1b[31mloc: failed\x1b[0m", "loc: failed"),
        ("Exception encountered when calling Dense.call().\n\nbad shape", "bad shape"),
        ("no file '/data/jobs/7/model.keras' here", "no file '<path>' here"),
        ("not found: file:///data/jobs/7/model.keras", "not found: <path>"),
        ("node model/dense/MatMul: see https://keras.io/api/layers", None),
        (
            "Cannot.<unknown>:0: error: loc(callsite(fused[x@y])): 'tf.Mul' op is neither this nor",
            "Cannot. 'tf.Mul' op is neither this nor",
        ),
        ('Cannot do it.<unknown>:0: error: loc("x")', "Cannot do it."),
        ("", "ValueError"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_first_line_says_what_matters_without_paths(said: str, told: str | None) -> None:
    assert first_line(ValueError(said)) == (said if told is None else told)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("std::bad_alloc"), True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), True),
        (tf.errors.InvalidArgumentError(None, None, "bad"), False),
        (ValueError("out of memory, I say"), False),
    ],
)
def test_is_out_of_memory_goes_by_the_kind_of_error(error: Any, *, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
