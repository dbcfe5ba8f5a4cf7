"""One kernel onto its grid: the grid, the integers, and what that costs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.recipes.steps.weight_quantization import WeightQuantization
from worker.engine.quantizing.levels import Grid
from worker.engine.quantizing.weights.granularity import as_blocks, block_counts, block_of, spread
from worker.engine.quantizing.weights.layouts import Layout
from worker.engine.quantizing.weights.moments import Moments, pieces
from worker.engine.quantizing.weights.ranges import Range, grid_of
from worker.engine.quantizing.weights.reconstruction import (
    Slots,
    corrected,
    output_error,
    reconstructed,
)
from worker.engine.quantizing.weights.rounding import nearest, stochastic
from worker.engine.surgery.kernels import Axes, Kernel

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Rounded:
    """Integers on a grid.

    `output_errors` is what adaptive rounding looked at: the relative error of the layer's output on
    calibration rows, as it is and with every weight rounded to nearest.
    """

    grid: Grid
    numbers: IntArray
    output_errors: tuple[float, float] | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        return self.grid.values(self.numbers)


def range_of(step: WeightQuantization) -> Range:
    return Range(step.range, step.num_bits, step.symmetric, step.percentile)


def grid_on(step: WeightQuantization, weight: FloatArray, input_axes: Axes) -> Grid:
    """The grid that the step's parameters give this kernel."""
    block = block_of(weight.shape, input_axes, step.granularity, step.group_size)
    scale, zero_point = grid_of(as_blocks(weight, block), range_of(step))
    counts = block_counts(weight.shape, block)
    return Grid(scale.reshape(counts), zero_point.reshape(counts), step.num_bits, block)


def whole_numbers(step: WeightQuantization, weight: FloatArray) -> Grid:
    """The grid of the whole numbers themselves: scale 1, zero point 0."""
    ones = (1,) * weight.ndim
    return Grid(np.ones(ones, np.float32), np.zeros(ones, np.int32), step.num_bits, weight.shape)


def rounded_alone(
    step: WeightQuantization, weight: FloatArray, grid: Grid, rng: np.random.Generator
) -> Rounded:
    """Each weight by itself: by chance where the step says so, else to the nearest value."""
    slots = _slots(step, grid, weight.shape)
    if step.rounding == "stochastic":
        numbers = stochastic(
            weight, slots.scale, slots.zero_point, slots.lowest, slots.highest, rng
        )
    else:
        numbers = nearest(weight, slots.scale, slots.zero_point, slots.lowest, slots.highest)
    return Rounded(grid, numbers)


def rounded_together(
    step: WeightQuantization, weight: FloatArray, grid: Grid, layout: Layout, moments: Moments
) -> Rounded:
    """So that the layer's output stays; to nearest where that does better on the same rows.

    What it aims at are the outputs that the layer had before earlier ones were quantized.
    """
    slots = _slots(step, grid, weight.shape)
    slots = Slots(
        layout.matrices(slots.scale), layout.matrices(slots.zero_point), slots.lowest, slots.highest
    )
    before = layout.matrices(weight).astype(np.float64)
    numbers = slots.nearest(before)
    errors, plain_errors, total = 0.0, 0.0, 0.0
    for number, piece in enumerate(pieces(layout.input_count)):
        second, at = moments.second[number], slots.at(piece)
        target = corrected(before[:, piece], second, moments.cross[number])
        found = reconstructed(target, second, at, before[:, piece] == 0)
        plain = output_error(target - at.values(numbers[:, piece]), second)
        error = output_error(target - at.values(found), second)
        if error < plain:
            numbers[:, piece] = found
        errors += min(error, plain)
        plain_errors += plain
        total += output_error(target, second)
    relative = (_share(errors, total), _share(plain_errors, total))
    return Rounded(grid, layout.kernel(numbers, weight.shape), relative)


def facts_of(kernel: Kernel, weight: FloatArray, rounded: Rounded) -> dict[str, Any]:
    """What became of one kernel, as plain JSON. Scales are counted beside the integers."""
    grid, values = rounded.grid, rounded.values
    error = float(np.square(weight.astype(np.float64) - values).sum())
    power = float(np.square(weight.astype(np.float64)).sum())
    has_offsets = bool(grid.zero_point.any())
    facts: dict[str, Any] = {
        "layer": kernel.layer_name,
        "weights": kernel.size,
        "num_bits": grid.num_bits,
        "block": list(grid.block),
        "scales": grid.scale.size,
        "smallest_scale": float(grid.scale.min()),
        "largest_scale": float(grid.scale.max()),
        "mean_squared_error": error / kernel.size,
        "sqnr_db": 10 * float(np.log10(power / error)) if error > 0 and power > 0 else None,
        "changed_weights": float(np.mean(values != weight)),
        "zero_weights": float(np.mean(values == 0)),
        "integer_bytes": -(-kernel.size * grid.num_bits // 8),
        "scale_bytes": grid.scale.nbytes + (grid.scale.size if has_offsets else 0),
    }
    if rounded.output_errors:
        facts["output_error"], facts["output_error_of_nearest"] = rounded.output_errors
    return facts


def _slots(step: WeightQuantization, grid: Grid, shape: tuple[int, ...]) -> Slots:
    chosen = range_of(step)
    return Slots(
        spread(grid.scale, grid.block, shape),
        spread(grid.zero_point, grid.block, shape),
        chosen.lowest,
        chosen.highest,
    )


def _share(error: float, total: float) -> float:
    """Of root mean squares."""
    return float(np.sqrt(error / total)) if total > 0 else 0.0
