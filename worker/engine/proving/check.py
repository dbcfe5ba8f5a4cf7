"""Whether a reloaded file computes what its model does."""

from collections.abc import Sequence

import keras
import numpy as np

from worker.engine.loading.splits import Array
from worker.engine.measuring.calling import call_in_order
from worker.engine.subject import Subject

ROWS = 32
# Float kernels of two runtimes differ in the order of their sums, float16 weights by 2^-11 each.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2}


def reference(model: keras.Model, subject: Subject) -> list[Array]:
    """The model's own outputs for the first rows, [rows, ...] each."""
    rows = next(subject.measured_batches(ROWS))
    first = [keras.ops.convert_to_tensor(array[:ROWS]) for array in rows.values()]
    return [np.asarray(output) for output in call_in_order(model, first)]


def complaint(variant: str, predictions: Sequence[Array], expected: Sequence[Array]) -> str | None:
    """What is wrong with a file's outputs, in words; null if nothing is.

    How far a quantized file is off is for accuracy and agreement to say, so only float files are
    compared by value. `expected` is empty where there is no model to compare with.
    """
    if not all(np.isfinite(output).all() for output in predictions):
        return "its outputs hold NaN or infinity"
    for given, wanted in zip(predictions, expected, strict=False):
        if given.shape[1:] != wanted.shape[1:]:
            return f"an output has shape {given.shape[1:]}; the model's has {wanted.shape[1:]}"
        if variant in TOLERANCE:
            distance = float(np.abs(given[: len(wanted)] - wanted).max())
            allowed = TOLERANCE[variant] * max(1.0, float(np.abs(wanted).max()))
            if distance > allowed:
                return f"its outputs are off by {distance:.3g}; at most {allowed:.3g} is rounding"
    return None
