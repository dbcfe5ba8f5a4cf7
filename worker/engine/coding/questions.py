"""What a number of a matrix is predicted from: how full its row and column are, its neighbours.

A question sets the contexts and inputs of the next bit in the mixer's memory (coder.py).
"""

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.coder import (
    ASKED,
    CONTEXT,
    FAST_SET,
    GIVEN,
    INPUT,
    REFINEMENT,
    SLOW_SET,
    STRETCH,
    IntArray,
)
from worker.engine.coding.compiled import Whole, compiled

# Where the slots of each question begin.
ALIVE, ZERO, SIGN, SIZE, LARGE = 0, 512, 2048, 2560, 3840
# Their weights and refinements: `ZERO` has one for each density or neighbourhood.
NEIGHBOURHOOD, SIGN_SET, SIZE_SET, SIZE_SLOW_SET, ROW_SET, COLUMN_SET = 16, 40, 42, 50, 60, 61
# Tallies of a column, of the row at hand, of the whole.
NONZERO, SEEN, SIZES, SIGNS, TALLIES = range(5)
# The layout: the matrix, the strides between rows that are neighbours, where numbers lie.
ROWS, COLUMNS, STRIDE, FAR_STRIDE, PITCH, ORIGIN = range(6)


@compiled
def size_at(numbers: NDArray[np.int32], at: Whole) -> Whole:
    """In 64 bits: the least number of 32 bits has no opposite among them."""
    return abs(np.int64(numbers[at]))


@compiled
def ask_zero(
    memory: IntArray,
    numbers: NDArray[np.int32],
    layout: IntArray,
    tallies: IntArray,
    at: Whole,
    column: Whole,
    hint: Whole,
) -> None:
    """Set up the question whether a number is other than 0."""
    up = layout[STRIDE] * layout[PITCH]
    far = layout[FAR_STRIDE] * layout[PITCH]
    above = np.int64(numbers[at - up] != 0) + 2 * np.int64(numbers[at - far] != 0)
    corners = np.int64(numbers[at - far - up] != 0)
    corners += 2 * np.int64(numbers[at - (far - up if far > up else 2 * up)] != 0)
    wide = (above & 1) * 2 + (above & 2) + (corners & 1) + (corners >> 1)
    wide += np.int64(numbers[at - 2 * up] != 0) + np.int64(numbers[at - 2 * far] != 0)
    before = np.int64(numbers[at - 1] != 0) + 2 * np.int64(numbers[at - 2] != 0)
    before += 4 * np.int64(numbers[at - 3] != 0)
    row = layout[COLUMNS] * TALLIES
    by_row, by_column = density(tallies, row), density(tallies, column)
    memory[CONTEXT] = ZERO
    memory[CONTEXT + 1] = ZERO + 1 + by_row * 16 + by_column
    memory[CONTEXT + 2] = ZERO + 257 + (corners * 4 + above) * 8 + before
    few = min(size_at(numbers, at - up), 2) * 3 + min(size_at(numbers, at - far), 2)
    memory[CONTEXT + 3] = ZERO + 385 + few * 3 + min(size_at(numbers, at - 1), 2)
    memory[CONTEXT + 4] = ZERO + 412 + wide * 16 + by_column
    memory[CONTEXT + 5] = ZERO + 556 + before * 16 + by_row
    memory[CONTEXT + 6] = ZERO + 684 + hint * 13 + by_column
    overall = share(tallies[row + TALLIES] + 1, tallies[row + TALLIES + SEEN] + 4, 0, 0)
    in_row = memory[STRETCH + share(tallies[row], tallies[row + SEEN], overall, 6)]
    in_column = memory[STRETCH + share(tallies[column], tallies[column + SEEN], overall, 6)]
    memory[INPUT + 7] = in_row
    memory[INPUT + 8] = in_column
    memory[INPUT + 9] = in_row + in_column - memory[STRETCH + overall]
    memory[INPUT + 10] = 256
    memory[ASKED], memory[GIVEN] = 7, 4
    memory[FAST_SET], memory[SLOW_SET] = by_column, NEIGHBOURHOOD + wide
    memory[REFINEMENT] = by_column


@compiled
def ask_sign(
    memory: IntArray,
    numbers: NDArray[np.int32],
    layout: IntArray,
    tallies: IntArray,
    at: Whole,
    column: Whole,
) -> None:
    """Set up the question whether a number is positive."""
    up, far = layout[STRIDE] * layout[PITCH], layout[FAR_STRIDE] * layout[PITCH]
    row = layout[COLUMNS] * TALLIES
    around = np.int64(0)
    for back in (up, far, far + up, far - up if far > up else 2 * up, 1, 2):
        near = numbers[at - back]
        around = around * 3 + (0 if near == 0 else (1 if near > 0 else 2))
    above = around // 9
    leaning = min(max(tallies[column + SIGNS], -4), 4) * 9 + min(max(tallies[row + SIGNS], -4), 4)
    memory[CONTEXT] = SIGN + above // 9
    memory[CONTEXT + 1] = SIGN + 9 + around % 9
    memory[CONTEXT + 2] = SIGN + 18 + above
    memory[CONTEXT + 3] = SIGN + 140 + leaning
    memory[CONTEXT + 4] = SIGN + 200
    for k, tally in ((5, column), (6, row)):
        count = tallies[tally]
        positive = (count + tallies[tally + SIGNS]) >> 1
        memory[INPUT + k] = memory[STRETCH + share(positive, count, 1 << 15, 3)]
    memory[INPUT + 7] = 256
    memory[ASKED], memory[GIVEN] = 5, 3
    memory[FAST_SET], memory[SLOW_SET], memory[REFINEMENT] = SIGN_SET, SIGN_SET + 1, SIGN_SET


@compiled
def ask_size(
    memory: IntArray,
    numbers: NDArray[np.int32],
    layout: IntArray,
    at: Whole,
    by_column: Whole,
    by_row: Whole,
    hint: Whole,
) -> None:
    """Set up the question whether a size is more than 1."""
    up, far = layout[STRIDE] * layout[PITCH], layout[FAR_STRIDE] * layout[PITCH]
    above = min(size_at(numbers, at - up), 3) * 4 + min(size_at(numbers, at - far), 3)
    before = min(size_at(numbers, at - 1), 3) * 4 + min(size_at(numbers, at - 2), 3)
    memory[CONTEXT] = SIZE
    memory[CONTEXT + 1] = SIZE + 16 + above
    memory[CONTEXT + 2] = SIZE + 208 + before
    memory[CONTEXT + 3] = SIZE + 400 + by_column
    memory[CONTEXT + 4] = SIZE + 592 + by_row
    memory[CONTEXT + 5] = SIZE + 784 + min(by_column, 7) // 2 * 4 + min(by_row, 7) // 2
    memory[CONTEXT + 6] = SIZE + 976 + hint % 8
    memory[INPUT + 7] = 256
    memory[ASKED], memory[GIVEN] = 7, 1
    memory[FAST_SET], memory[SLOW_SET], memory[REFINEMENT] = SIZE_SET, SIZE_SLOW_SET, SIZE_SET


@compiled
def next_size(memory: IntArray) -> None:
    """Move on to the question whether it is one more than the last."""
    memory[CONTEXT] += 1
    for k in range(1, 7):
        memory[CONTEXT + k] += 16
    if memory[FAST_SET] < SIZE_SET + 5:
        memory[FAST_SET] += 1
        memory[SLOW_SET] += 1
        memory[REFINEMENT] += 1


@compiled
def share(part: Whole, whole: Whole, prior: Whole, weight: Whole) -> Whole:
    """A 16-bit share, drawn towards `prior` as if `weight` more had been seen."""
    return min(max(((part << 16) + weight * prior) // (whole + weight), 1), 65535)


@compiled
def density(tallies: IntArray, tally: Whole) -> Whole:
    """How full it is so far, in [0, 13): unknown, empty for longer and longer, then fuller."""
    seen = tallies[tally + SEEN]
    if tallies[tally] == 0:
        return np.int64(seen > 0) + (seen > 3) + (seen > 15) + (seen > 63)
    filled = tallies[tally] * 256 // seen
    level = np.int64(5)
    while filled > 1 and level < 12:
        filled >>= 1
        level += 1
    return level


@compiled
def mean_size(tallies: IntArray, tally: Whole) -> Whole:
    """Of what is not zero, in [0, 16)."""
    if tallies[tally] == 0:
        return np.int64(0)
    return min(max(tallies[tally + SIZES] * 4 // tallies[tally] - 3, 0), 15)
