"""Whether a reloaded file computes what its model does."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from app.errors import ExportFailed, ModelNotLoadable
from worker.engine.exporting.keras_file import write_keras
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.loading.saved_models import SavedModel
from worker.engine.loading.splits import Array
from worker.engine.measuring.calling import call_in_order
from worker.engine.subject import Subject

ROWS = 32
# What arrays of texts are to NumPy: objects.
TEXTS = "O"
# Float kernels of two runtimes differ in the order of their sums, float16 weights by 2^-11 each.
TOLERANCE = {"float32": 1e-3, "sparse": 1e-3, "int8_levels": 1e-3, "float16": 2e-2}


def reference(model: keras.Model, subject: Subject) -> list[Array]:
    """The model's own outputs for the first rows, [rows, ...] each.

    Every file is compared with them, so they are held against a copy saved and loaded first.
    Raises: ModelNotLoadable where it cannot be run; ExportFailed where the copy computes something
        else. Files of other kinds may agree with the model in memory, but nobody can tell which of
        the two is right.
    """
    rows = next(subject.measured_batches(ROWS))
    first = [keras.ops.convert_to_tensor(array[:ROWS]) for array in rows.values()]
    try:
        outputs = [np.asarray(output) for output in call_in_order(model, first)]
    except (tf.errors.OpError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise _not_runnable("model", error, subject) from error
    _check_numbers(outputs)
    reloaded = [np.asarray(output) for output in call_in_order(_reloaded(model), first)]
    problem = complaint("float32", reloaded, outputs) if _are_finite(outputs) else None
    if problem:
        raise ExportFailed(
            f"the model does not compute the same after it is saved and loaded: {problem}",
            hint="A layer keeps something that Keras does not save. Report this model.",
        )
    return outputs


def own_outputs(model: SavedModel, subject: Subject) -> list[Array]:
    """What a SavedModel makes of the first rows, [rows, ...] each.

    Raises: ModelNotLoadable where it cannot be run.
    """
    rows = [array[:ROWS] for array in next(subject.measured_batches(ROWS)).values()]
    size = 1 if model.has_one_row else ROWS
    starts = range(0, len(rows[0]), size)
    try:
        parts = [model.outputs_of([one[k : k + size] for one in rows]) for k in starts]
    except (tf.errors.OpError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise _not_runnable("SavedModel", error, subject) from error
    return [np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)]


def complaint(variant: str, predictions: Sequence[Array], expected: Sequence[Array]) -> str | None:
    """What is wrong with a file's outputs, in words; null if nothing is.

    How far a quantized file is off is for accuracy and agreement to say, so only float files are
    compared by value. `expected` is empty where there is no model to compare with.
    """
    if not _are_finite(predictions):
        return "its outputs hold NaN or infinity"
    for given, wanted in zip(predictions, expected, strict=False):
        if given.shape[1:] != wanted.shape[1:]:
            return f"an output has shape {given.shape[1:]}; the model's has {wanted.shape[1:]}"
        if variant in TOLERANCE:
            distance = float(np.abs(_wide(given[: len(wanted)]) - _wide(wanted)).max())
            allowed = TOLERANCE[variant] * max(1.0, float(np.abs(_wide(wanted)).max()))
            if distance > allowed:
                return f"its outputs are off by {distance:.3g}; at most {allowed:.3g} is rounding"
    return None


def _are_finite(outputs: Sequence[Array]) -> bool:
    return all(np.isfinite(output).all() for output in outputs)


def _wide(array: Array) -> Array:
    """As floats that hold what was computed: of truths and whole numbers there is no difference."""
    return array.astype(np.result_type(array.dtype, np.float64))


def _check_numbers(outputs: Sequence[Array]) -> None:
    """Layers that look up the word of a number give texts, and Keras does not say so before."""
    for index, output in enumerate(outputs):
        if output.dtype.kind == TEXTS:
            raise ModelNotLoadable(
                f"output {index} of the model gives texts; jobs compare numbers only",
                hint="Leave the layers that make texts out of the model, and do their part behind.",
            )


def _not_runnable(what: str, error: Exception, subject: Subject) -> ModelNotLoadable:
    """Why an uploaded model gives nothing for the first rows."""
    hint = "Check that it gives outputs for rows of this data set."
    if subject.data is None:
        hint = (
            "Its rows were made up for want of a data set, and may not be what it takes: give one."
        )
    return ModelNotLoadable(f"the {what} cannot be run: {first_line(error)}", hint=hint)


def _reloaded(model: keras.Model) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        write_keras(model, path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
