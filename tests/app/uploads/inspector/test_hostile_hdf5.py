"""HDF5 files that a stranger might make, each with its refusal."""

import io
import re
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from app.errors import RejectedUpload
from app.uploads.inspector.hdf5 import attributes
from app.uploads.inspector.hdf5 import file as hdf5
from app.uploads.inspector.hdf5.file import count_not_finite, open_hdf5, pieces, stored_arrays

Write = Callable[[Any], object]


def paths(file: io.BytesIO) -> list[str]:
    """Raises: RejectedUpload."""
    with open_hdf5(file) as opened:
        return [stored.path for stored in stored_arrays(opened) if not broken(stored.dataset)]


def broken(dataset: Any) -> int:
    return count_not_finite(dataset)


def written(write: Write, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as opened:
        write(opened)
    return file


def big_chunk(file: Any) -> None:
    space = h5py.h5s.create_simple((4,), (h5py.h5s.UNLIMITED,))
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((2**28,))
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, layout)


def deep(file: Any) -> None:
    here = file
    for _ in range(150):
        here = here.create_group("g")
    here["w"] = np.ones(3)


def attribute(value: Any) -> Write:
    def write(file: Any) -> None:
        file["w"] = np.ones(3)
        file["w"].attrs.create("a", value, dtype=getattr(value, "dtype", None))

    return write


def reference(file: Any) -> None:
    file["w"] = np.ones(3)
    file["w"].attrs["a"] = file["w"].ref


def region(file: Any) -> None:
    file["w"] = np.ones(3)
    file["w"].attrs["a"] = file["w"].regionref[:2]


def lists(file: Any) -> None:
    file["w"] = np.ones(3)
    value = np.empty(1, object)
    value[0] = np.arange(3, dtype="i4")
    file["w"].attrs.create("a", value, dtype=h5py.vlen_dtype(np.dtype("i4")))


def many_attributes(file: Any) -> None:
    file["w"] = np.ones(3)
    for index in range(1_001):
        file["w"].attrs[str(index)] = 1


def set_(file: Any, value: Any) -> None:
    file["w"] = value


REFUSED: dict[str, tuple[Write, str]] = {
    "a chunk of a GiB": (big_chunk, "declares 16 bytes"),
    "depth": (deep, "nested more than 100 deep"),
    "a reference": (reference, "neither text nor numbers"),
    "a reference to a part": (region, "neither text nor numbers"),
    "lists of any length": (lists, "neither text nor numbers"),
    "a table beside": (attribute(np.zeros(2, "i4,f4")), "neither text nor numbers"),
    "opaque bytes beside": (attribute(np.void(b"x" * 9)), "neither text nor numbers"),
    "many attributes": (many_attributes, "has 1001 HDF5 attributes"),
    "a named type": (lambda file: set_(file, np.dtype("f4")), "that is no array"),
    "no values": (lambda file: set_(file, h5py.Empty("f4")), "that is no array"),
    "references": (
        lambda file: file.create_dataset("w", (3,), h5py.ref_dtype),
        "holds values of type",
    ),
    "texts": (lambda file: set_(file, ["a", "b"]), "holds values of type"),
    "tables": (lambda file: set_(file, np.zeros(3, "i4,f4")), "holds values of type"),
    "two bytes that are no number": (
        lambda file: set_(file, np.zeros(3, "V2")),
        "holds values of type",
    ),
    "numbers of more bytes than Keras has": (
        lambda file: set_(file, np.ones(3, np.longdouble)),
        "holds values of type",
    ),
    "a reference beside all": (
        lambda file: file.attrs.__setitem__("a", file.ref),
        "attribute 'a' of '/' is neither text nor numbers",
    ),
    "complex numbers": (lambda file: set_(file, np.zeros(3, "c8")), "holds values of type"),
    "a soft link": (lambda file: set_(file, h5py.SoftLink("/w")), "a link at 'w'"),
    "a soft link of an ugly name": (
        lambda file: file.__setitem__("a\nb\x1b[31m", h5py.SoftLink("/w")),
        r"a link at 'a\nb\x1b[31m'",
    ),
    "a link to another file": (
        lambda file: set_(file, h5py.ExternalLink("/etc/passwd", "/")),
        "a link at 'w'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_stored_arrays_refuses(case: str, version: str) -> None:
    write, why = REFUSED[case]
    with pytest.raises(RejectedUpload) as caught:
        paths(written(write, libver=version))
    assert why in caught.value.detail
    assert caught.value.detail.isprintable()


def test_stored_arrays_refuses_more_chunks_than_are_read_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hdf5, "MAX_CHUNKS", 100)
    values = np.zeros(101, "u1")
    file = written(lambda opened: opened.create_dataset("w", data=values, chunks=(1,)))
    with pytest.raises(RejectedUpload, match="lies in 101 chunks"):
        paths(file)


def test_stored_arrays_refuses_two_arrays_on_the_same_bytes() -> None:
    """The second says that it is as long as the first, and begins where that does."""

    def two(opened: Any) -> None:
        opened["w"] = np.arange(10_007, dtype="f4")
        opened["v"] = np.arange(13, dtype="f4")

    file = written(two)
    with h5py.File(file, "r") as opened:
        first, second = (opened[name].id.get_offset() for name in "wv")
    content = file.getvalue()
    for honest, lie in ((13, 10_007), (4 * 13, 4 * 10_007), (second, first)):
        content = content.replace(struct.pack("<Q", honest), struct.pack("<Q", lie))
    with h5py.File(io.BytesIO(content), "r") as opened:
        assert opened["v"][-1] == 10_006
    with pytest.raises(RejectedUpload, match="store 80056; the file has"):
        paths(io.BytesIO(content))


def test_stored_arrays_goes_round_a_circle_once() -> None:
    def circle(file: Any) -> None:
        file["a/w"] = np.ones(3)
        file["a/a"] = file["a"]
        file["again"] = file["a/w"]

    assert paths(written(circle)) == ["again"]


def test_pieces_of_nothing_are_none_however_long_it_is() -> None:
    file = written(lambda opened: opened.create_dataset("w", (2**60, 0), "f4"))
    with open_hdf5(file) as opened:
        (stored,) = stored_arrays(opened)
        assert list(pieces(stored.dataset)) == []


def with_gap(size: int) -> io.BytesIO:
    """A file with a text of any length, and this as the size of the gap behind it."""
    file = written(lambda opened: opened.attrs.update(model_config="x" * 100))
    content = bytearray(file.getvalue())
    heap = content.index(b"GCOL")
    gap = heap + 16 + 16 + 104
    assert struct.unpack_from("<H", content, gap) == (0,)
    struct.pack_into("<Q", content, gap + 8, size)
    return io.BytesIO(bytes(content))


@pytest.mark.parametrize("size", [0, 1, 2**40, 2**64 - 1])
def test_open_hdf5_refuses_texts_that_the_library_would_search_for_ever(size: int) -> None:
    with pytest.raises(RejectedUpload, match="have no end"):
        paths(with_gap(size))


def test_open_hdf5_takes_texts_of_any_length() -> None:
    file = written(lambda opened: opened.attrs.update({str(i): "x" * i**2 for i in range(99)}))
    assert paths(file) == []


def with_names(count: int) -> io.BytesIO:
    """A group with names beside one long text, as Keras writes a `.h5` file."""

    def texts(file: Any) -> None:
        kind = h5py.string_dtype()
        file["w"] = np.ones(3)
        file["w"].attrs.create("long", "x" * 2**14, dtype=kind)
        file["w"].attrs.create("names", np.array(["name"] * count, object), dtype=kind)

    return written(texts)


def named_again(file: io.BytesIO) -> io.BytesIO:
    """The same, every name being the long text: its length, its heap, its number there."""
    content = bytearray(file.getvalue())
    places = {size: heap_places(content, size) for size in (4, 2**14)}
    (long,) = places[2**14]
    for at in places[4]:
        content[at : at + 16] = content[long : long + 16]
    return io.BytesIO(bytes(content))


def heap_places(content: bytearray, size: int) -> list[int]:
    """Where a text of this length is named."""
    found = re.finditer(re.escape(struct.pack("<I", size)), content[:-16])
    heaps = ((each.start(), struct.unpack_from("<Q", content, each.start() + 4)) for each in found)
    return [at for at, (heap,) in heaps if content[heap : heap + 4] == b"GCOL"]


def test_stored_arrays_adds_up_texts_as_readers_copy_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names beside a long configuration are few bytes; a thousand times it are not."""
    monkeypatch.setattr(attributes, "MAX_ATTRIBUTE_BYTES", 2**20)
    honest = with_names(100)
    assert paths(honest) == ["w"]
    hostile = named_again(honest)
    with h5py.File(hostile) as opened:
        assert {len(text) for text in opened["w"].attrs["names"]} == {2**14}
    with pytest.raises(RejectedUpload, match="attributes of 'w' are larger"):
        paths(hostile)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_open_hdf5_refuses_bytes_behind_the_end(version: str) -> None:
    content = written(lambda opened: set_(opened, np.ones(3)), libver=version).getvalue()
    assert paths(io.BytesIO(content)) == ["w"]
    with pytest.raises(RejectedUpload, match=f"ends at byte {len(content)}; there are"):
        paths(io.BytesIO(content + b"PK"))


def test_open_hdf5_refuses_bytes_before_the_beginning() -> None:
    file = written(lambda opened: set_(opened, np.ones(3)), userblock_size=512)
    with pytest.raises(RejectedUpload, match="does not begin as"):
        paths(file)


def test_open_hdf5_refuses_data_that_says_it_begins_further_on() -> None:
    content = bytearray(written(lambda file: set_(file, np.ones(3))).getvalue())
    struct.pack_into("<Q", content, 24, 512)
    with pytest.raises(RejectedUpload, match="says that it begins at byte 512, not at the first"):
        paths(io.BytesIO(bytes(content)))
