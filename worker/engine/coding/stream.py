"""One arithmetic code with all that was learned so far: written and read by the same calls."""

from collections.abc import Callable
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding import planes, sheets
from worker.engine.coding.coder import (
    DAMAGED,
    MOST_OVERRUN,
    OVERRUN,
    POSITION,
    REGISTER_BITS,
    ByteArray,
    IntArray,
    Settings,
    finished,
    fresh_memory,
    reading_registers,
    writing_registers,
)
from worker.engine.coding.errors import PackedFileDamaged
from worker.engine.coding.numbers import FIELD_SLOTS, MOST_NUMBER, code_bits, code_size
from worker.engine.coding.planes import code_plane
from worker.engine.coding.sheets import Sheet, code_alive, code_rows

# So many numbers go through a compiled loop at a time; between them a job can be cancelled.
PART = 1 << 16
# No number takes more bytes than this, whatever was predicted.
MOST_BYTES_A_NUMBER = 160
ROOM = 1 << 12
NOT_WRITTEN = "Penjing writes no such file: it was changed, or made by something else."


class Field(IntEnum):
    """Single numbers of the format; each is predicted from its own earlier values."""

    TEXT_LENGTH = 0
    FORM = 1
    CODER = 2
    ORIENTATION = 3
    STRIDE = 4
    FAR_STRIDE = 5
    EDGE = 6
    EXPONENT = 7
    MANTISSA_BITS = 8
    NEGATIVE = 9
    NEGATIVE_ZEROS = 10
    PALETTE_AXIS = 11
    PALETTE_LENGTH = 12
    BELOW_ZERO = 13
    PLANE_MODE = 14
    PLANES = 15


FIELDS = Settings(
    slots=FIELD_SLOTS * len(Field),
    weight=0,
    fast_rate=0,
    slow_rate=0,
    most_uses=30,
    refined_quarters=0,
    refinement_shift=0,
)


class Stream:
    """What is being written or read. `check` is called often, to raise where a job was cancelled.

    hints: of the columns of the last matrix, in [0, 8): how full they were.
    """

    def __init__(self, registers: IntArray, code: ByteArray, check: Callable[[], None]) -> None:
        self.registers = registers
        self.code = code
        self.check = check
        self.hints: IntArray = np.zeros(0, np.int64)
        self._sheets = fresh_memory(sheets.SETTINGS)
        self._fields = fresh_memory(FIELDS)
        self._planes: dict[int, IntArray] = {}

    @classmethod
    def writing(cls, check: Callable[[], None]) -> Self:
        return cls(writing_registers(), np.zeros(ROOM, np.uint8), check)

    @classmethod
    def reading(cls, code: bytes, check: Callable[[], None]) -> Self:
        content = np.frombuffer(bytearray(code), np.uint8)
        return cls(reading_registers(content), content, check)

    @property
    def is_reading(self) -> bool:
        return bool(self.registers[4])

    @property
    def position(self) -> int:
        """How many bytes are settled."""
        return int(self.registers[POSITION])

    def fork(self) -> "Stream":
        """A copy to try something on; what is written to it is forgotten with it."""
        copy = Stream.writing(self.check)
        copy.registers[:] = self.registers
        copy.registers[POSITION] = 0
        copy.hints = self.hints
        copy._sheets[:] = self._sheets
        copy._fields[:] = self._fields
        copy._planes = {key: memory.copy() for key, memory in self._planes.items()}
        return copy

    def finish(self) -> bytes:
        return finished(self.registers, self.code)

    def check_used_up(self) -> None:
        """After all was read: the code is exactly what a writer of the same would have left.

        Raises: PackedFileDamaged.
        """
        registers = self.registers.copy()
        registers[POSITION] -= REGISTER_BITS // 8
        code = self.code.tobytes()
        settled = np.frombuffer(code.ljust(int(registers[POSITION]), b"\0"), np.uint8)
        if finished(registers, settled) != code:
            raise PackedFileDamaged(
                f"the code has {len(code)} bytes, but does not end where the model does",
                hint=NOT_WRITTEN,
            )

    def make_room(self, size_bytes: int) -> None:
        """Before something is written; reads are checked for having an end."""
        if self.is_reading:
            self._check_end()
            return
        needed = self.position + size_bytes + ROOM
        if needed > self.code.size:
            self.code = np.concatenate([self.code, np.zeros(needed, np.uint8)])

    def number(self, field: Field, value: int, most: int) -> int:
        """A whole number from 0 to `most`; when reading, `value` is not looked at.

        Raises: PackedFileDamaged where a larger one is read.
        """
        self.make_room(MOST_BYTES_A_NUMBER)
        coded = int(code_size(self.registers, self.code, self._fields, field * FIELD_SLOTS, value))
        if self.is_reading and coded > most:
            name = field.name.lower().replace("_", " ")
            raise PackedFileDamaged(
                f"the field {name!r} is {coded}; here it is at most {most}", hint=NOT_WRITTEN
            )
        return coded

    def bits(self, values: IntArray, count: int) -> IntArray:
        """The lowest bits of every value, as they are; in place."""
        for start in range(0, values.size, PART):
            self.check()
            part = values[start : start + PART]
            self.make_room(part.size * 8)
            code_bits(self.registers, self.code, part, count)
        return values

    def plane(self, plane: ByteArray, width: int, mode: int, key: int) -> None:
        """A flat plane of bytes, in place; planes of one key share what they learned."""
        memory = self._planes.setdefault(key, fresh_memory(planes.SETTINGS))
        for start in range(0, plane.size, PART):
            self.check()
            stop = min(start + PART, plane.size)
            self.make_room((stop - start) * 16)
            code_plane(self.registers, self.code, memory, plane, width, mode, start, stop)

    def sheet(self, sheet: Sheet) -> NDArray[np.int32]:
        """A matrix of whole numbers, in place. Returns it."""
        rows, columns = sheet.matrix.shape
        given = (self.registers, self.code, self._sheets)
        if rows > 1:
            self.make_room(sheet.alive.size * 2)
            given = (self.registers, self.code, self._sheets)
            code_alive(*given, sheet.layout, sheet.alive, sheet.hints)
        step = max(1, PART // max(1, columns))
        for start in range(0, rows, step):
            self.check()
            stop = min(start + step, rows)
            self.make_room((stop - start) * columns * MOST_BYTES_A_NUMBER)
            given = (self.registers, self.code, self._sheets)
            code_rows(*given, sheet.numbers, sheet.layout, sheet.alive, sheet.hints,
                      sheet.tallies, start, stop)  # fmt: skip
            self._check_numbers()
        return sheet.matrix

    def _check_numbers(self) -> None:
        if self.registers[DAMAGED]:
            raise PackedFileDamaged(
                f"a number of a tensor is further from 0 than {MOST_NUMBER}", hint=NOT_WRITTEN
            )

    def _check_end(self) -> None:
        if self.registers[OVERRUN] > MOST_OVERRUN:
            raise PackedFileDamaged(
                "the file ends before all of the model was read",
                hint="Copy or download it again; its size may have changed on the way.",
            )
