"""Parquet tables as arrays: columns of numbers, read in pieces by pyarrow.

What the footer declares is held against the file before any value is read. Then a few columns at a
time are read, so that memory holds some pages of each and no more than a piece of the table.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.datafiles.bounds import check_total, check_unpacked
from app.datafiles.columns import INDEX_NAME, shown
from app.datafiles.parquet_ends import MAX_FOOTER_BYTES
from app.datafiles.parquet_footer import MAX_CHUNKS, Footer, damaged, read_footer
from app.datafiles.unreadable import UnreadableData

Array = NDArray[Any]
Types = dict[str, np.dtype[Any]]

VALUES_AT_ONCE = 2**20
READ_AHEAD_BYTES = 2**16
# While it is read, a column takes a page and its dictionary: as a rule a MiB each.
COLUMN_BYTES = 4 * 2**20
HELD_BYTES = 128 * 2**20
BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError, TypeError)
TYPES_READ = (
    "Columns must hold numbers: bool, int8..int64, uint8..uint64, float16..float64. Encode text, "
    "dates and decimals as such; of lists, give each place its own column, or send them as .npz."
)


class Block(NamedTuple):
    """Some rows of some columns: `values` is [rows, columns]; `row` and `column` say where."""

    row: int
    column: int
    values: Array


@dataclass(frozen=True)
class ParquetTable:
    """A table whose footer was found good. `types` are those of its columns, in their order."""

    file: pq.ParquetFile
    footer: Footer
    types: Types
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        return self.footer.rows

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.types)

    def common_type(self, names: Sequence[str]) -> np.dtype[Any]:
        """The type that all these columns fit in, by the rules of NumPy."""
        return np.dtype(np.result_type(*{self.types[name] for name in names}))

    def blocks(self, names: Sequence[str]) -> Iterator[Block]:
        """These columns in pieces, as their common type; `column` counts within `names`.

        Raises: UnreadableData naming column and row of what is missing, NaN or infinite.
        """
        dtype = self.common_type(names)
        first = 0
        for group in _groups(self.footer, names):
            for row, batch in self._batches(group):
                values = _values(batch, group, row, dtype)
                yield Block(row, first, values)
            first += len(group)

    def _batches(self, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows of these columns, with the number of the first; rows are counted as declared."""
        rows = 0
        try:
            for batch in self.file.iter_batches(
                max(1, VALUES_AT_ONCE // len(names)), columns=list(names), use_threads=False
            ):
                if rows + batch.num_rows > self.rows:
                    raise damaged()
                yield rows, batch
                rows += batch.num_rows
        except MemoryError:
            raise
        except BROKEN as error:
            raise damaged() from error
        if rows != self.rows:
            raise UnreadableData(
                f"the Parquet file declares {self.rows} rows, but column {names[0]!r} has {rows}"
            )


def open_parquet(file: BinaryIO) -> ParquetTable:
    """The table, if its footer keeps every rule.

    Raises: UnreadableData with the rule that is broken.
    """
    footer = read_footer(file)
    stored_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    # Its own allocators keep what they have; the plain one fails at the limit of the process.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        opened = pq.ParquetFile(
            file,
            buffer_size=READ_AHEAD_BYTES,
            pre_buffer=False,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_CHUNKS,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        )
        schema = opened.schema_arrow
    except MemoryError:
        raise
    except BROKEN as error:
        raise damaged() from error
    if tuple(schema.names) != footer.names or opened.metadata.num_rows != footer.rows:
        raise damaged()
    types = _types(schema)
    _check_sizes(footer, types, stored_bytes)
    unused = [name for name in footer.names if name not in types]
    notes = (f"columns not used: {shown(unused)}",) if unused else ()
    return ParquetTable(opened, footer, types, notes)


def _check_sizes(footer: Footer, types: Types, stored_bytes: int) -> None:
    """Against the file as columns are stored; in all as a job holds them, in one type."""
    hint = "Send the values as .npz, or leave out columns that hardly change."
    value_bytes = sum(dtype.itemsize for dtype in types.values()) * footer.rows
    check_unpacked(max(value_bytes, footer.unpacked_bytes), stored_bytes, hint=hint)
    common = np.dtype(np.result_type(*set(types.values())))
    check_total(common.itemsize * len(types) * footer.rows, hint=hint)


def _types(schema: pa.Schema) -> Types:
    """Of every column but those in which pandas keeps the numbers of rows."""
    types: Types = {}
    for field in schema:
        if INDEX_NAME.fullmatch(field.name):
            continue
        if not (
            pa.types.is_integer(field.type)
            or pa.types.is_floating(field.type)
            or pa.types.is_boolean(field.type)
        ):
            raise UnreadableData(
                f"column {field.name!r} holds {str(field.type)[:80]}", hint=TYPES_READ
            )
        types[field.name] = np.dtype(field.type.to_pandas_dtype())
    if len(types) < 2:
        raise UnreadableData(
            "the table has fewer than two columns", hint="Give features and a label as columns."
        )
    return types


def _groups(footer: Footer, names: Sequence[str]) -> Iterator[list[str]]:
    """Neighbors that are read together: as many as the memory for their pages lets."""
    taken = {
        name: max(READ_AHEAD_BYTES, min(size, COLUMN_BYTES))
        for name, size in zip(footer.names, footer.largest_piece_bytes, strict=True)
    }
    group: list[str] = []
    held = 0
    for name in names:
        if group and held + taken[name] > HELD_BYTES:
            yield group
            group, held = [], 0
        group.append(name)
        held += taken[name]
    yield group


def _values(
    batch: pa.RecordBatch, names: Sequence[str], first_row: int, dtype: np.dtype[Any]
) -> Array:
    """The batch as one array, [rows, columns]."""
    values = np.empty((batch.num_rows, len(names)), dtype)
    for position, name in enumerate(names):
        # By name: pyarrow takes "x" for the root of "x.1", too, and gives both.
        column = batch.column(batch.schema.get_field_index(name))
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise _no_number(name, first_row + row, "is empty")
        # A NaN may make noise when it is cast; it is looked for right after.
        with np.errstate(invalid="ignore"):
            values[:, position] = column.to_numpy(zero_copy_only=False)
        is_finite = np.isfinite(values[:, position])
        if not is_finite.all():
            raise _no_number(name, first_row + int(np.argmin(is_finite)), "is NaN or infinite")
    return values


def _no_number(name: str, row: int, what: str) -> UnreadableData:
    return UnreadableData(
        f"row {row + 1}, column {name!r} {what}", hint="Fill or drop such rows before the upload."
    )
