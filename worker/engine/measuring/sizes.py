"""What a file weighs: as it is, after gzip, and in parameters."""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

GZIP_LEVEL = 9
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers a model has learned, and how many of them are not zero."""

    parameter_count: int
    nonzero_parameter_count: int


class _Counter:
    """A file object that keeps only how many bytes were written."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def compressed_size_bytes(path: Path) -> int:
    """Size after gzip at level 9, with no time and no name in its header; memory stays flat."""
    counter = _Counter()
    with (
        path.open("rb") as source,
        gzip.GzipFile("", "wb", GZIP_LEVEL, counter, mtime=0) as target,
    ):
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
    return counter.size_bytes


def count_parameters(arrays: Iterable[npt.NDArray[np.generic]]) -> ParameterCounts:
    """Count over weight arrays of any shape."""
    total = nonzero = 0
    for array in arrays:
        total += array.size
        nonzero += int(np.count_nonzero(array))
    return ParameterCounts(total, nonzero)
