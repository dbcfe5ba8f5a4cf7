"""Reads `.parquet` data sets: columns of numbers; the label is one of them."""

from collections.abc import Sequence
from pathlib import Path

from app.datafiles.columns import label_column
from app.datafiles.parquet_table import ParquetTable, open_parquet
from worker.engine.loading.arrays import Array, Stored, StoredData, let_go, room
from worker.engine.loading.failing import failing


def read_parquet(path: Path, label: str | None) -> StoredData:
    """One input [rows, features] in the order of the columns, one label array [rows].

    Features have the type that all of them fit in; labels keep theirs.
    Raises: DataNotUsable naming the column or the row that cannot be read.
    """
    with failing(), path.open("rb") as file:
        table = open_parquet(file)
        label = label_column(table.columns, label)
        labels = _filled(table, [label])[:, 0]
        features = _filled(table, [name for name in table.columns if name != label])
        return StoredData(Stored({None: features}, {None: labels}), None, table.notes)


def _filled(table: ParquetTable, names: Sequence[str]) -> Array:
    """These columns, [rows, columns]."""
    values = room((table.rows, len(names)), table.common_type(names))
    for block in table.blocks(names):
        rows, columns = block.values.shape
        values[block.row : block.row + rows, block.column : block.column + columns] = block.values
        let_go(values)
    return values
