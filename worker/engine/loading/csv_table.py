"""Reads `.csv` data sets: a header, then numbers; the label is a column of them."""

import csv
from pathlib import Path

import numpy as np

from app.datafiles.columns import label_column
from app.errors import DataNotUsable
from worker.engine.loading.arrays import Array, Stored, StoredData
from worker.engine.loading.failing import failing


def read_csv(path: Path, label: str | None) -> StoredData:
    """One input [rows, features] in the order of the columns, one label array [rows].

    Labels that are all whole numbers are integers: a table has no types.
    Raises: DataNotUsable naming the column or the row that cannot be read.
    """
    header = _header(path)
    with failing():
        label = label_column(header, label)
    table = _numbers(path, len(header))
    column = header.index(label)
    labels = table[:, column]
    if np.array_equal(labels, np.floor(labels)):
        labels = labels.astype(np.int64)
    features = np.delete(table, column, axis=1)
    return StoredData(Stored({None: features}, {None: labels}), None, ())


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataNotUsable(f"the csv file is not UTF-8 text: {error}") from error
    names = [name.strip() for name in header]
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataNotUsable(
            "the first line must name at least a feature and a label column, each once; it reads "
            f"{', '.join(names) or 'nothing'}"
        )
    return names


def _numbers(path: Path, columns: int) -> Array:
    """The table as float64, [rows, columns]."""
    try:
        table = np.loadtxt(
            path, delimiter=",", skiprows=1, quotechar='"', ndmin=2, comments=None, encoding="utf-8"
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataNotUsable(
            f"the table holds something else than numbers: {error}",
            hint="Encode text as numbers and fill or drop rows with empty cells.",
        ) from error
    if table.shape[1] != columns:
        raise DataNotUsable(f"rows have {table.shape[1]} cells, the header has {columns}")
    return table
