"""What the footer of a Parquet file declares, held against the file; standard library only.

pyarrow reads the same footer, but ends the process at some values that nobody should write. Here it
is read first, by allow-lists: tables of plain columns, known codecs, every piece inside the file.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from app.datafiles.columns import check_names
from app.datafiles.parquet_ends import END_BYTES, MAGIC, check_ends
from app.datafiles.thrift import Malformed, Reader
from app.datafiles.unreadable import UnreadableData

# Pieces of columns, one for each row group; and values of the whole footer.
MAX_CHUNKS = 50_000
MAX_VALUES = 2_000_000
# By their numbers.
CODECS = ("none", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd", "lz4_raw")
READABLE_CODECS = frozenset(range(len(CODECS))) - {3, 4}
# Plain, dictionaries, run lengths, packed bits, differences of three kinds, split streams.
ENCODINGS = frozenset({0, *range(2, 10)})
# Booleans, numbers, and the bytes that hold a float16. Others are refused by what they are.
MAX_PHYSICAL_TYPE = 7

Fields = Mapping[int, Any]


class Footer(NamedTuple):
    """Names of the columns, rows in all, and what their pieces unpack to: each largest, and all."""

    names: tuple[str, ...]
    rows: int
    largest_piece_bytes: tuple[int, ...]
    unpacked_bytes: int


def read_footer(file: BinaryIO) -> Footer:
    """Raises: UnreadableData with the rule that is broken."""
    size_bytes = check_ends(file)
    file.seek(size_bytes - END_BYTES)
    footer_bytes = int.from_bytes(file.read(4), "little")
    file.seek(-END_BYTES - footer_bytes, os.SEEK_END)
    try:
        fields = Reader(file.read(footer_bytes), MAX_VALUES).struct()
        return _checked(fields, size_bytes - END_BYTES - footer_bytes)
    except (Malformed, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise damaged() from error


def damaged() -> UnreadableData:
    return UnreadableData(
        "the Parquet file is damaged, or written in a way that is not read here",
        hint="Check that it opens here; write it anew without encryption and nested columns.",
    )


def _checked(footer: Fields, content_bytes: int) -> Footer:
    if 8 in footer or 9 in footer:
        raise _encrypted()
    names = _names(footer[2])
    groups = footer[4]
    if len(groups) * len(names) > MAX_CHUNKS:
        raise UnreadableData(
            f"{len(groups)} row groups of {len(names)} columns are more than {MAX_CHUNKS} pieces",
            hint="Write larger row groups.",
        )
    largest = [0] * len(names)
    stored = unpacked = 0
    for group in groups:
        _check_group(group, names)
        for column, chunk in enumerate(group[1]):
            stored += _checked_chunk(names[column], chunk, group[3], content_bytes)
            unpacked += chunk[3][6]
            largest[column] = max(largest[column], chunk[3][6])
    rows = sum(group[3] for group in groups)
    if rows != footer[3]:
        raise UnreadableData(f"the Parquet file declares {footer[3]} rows, its row groups {rows}")
    if stored > content_bytes:
        raise UnreadableData(
            f"the pieces of the Parquet file are declared with {stored} bytes; it has "
            f"{content_bytes}: they overlap"
        )
    return Footer(names, rows, tuple(largest), unpacked)


def _names(schema: list[Fields]) -> tuple[str, ...]:
    """Of the columns, which follow the root, and have no children of their own."""
    root, *columns = schema
    names = tuple(column[4].decode() for column in columns)
    check_names(names)
    for name, column in zip(names, columns, strict=True):
        if column.get(5, 0) or column.get(3, 0) > 1:
            raise UnreadableData(
                f"column {name!r} holds lists or structures",
                hint="Give each place of a list its own column, or send the values as .npz.",
            )
        if not 0 <= column[1] <= MAX_PHYSICAL_TYPE:
            raise damaged()
    if root[5] != len(names):
        raise damaged()
    return names


def _check_group(group: Fields, names: tuple[str, ...]) -> None:
    if len(group[1]) != len(names) or group[3] < 0:
        raise damaged()


def _checked_chunk(name: str, chunk: Fields, rows: int, content_bytes: int) -> int:
    """Returns: its declared bytes, once it is found to lie in the file and to be readable."""
    if 8 in chunk or 9 in chunk:
        raise _encrypted()
    if chunk.get(1):
        raise UnreadableData(
            f"column {name!r} keeps its values in another file", hint="Write one whole file."
        )
    declared = chunk[3]
    if declared[4] not in READABLE_CODECS:
        is_known = 0 <= declared[4] < len(CODECS)
        raise UnreadableData(
            f"column {name!r} is compressed by "
            f"{CODECS[declared[4]] if is_known else 'something unknown'}",
            hint="Write it with snappy, gzip, zstd, lz4 or none.",
        )
    if not ENCODINGS.issuperset(declared[2]) or declared[3] != [name.encode()]:
        raise damaged()
    if declared[5] != rows:
        raise UnreadableData(f"column {name!r} declares {declared[5]} values for {rows} rows")
    start = min(offset for offset in (declared[9], declared.get(11)) if offset)
    size: int = declared[7]
    if declared[6] < 0 or size < 0 or not len(MAGIC) <= start <= content_bytes - size:
        raise UnreadableData(f"column {name!r} is said to lie outside of the file")
    return size


def _encrypted() -> UnreadableData:
    return UnreadableData("the Parquet file is encrypted", hint="Write it without encryption.")
