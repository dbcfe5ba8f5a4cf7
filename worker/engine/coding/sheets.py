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
    DAMAGED,
    FAST_SET,
    GIVEN,
    REFINEMENT,
    SLOW_SET,
    ByteArray,
    IntArray,
    Settings,
    code_flag,
)
from worker.engine.coding.compiled import Whole, compiled
from worker.engine.coding.numbers import MOST_NUMBER, code_size
from worker.engine.coding.questions import (
    ALIVE,
    COLUMN_SET,
    COLUMNS,
    FAR_STRIDE,
    LARGE,
    NONZERO,
    ORIGIN,
    PITCH,
    ROW_SET,
    ROWS,
    SEEN,
    SIGNS,
    SIZES,
    STRIDE,
    TALLIES,
    ask_sign,
    ask_size,
    ask_zero,
    mean_size,
    next_size,
)

SETTINGS = Settings(
    slots=4096,
    weight=190_000,
    fast_rate=800,
    slow_rate=200,
    most_uses=250,
    refined_quarters=1,
    refinement_shift=6,
)
MOST_UNARY = 20
MARGIN = 4


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
            layout=np.array([rows, columns, *strides, pitch, origin], np.int64),
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
def code_alive(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    layout: IntArray,
    alive: IntArray,
    hints: IntArray,
) -> None:
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
def code_rows(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    numbers: NDArray[np.int32],
    layout: IntArray,
    alive: IntArray,
    hints: IntArray,
    tallies: IntArray,
    first: Whole,
    last: Whole,
) -> None:
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
def code_number(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    numbers: NDArray[np.int32],
    layout: IntArray,
    tallies: IntArray,
    at: Whole,
    column: Whole,
    hint: Whole,
) -> Whole:
    """One number, at most `MOST_NUMBER` from 0. Returns it; notes one that is further."""
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
        more = code_size(registers, code, memory, np.int64(LARGE), abs(number) - MOST_UNARY)
        if more > MOST_NUMBER - MOST_UNARY:
            registers[DAMAGED] = 1
            more = np.int64(0)
        size += more
    return size if is_positive != 0 else -size
