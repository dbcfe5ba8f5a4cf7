"""Reads `.csv` data sets: a header, then numbers; the label is a column of them."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.datafiles.columns import LARGEST_WHOLE_LABEL, label_column
from app.datafiles.lines import Line, filled
from app.errors import DataNotUsable
from worker.engine.loading.arrays import Array, Stored, StoredData
from worker.engine.loading.failing import failing


def read_csv(path: Path, label: str | None) -> StoredData:
    """One input [rows, features] in the order of the columns, one label array [rows].

    Labels that are all whole numbers are integers, as far as float64 holds those exactly: a table
    has no types. Blank lines are passed over.
    Raises: DataNotUsable naming the column or the row that cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = filled(stream)
        header = _header(lines)
        with failing():
            label = label_column(header, label)
        table = _numbers(lines, len(header))
    column = header.index(label)
    labels = table[:, column]
    if ((labels == np.floor(labels)) & (np.abs(labels) <= LARGEST_WHOLE_LABEL)).all():
        labels = labels.astype(np.int64)
    features = np.delete(table, column, axis=1)
    return StoredData(Stored({None: features}, {None: labels}), None, ())


def _header(lines: Iterator[Line]) -> list[str]:
    try:
        header = next(csv.reader([next(lines, (1, ""))[1]]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataNotUsable(f"the csv file is not UTF-8 text: {error}") from error
    names = [name.strip() for name in header]
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataNotUsable(
            "the first line must name at least a feature and a label column, each once; it reads "
            f"{', '.join(names) or 'nothing'}"
        )
    return names


def _numbers(lines: Iterator[Line], columns: int) -> Array:
    """The table as float64, [rows, columns]."""
    try:
        table = np.loadtxt(
            (text for _, text in lines), delimiter=",", quotechar='"', ndmin=2, comments=None
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataNotUsable(
            f"the table holds something else than numbers: {error}",
            hint="Encode text as numbers and fill or drop rows with empty cells.",
        ) from error
    if table.shape[1] != columns:
        raise DataNotUsable(f"rows have {table.shape[1]} cells, the header has {columns}")
    return table
