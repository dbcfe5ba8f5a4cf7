"""Reads HDF5 files that strangers sent: plain datasets reached by hard links, nothing else.

HDF5 can point into other files (external links, external storage, virtual datasets), load
libraries (filters by number) and declare shapes it does not store. Keras writes none of these.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from app.errors import RejectedUpload
from app.uploads.inspector.hdf5.attributes import check_attributes
from app.uploads.inspector.hdf5.heaps import check_heaps
from app.uploads.inspector.hdf5.superblock import check_ends
from app.uploads.inspector.shown import shown

PIECE_BYTES = 4 * 2**20
MAX_OBJECTS = 200_000
# A layer with two weights is four, and four more of an optimizer; it names about four classes.
OBJECTS_FOR_EACH_NAME = 20
FREE_OBJECTS = 1_000
MAX_DEPTH = 100
MAX_CHUNKS = 200_000
# Deflate, shuffle, checksum, LZF: compiled in, none is looked up on disk.
PLAIN_FILTERS = frozenset({1, 2, 3, 32000})
# NumPy has wider ones on some machines; TensorFlow and Keras have none.
MAX_NUMBER_BYTES = 8
HARMLESS_BYTES = 2**20
MAX_RATIO = 200
HARMLESS_TOTAL_BYTES = 64 * 2**20
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
# HDF5 has no such type: Keras writes two plain bytes a value, and beside them what they are.
BFLOAT16 = np.dtype("V2")
NOT_FINITE_BFLOAT16 = 0x7F80


class Opened(NamedTuple):
    """A file whose own attributes were looked at, and the longest text it can hold."""

    file: Any
    longest_text: int


class StoredArray(NamedTuple):
    """One dataset: where it is in the file, and a handle to read it by."""

    path: str
    dataset: Any

    @property
    def size(self) -> int:
        return math.prod(self.dataset.shape)


@contextmanager
def open_hdf5(file: BinaryIO) -> Iterator[Opened]:
    """An open file, which may have no name.

    Raises: RejectedUpload where the library cannot make sense of it, here or in the block.
    """
    check_ends(file)
    longest_text = check_heaps(file)
    try:
        with h5py.File(file, "r") as hdf5:
            check_attributes("/", hdf5, longest_text)
            yield Opened(hdf5, longest_text)
    except HDF5_ERRORS as error:
        raise RejectedUpload(
            f"the HDF5 data cannot be read: {_first_line(error)}",
            hint="Save the model again; check that it loads.",
        ) from error


def stored_arrays(opened: Opened, names: int = MAX_OBJECTS) -> Iterator[StoredArray]:
    """Every dataset of a file, each checked; a dataset linked twice comes once.

    Args:
        names: how many classes the model's configuration names: more layers cannot be there.

    Raises: RejectedUpload.
    """
    pending = [("", opened.file)]
    seen: set[object] = set()
    total = _Total(opened.file.id.get_filesize())
    most = min(MAX_OBJECTS, FREE_OBJECTS + OBJECTS_FOR_EACH_NAME * names)
    while pending:
        above, here = pending.pop()
        for name in here:
            path = f"{above}/{name}" if above else name
            _check_link(path, here, name)
            found = here[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            _check_count(path, len(seen), most)
            check_attributes(path, found, opened.longest_text)
            if isinstance(found, h5py.Group):
                pending.append((path, found))
            else:
                _check_dataset(path, found)
                total.add(path, found)
                yield StoredArray(path, found)


def pieces(dataset: Any) -> Iterator[NDArray[Any]]:
    """The values in pieces of a few MiB, whatever the shape."""
    shape = dataset.shape
    if 0 in shape:
        return
    if not shape:
        yield np.asarray(dataset[()])
        return
    axis = 0
    while math.prod(shape[axis + 1 :]) * dataset.dtype.itemsize > PIECE_BYTES:
        axis += 1
    row_bytes = math.prod(shape[axis + 1 :]) * dataset.dtype.itemsize
    step = max(1, PIECE_BYTES // max(1, row_bytes))
    for above in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], step):
            yield np.asarray(dataset[(*above, slice(start, start + step))])


def count_not_finite(dataset: Any) -> int:
    """How many values are NaN or infinite."""
    if dataset.dtype == BFLOAT16:
        return sum(
            int(np.count_nonzero(piece.view("<u2") & NOT_FINITE_BFLOAT16 == NOT_FINITE_BFLOAT16))
            for piece in pieces(dataset)
        )
    if dataset.dtype.kind != "f":
        return 0
    return sum(int(piece.size - np.isfinite(piece).sum()) for piece in pieces(dataset))


class _Total:
    """What all datasets store and declare: two of them may not lie on the same bytes."""

    def __init__(self, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._stored = 0
        self._declared = 0

    def add(self, path: str, dataset: Any) -> None:
        """Raises: RejectedUpload."""
        self._stored += dataset.id.get_storage_size()
        self._declared += math.prod(dataset.shape) * dataset.dtype.itemsize
        most = max(HARMLESS_TOTAL_BYTES, MAX_RATIO * self._file_bytes)
        if self._stored > self._file_bytes or self._declared > most:
            raise RejectedUpload(
                f"up to {shown(path)}, the arrays of the HDF5 data declare {self._declared} bytes "
                f"and store {self._stored}; the file has {self._file_bytes}",
                hint="Save the model again without compression.",
            )


def _check_link(path: str, group: Any, name: str) -> None:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise RejectedUpload(
            f"the HDF5 data holds a link at {shown(path)}",
            hint="Weights must be stored in the file itself.",
        )


def _check_count(path: str, objects: int, most: int) -> None:
    if objects > most:
        raise RejectedUpload(
            f"the HDF5 data holds more than {most} objects, which is more than the layers of the "
            "model can have",
            hint="Upload the file as model.save wrote it.",
        )
    if path.count("/") > MAX_DEPTH:
        raise RejectedUpload(
            f"the HDF5 data is nested more than {MAX_DEPTH} deep: {shown(path)}",
            hint="Upload the file as model.save wrote it.",
        )


def _check_dataset(path: str, dataset: Any) -> None:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise RejectedUpload(f"the HDF5 data holds something at {shown(path)} that is no array")
    is_number = dataset.dtype.kind in "biuf" and dataset.dtype.itemsize <= MAX_NUMBER_BYTES
    if not is_number and not _is_bfloat16(dataset):
        raise RejectedUpload(
            f"{shown(path)} holds values of type {shown(str(dataset.dtype))}, where weights are "
            "numbers",
            hint="Save the model in float32 or float16.",
        )
    creation = dataset.id.get_create_plist()
    if creation.get_external_count() or creation.get_layout() == h5py.h5d.VIRTUAL:
        raise RejectedUpload(
            f"{shown(path)} keeps its values in another file",
            hint="Weights must be stored in the file itself.",
        )
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    unknown = sorted(set(filters) - PLAIN_FILTERS)
    if unknown:
        raise RejectedUpload(
            f"{shown(path)} is written through the HDF5 filter {unknown[0]}",
            hint="Use no compression, or gzip.",
        )
    _check_storage(path, dataset, is_filtered=bool(filters))
    if dataset.chunks:
        _check_chunks(path, dataset)


def _is_bfloat16(dataset: Any) -> bool:
    return bool(dataset.dtype == BFLOAT16 and dataset.attrs.get("dtype") == "bfloat16")


def _check_storage(path: str, dataset: Any, *, is_filtered: bool) -> None:
    """Declared bytes must be stored: HDF5 makes up the values of what is not."""
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    most = max(HARMLESS_BYTES, MAX_RATIO * stored) if is_filtered and stored else stored
    if declared > most:
        raise RejectedUpload(
            f"{shown(path)} declares {declared} bytes but stores {stored}",
            hint="Save the model again without compression.",
        )


def _check_chunks(path: str, dataset: Any) -> None:
    """A chunk is read whole, however little of it belongs to the array."""
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk > max(HARMLESS_BYTES, declared):
        raise RejectedUpload(
            f"{shown(path)} declares {declared} bytes, in chunks of {chunk}",
            hint="Save the model again without compression.",
        )
    axes = zip(dataset.shape, dataset.chunks, strict=True)
    if (count := math.prod(-(-length // step) for length, step in axes)) > MAX_CHUNKS:
        raise RejectedUpload(
            f"{shown(path)} lies in {count} chunks; at most {MAX_CHUNKS} are read",
            hint="Save the model again without compression.",
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
