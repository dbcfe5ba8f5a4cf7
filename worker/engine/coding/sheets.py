"""Whole numbers of a matrix, one after another: zero or not, sign, size; from what lies around.

Most numbers of a pruned or entropy-trained kernel are 0, and which are not follows from how full
their row and column are and from neighbours: the pixels beside and above of the same unit. Rows
and columns that are all zero are told beforehand and skipped.
"""

from dataclasses import dataclass
from typing import Self

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
    Settings,
    code_flag,
)
from worker.engine.coding.compiled import compiled
from worker.engine.coding.numbers import code_size

# Where the slots of each question begin.
ALIVE, ZERO, SIGN, SIZE, LARGE = 0, 512, 2048, 2560, 3840
SETTINGS = Settings(
    slots=4096,
    weight=190_000,
    fast_rate=800,
    slow_rate=200,
    most_uses=250,
    refined_quarters=1,
    refinement_shift=6,
)
# Their weights and refinements: `ZERO` has one for each density or neighbourhood.
NEIGHBOURHOOD, SIGN_SET, SIZE_SET, SIZE_SLOW_SET, ROW_SET, COLUMN_SET = 16, 40, 42, 50, 60, 61
# Tallies of a column, of the row at hand, of the whole.
NONZERO, SEEN, SIZES, SIGNS, TALLIES = range(5)
MOST_UNARY = 20
MARGIN = 4
# The layout: the matrix, the strides between rows that are neighbours, where numbers lie.
ROWS, COLUMNS, STRIDE, FAR_STRIDE, PITCH, ORIGIN, TALLY_AT, HINT_AT = range(8)


@dataclass(frozen=True)
class Sheet:
    """A matrix on its way through the coder.

    numbers: flat, with rows of zeros above and `MARGIN` zeros before each row.
    alive: rows, then columns: 1 where not all is zero. hints: alike, in [0, 8): what earlier
        tensors tell about them; 0 where nothing is known.
    tallies: of every column, of the row at hand, of the whole.
    """

    numbers: NDArray[np.int32]
    layout: IntArray
    alive: IntArray
    hints: IntArray
    tallies: IntArray

    @classmethod
    def blank(cls, shape: tuple[int, int], strides: tuple[int, int], hints: IntArray) -> Self:
        """All zeros; `strides`: near and far, at least 1."""
        rows, columns = shape
        pitch, above = columns + MARGIN, 2 * max(strides)
        origin = above * pitch + MARGIN
        return cls(
            numbers=np.zeros((above + rows) * pitch, np.int32),
            layout=np.array([rows, columns, *strides, pitch, origin, 0, 0], np.int64),
            alive=np.ones(rows + columns, np.int64),
            hints=hints,
            tallies=np.zeros((columns + 2) * TALLIES, np.int64),
        )

    def fill(self, matrix: NDArray[np.int32]) -> None:
        """Put numbers in place: [rows, columns]."""
        self.matrix[:] = matrix
        if len(matrix) > 1:
            self.alive[:] = np.concatenate([matrix.any(axis=1), matrix.any(axis=0)])

    @property
    def matrix(self) -> NDArray[np.int32]:
        """The numbers without margins, as a view: [rows, columns]."""
        rows, columns, pitch = (int(self.layout[k]) for k in (ROWS, COLUMNS, PITCH))
        return self.numbers.reshape(-1, pitch)[-rows:, MARGIN : MARGIN + columns]


@compiled
def code_alive(registers, code, memory, layout, alive, hints):  # type: ignore[no-untyped-def]
    """Tell which rows, then which columns are not all zero."""
    rows = layout[ROWS]
    near, far, own = layout[STRIDE], layout[FAR_STRIDE], np.int64(ROW_SET)
    start = np.int64(0)
    for at in range(alive.size):
        if at == rows:
            near, far, own, start = np.int64(1), np.int64(2), np.int64(COLUMN_SET), rows
        slot = ALIVE + (own - ROW_SET) * 256
        known = np.int64(0)
        for back in (near, far, far - near, far + near):
            place = at - back
            known = known * 3 + (alive[place] if back > 0 and place >= start else 2)
        memory[CONTEXT] = slot + hints[at]
        memory[CONTEXT + 1] = slot + 8 + known
        memory[CONTEXT + 2] = slot + 96 + known // 9 * 8 + hints[at]
        memory[ASKED], memory[GIVEN] = 3, 0
        memory[FAST_SET], memory[SLOW_SET], memory[REFINEMENT] = own, own, own
        alive[at] = code_flag(registers, code, memory, alive[at])


@compiled
def code_rows(registers, code, memory, numbers, layout, alive, hints, tallies, first, last):
    # type: (...) -> None
    """Code the numbers of the rows from `first` up to `last`."""
    rows, columns = layout[ROWS], layout[COLUMNS]
    own = columns * TALLIES
    for r in range(first, last):
        tallies[own : own + TALLIES] = 0
        for c in range(columns * alive[r]):
            if alive[rows + c] == 0:
                continue
            at = layout[ORIGIN] + r * layout[PITCH] + c
            hint = hints[rows + c] * 8 + hints[r]
            number = code_number(
                registers, code, memory, numbers, layout, tallies, at, c * TALLIES, hint
            )
            numbers[at] = number
            for tally in (c * TALLIES, own, own + TALLIES):
                tallies[tally + SEEN] += 1
                tallies[tally + NONZERO] += number != 0
                tallies[tally + SIZES] += abs(number)
                tallies[tally + SIGNS] += (number > 0) - (number < 0)


@compiled
def code_number(registers, code, memory, numbers, layout, tallies, at, column, hint):
    # type: (...) -> int
    """One number. Returns it."""
    row = layout[COLUMNS] * TALLIES
    ask_zero(memory, numbers, layout, tallies, at, column, hint)
    number = np.int64(numbers[at])
    if code_flag(registers, code, memory, np.int64(number != 0)) == 0:
        return np.int64(0)
    ask_sign(memory, numbers, layout, tallies, at, column)
    is_positive = code_flag(registers, code, memory, np.int64(number > 0))
    size = np.int64(1)
    ask_size(memory, numbers, layout, at, mean_size(tallies, column), mean_size(tallies, row), hint)
    while size < MOST_UNARY:
        if code_flag(registers, code, memory, np.int64(abs(number) > size)) == 0:
            break
        size += 1
        if size < 12:
            next_size(memory)
    if size == MOST_UNARY:
        size += code_size(registers, code, memory, np.int64(LARGE), abs(number) - MOST_UNARY)
    return size if is_positive != 0 else -size


@compiled
def ask_zero(memory, numbers, layout, tallies, at, column, hint):  # type: ignore[no-untyped-def]
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
    few = min(abs(numbers[at - up]), 2) * 3 + min(abs(numbers[at - far]), 2)
    memory[CONTEXT + 3] = ZERO + 385 + few * 3 + min(abs(numbers[at - 1]), 2)
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
def ask_sign(memory, numbers, layout, tallies, at, column):  # type: ignore[no-untyped-def]
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
def ask_size(memory, numbers, layout, at, by_column, by_row, hint):  # type: ignore[no-untyped-def]
    """Set up the question whether a size is more than 1."""
    up, far = layout[STRIDE] * layout[PITCH], layout[FAR_STRIDE] * layout[PITCH]
    above = min(abs(numbers[at - up]), 3) * 4 + min(abs(numbers[at - far]), 3)
    before = min(abs(numbers[at - 1]), 3) * 4 + min(abs(numbers[at - 2]), 3)
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
def next_size(memory):  # type: ignore[no-untyped-def]
    """Move on to the question whether it is one more than the last."""
    memory[CONTEXT] += 1
    for k in range(1, 7):
        memory[CONTEXT + k] += 16
    if memory[FAST_SET] < SIZE_SET + 5:
        memory[FAST_SET] += 1
        memory[SLOW_SET] += 1
        memory[REFINEMENT] += 1


@compiled
def share(part, whole, prior, weight):  # type: ignore[no-untyped-def]
    """A 16-bit share, drawn towards `prior` as if `weight` more had been seen."""
    return min(max(((part << 16) + weight * prior) // (whole + weight), 1), 65535)


@compiled
def density(tallies, tally):  # type: ignore[no-untyped-def]
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
def mean_size(tallies, tally):  # type: ignore[no-untyped-def]
    """Of what is not zero, in [0, 16)."""
    if tallies[tally] == 0:
        return np.int64(0)
    return min(max(tallies[tally + SIZES] * 4 // tallies[tally] - 3, 0), 15)
