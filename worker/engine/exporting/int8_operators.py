"""How friendly a model is to integers: the operators of a real int8 file of it."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from app.errors import ExportFailed, StepFailed
from worker.engine.context import StepContext
from worker.engine.exporting.calibration import calibration_rows
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_full_integer
from worker.engine.measuring.tflite_file import read_tflite

# Which operators a file has does not depend on how well its ranges were read.
ROWS = 8


@dataclass(frozen=True)
class Int8Operators:
    """Of one int8 file: all operators, and those that compute in float all the same.

    `obstacle` says why there is no such file.
    """

    total: int | None
    in_float: dict[str, int]
    obstacle: str | None

    def facts(self) -> dict[str, Any]:
        return {
            "operators": self.total,
            "float_operators": self.in_float,
            "obstacle": self.obstacle,
        }


def int8_operators(model: keras.Model, context: StepContext) -> Int8Operators:
    """Convert the model with a few rows of the training data and read the file back."""
    if context.data is None:
        return _none("there are no rows to calibrate with")
    with tempfile.TemporaryDirectory(dir=context.scratch) as folder:
        source = KerasSource(model, Path(folder), context.row_shapes)
        if source.is_recurrent:
            return _none("recurrent layers cannot be calibrated")
        try:
            content = convert_full_integer(
                source.saved_model_for_tflite(),
                calibration_rows(source, context, ROWS),
                activation_bits=8,
                io="float",
            )
        except (ExportFailed, StepFailed) as error:
            return _none(error.detail)
    file = read_tflite(content)
    in_float = Counter(operator.name for operator in file.float_operators)
    return Int8Operators(len(file.operators), dict(in_float), None)


def _none(obstacle: str) -> Int8Operators:
    return Int8Operators(None, {}, obstacle)
