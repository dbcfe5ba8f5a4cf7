"""The calibration rows, cut into batches, no more than memory has room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from worker.engine.context import DEFAULT_VALIDATION_FRACTION, StepContext
from worker.engine.quantizing.weights.calls import Batches, calls

BATCH_SIZE = 32
# For the tensors between two layers, of all rows at once.
BUDGET_BYTES = 512 << 20
# Inputs and outputs of a layer, in the model as it was and as it is.
COPIES = 4


@dataclass(frozen=True)
class CalibrationRows:
    """Inputs in the model's order, each in batches of the same rows; `warnings` for the report."""

    inputs: Sequence[Batches]
    count: int
    warnings: tuple[str, ...]


def calibration_rows(model: keras.Model, context: StepContext, asked: int) -> CalibrationRows:
    """A seeded sample of the training rows, none of those that steps are judged on.

    Raises: ValueError if there is no data; the recipe was checked for that.
    """
    rows, _ = context.divided(DEFAULT_VALIDATION_FRACTION)
    one = list(rows.take(1).values())
    widest = max(
        sum(int(np.asarray(tensor).nbytes) for tensor in call.given[0])
        for call in calls(model, [[values] for values in one])
    )
    room = max(1, BUDGET_BYTES // max(1, COPIES * widest))
    sample = list(rows.sample(min(asked, room), seed=context.seed).values())
    warning = (
        f"Weights were calibrated on {room} rows, not on {asked}: what lies between the layers "
        f"would take more than {BUDGET_BYTES >> 20} MiB of memory."
    )
    warnings = (warning,) if room < min(asked, len(rows)) else ()
    return CalibrationRows([_batches(values) for values in sample], len(sample[0]), warnings)


def _batches(values: NDArray[Any]) -> list[NDArray[Any]]:
    return [values[start : start + BATCH_SIZE] for start in range(0, len(values), BATCH_SIZE)]
