"""Adaptive rounding: each layer's output stays as it was on calibration rows.

GPTQ (Frantar et al. 2022, arXiv:2210.17323), then descent along one weight at a time (QuantEase:
Behdin et al. 2023, arXiv:2309.01885).

Weights are [groups, inputs, outputs]: one matrix for each group of outputs that sees the same
inputs. A second moment is the sum over samples of x x^T, [groups or 1, inputs, inputs].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.quantizing.weights.rounding import nearest

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

# Added to the diagonal, as a share of its mean. With the 0.01 of GPTQ's paper small nets at 2 bits
# did worse on rows that were not looked at than with rounding to nearest.
DAMPING = 0.1
# Inputs after which what they owe is handed on to all others (GPTQ, section 3.3, step 2).
LAZY_COLUMNS = 128
SWEEPS = 3


@dataclass(frozen=True, eq=False)
class Slots:
    """The grid of a kernel, one entry a weight, [groups, inputs, outputs]."""

    scale: FloatArray
    zero_point: IntArray
    lowest: int
    highest: int

    def nearest(self, weights: FloatArray) -> NDArray[np.int32]:
        return nearest(weights, self.scale, self.zero_point, self.lowest, self.highest)

    def values(self, numbers: IntArray) -> FloatArray:
        values: FloatArray = self.scale.astype(np.float64) * (numbers - self.zero_point)
        return values

    def at(self, inputs: Any) -> "Slots":
        return Slots(self.scale[:, inputs], self.zero_point[:, inputs], self.lowest, self.highest)


def damped(moments: FloatArray) -> FloatArray:
    """Moments that can be inverted: the diagonal is raised; by 1 where nothing was ever seen."""
    diagonal = np.diagonal(moments, axis1=-2, axis2=-1)
    mean = diagonal.mean(axis=-1)
    added = np.where(mean > 0, DAMPING * mean, 1.0)
    held: FloatArray = moments + added[:, np.newaxis, np.newaxis] * np.eye(moments.shape[-1])
    return held


def corrected(weights: FloatArray, moments: FloatArray, cross: FloatArray) -> FloatArray:
    """Weights that make the most of inputs which earlier layers have changed already.

    The least squares of sum |W^T x - V^T x~|^2 over V, from W on: V = W + H^-1 C W with
    H = sum x~ x~^T, damped, and C = sum x~ (x - x~)^T. With it the reconstruction is that of the
    output of the unquantized model (asymmetric: Nagel et al. 2020, arXiv:2004.10568, equation 25).
    """
    found: FloatArray = weights + np.linalg.solve(damped(moments), cross @ weights)
    return found


def reconstructed(
    weights: FloatArray, moments: FloatArray, slots: Slots, is_zero: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Integers that keep the sum of |W^T x - Q^T x|^2 small, on a diagonal that is raised.

    GPTQ, algorithm 1: input after input is rounded for all outputs; the error, weighed by the
    inverse of the moments, goes onto the inputs that are still to come. The largest inputs are
    rounded first, when most others can make good for them. `is_zero` marks weights that must be 0:
    theirs is handed on too (Frantar & Alistarh 2023, arXiv:2301.00774). Then each in turn takes the
    integer that is best with all others as they are (QuantEase). An input that was never seen keeps
    its weights, rounded to nearest: rows to come may show it.
    """
    order = np.argsort(-np.diagonal(moments, axis1=-2, axis2=-1).sum(axis=0), kind="stable")
    held = damped(moments)
    numbers = np.empty(weights.shape, np.int32)
    numbers[:, order] = _in_order(
        weights[:, order],
        held[:, order[:, np.newaxis], order],
        slots.at(order),
        is_zero[:, order],
    )
    for _ in range(SWEEPS):
        if not _descend(numbers, weights, held, slots, is_zero):
            break
    return numbers


def _in_order(
    weights: FloatArray, moments: FloatArray, slots: Slots, is_zero: NDArray[np.bool_]
) -> NDArray[np.int32]:
    left = weights.astype(np.float64)
    # Its lower Cholesky factor L: L[j:, j] / L[j, j] is what input j owes those behind it.
    factor = np.linalg.cholesky(np.linalg.inv(moments))
    numbers = np.empty(weights.shape, np.int32)
    for start in range(0, weights.shape[1], LAZY_COLUMNS):
        end = min(start + LAZY_COLUMNS, weights.shape[1])
        errors = np.empty((weights.shape[0], end - start, weights.shape[2]))
        for column in range(start, end):
            one = slots.at(column)
            rounded = np.where(is_zero[:, column], one.zero_point, one.nearest(left[:, column]))
            numbers[:, column] = rounded
            error = (left[:, column] - one.values(rounded)) / factor[:, column, column, np.newaxis]
            behind = factor[:, column + 1 : end, column, np.newaxis]
            left[:, column + 1 : end] -= behind * error[:, np.newaxis]
            errors[:, column - start] = error
        left[:, end:] -= factor[:, end:, start:end] @ errors
    return numbers


def _descend(
    numbers: IntArray,
    weights: FloatArray,
    moments: FloatArray,
    slots: Slots,
    is_zero: NDArray[np.bool_],
) -> bool:
    """One sweep over all inputs, in place; whether any integer changed.

    The best real value of an input's weights is q + (H (w - q))_j / H_jj: the error of a grid of
    evenly spaced values is least at the one nearest to it.
    """
    values = slots.values(numbers)
    owed = moments @ (weights - values)
    is_changed = False
    for start in range(0, weights.shape[1], LAZY_COLUMNS):
        block = slice(start, min(start + LAZY_COLUMNS, weights.shape[1]))
        before = values[:, block].copy()
        within = owed[:, block].copy()
        for column in range(block.start, block.stop):
            one, row = slots.at(column), column - start
            step = within[:, row] / moments[:, column, column, np.newaxis]
            found = one.nearest(values[:, column] + step)
            numbers[:, column] = np.where(is_zero[:, column], one.zero_point, found)
            moved = one.values(numbers[:, column]) - values[:, column]
            within -= moments[:, block, column, np.newaxis] * moved[:, np.newaxis]
            values[:, column] += moved
        moved = values[:, block] - before
        owed -= moments[:, :, block] @ moved
        is_changed = is_changed or bool(moved.any())
    return is_changed


def output_error(difference: FloatArray, moments: FloatArray) -> float:
    """The sum of |D^T x|^2 = tr(D^T H D) over groups and outputs; D: [groups, inputs, outputs]."""
    return max(0.0, float(np.sum(difference * (moments @ difference))))
