"""Which values the tensors of a model take on a sample: a histogram of each."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import DataNotUsable, StepFailed
from worker.engine.measuring.calling import call_in_order
from worker.engine.quantizing.calibration.histogram import Histogram
from worker.engine.quantizing.points import Point, points_of
from worker.engine.quantizing.ranged import Elementwise, with_layers_at

Array = NDArray[Any]
RowsByInput = Mapping[str, Array]

# Ranges that follow batches see at least so many of them: most samples hold some hundred rows.
ROWS_AT_ONCE = 16
# Of all tensors of one batch together.
MOST_BYTES = 256 << 20


def observed(
    model: keras.Model, rows: RowsByInput, check_cancelled: Callable[[], None]
) -> dict[str, Histogram]:
    """A histogram for each group of points that has one range (`Point.group`).

    rows: the model's inputs in its order, [n, ...] each. model: without fake quantization.
    Raises: DataNotUsable for rows that are not finite or of another shape than the model takes;
    StepFailed naming the layer that makes NaN or infinity of them.
    """
    _check_rows(model, rows)
    points = points_of(model)
    counting = {point.name: _Counting(point) for point in points}
    watched = with_layers_at(model, counting)
    histograms = {point.group: Histogram() for point in points}
    for batch in _batches(rows, _rows_at_once(watched, rows)):
        check_cancelled()
        call_in_order(watched, [keras.ops.convert_to_tensor(array) for array in batch])
        for group, histogram in histograms.items():
            histogram.add(
                np.concatenate(
                    [one.taken() for one in counting.values() if one.point.group == group]
                )
            )
    return histograms


class _Counting(Elementwise):
    """Keeps what a point takes on in one batch."""

    def __init__(self, point: Point) -> None:
        super().__init__()
        self.point = point
        self._seen: list[Array] = []

    def call(self, tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            self._seen.append(keras.ops.convert_to_numpy(tensor).ravel())
        return tensor

    def taken(self) -> Array:
        """All of the batch, and forget it."""
        values = np.concatenate(self._seen)
        self._seen = []
        if not np.isfinite(values).all():
            raise StepFailed(
                f"layer {self.point.layer!r} gives NaN or infinity for rows of the calibration "
                "sample",
                hint="Such values have no range. Look at the scale of inputs and weights: a float "
                "model that overflows cannot be quantized.",
                layer=self.point.layer,
            )
        return values


def _check_rows(model: keras.Model, rows: RowsByInput) -> None:
    for (name, array), tensor in zip(rows.items(), model.inputs, strict=True):
        wanted = tuple(tensor.shape[1:])
        fits = len(wanted) == array.ndim - 1 and all(
            there is None or there == here
            for here, there in zip(array.shape[1:], wanted, strict=True)
        )
        if not fits:
            raise DataNotUsable(
                f"input {name!r} takes rows of shape {wanted}; calibration rows have shape "
                f"{array.shape[1:]}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataNotUsable(
                f"calibration rows of input {name!r} hold NaN or infinity",
                hint="Fill or drop such rows before the upload.",
            )


def _rows_at_once(model: keras.Model, rows: RowsByInput) -> int:
    given = sum(math.prod(array.shape[1:]) for array in rows.values())
    inside = sum(
        math.prod(axis or 1 for axis in tensor.shape[1:])
        for layer in model._flatten_layers()
        for node in layer._inbound_nodes
        for tensor in node.output_tensors
    )
    return max(1, min(ROWS_AT_ONCE, MOST_BYTES // (4 * max(1, given + inside))))


def _batches(rows: RowsByInput, size: int) -> Iterator[list[Array]]:
    count = len(next(iter(rows.values())))
    for start in range(0, count, size):
        yield [array[start : start + size] for array in rows.values()]
