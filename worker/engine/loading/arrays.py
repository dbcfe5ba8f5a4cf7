"""Arrays as a data set file holds them: by role and name, whatever the format; pure numpy."""

import math
import mmap
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ArraysByName = Mapping[str | None, Array]

# What one array may hold of memory; a larger one is read from its file again and again.
HELD_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Stored:
    """One split as stored: inputs and labels by name; the name of an only one may be None.

    Each array is [rows, ...].
    """

    inputs: ArraysByName
    labels: ArraysByName

    def arrays(self) -> tuple[tuple[str, Array], ...]:
        """Every array under the name an error should use."""
        named = [*self._shown("x", self.inputs), *self._shown("y", self.labels)]
        return tuple(named)

    @staticmethod
    def _shown(role: str, arrays: ArraysByName) -> list[tuple[str, Array]]:
        return [(f"{role}.{name}" if name else role, array) for name, array in arrays.items()]


@dataclass(frozen=True, eq=False)
class StoredData:
    """A file's content; `test` is None where the file is one whole, to be split by the reader."""

    train: Stored
    test: Stored | None
    notes: tuple[str, ...]


def first_not_finite(values: Array, *, rows_at_once: int = 8192) -> int | None:
    """The first row that holds NaN or infinity; None if all is finite. Read piece by piece."""
    if values.dtype.kind != "f":
        return None
    for start in range(0, len(values), rows_at_once):
        piece = np.asarray(values[start : start + rows_at_once])
        is_finite = np.isfinite(piece.reshape(len(piece), -1)).all(axis=1)
        if not is_finite.all():
            return start + int(np.argmin(is_finite))
        let_go(values)
    return None


def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array to be filled: held in memory, or where it is large, in a nameless file."""
    if math.prod(shape) * dtype.itemsize <= HELD_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        # The mapping keeps the nameless file alive, and nothing else does.
        return np.memmap(file, dtype, mode="w+", shape=shape)


def let_go(values: Array) -> None:
    """Give back the memory of what was read from a file; the next reader finds it on disk.

    Otherwise every page that was ever read would count as the job's until the machine needs it.
    Arrays up to `HELD_BYTES` stay: finding a row again costs about 5 us.
    """
    mapping = getattr(values, "_mmap", None)
    if mapping is not None and values.nbytes > HELD_BYTES:
        mapping.madvise(mmap.MADV_DONTNEED)
