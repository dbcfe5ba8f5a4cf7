"""Reads `.csv` data sets: a header, numeric feature columns and one label column."""

import csv
from pathlib import Path

import numpy as np

from app.errors import DataNotUsable
from worker.engine.loading.arrays import Array, Stored, StoredData


def read_csv(path: Path, label: str | None) -> StoredData:
    """One input [rows, features] in the order of the columns, one label array [rows].

    Raises: DataNotUsable naming the column or the row that cannot be read.
    """
    header = _header(path)
    if label is not None and label not in header:
        raise DataNotUsable(
            f"no column {label!r}; the columns are {', '.join(header)}",
            hint="Give `label` as one of them.",
        )
    features = [index for index, name in enumerate(header) if name != label]
    if not features:
        raise DataNotUsable("the table has no column besides the label")
    inputs: dict[str | None, Array] = {None: _numbers(path, features)}
    if label is None:
        return StoredData(Stored(inputs, {}), None, ())
    labels, notes = _labels(path, header.index(label))
    return StoredData(Stored(inputs, {None: labels}), None, notes)


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataNotUsable(f"the csv file is not UTF-8 text: {error}") from error
    names = [name.strip() for name in header]
    if not names or len(set(names)) != len(names):
        raise DataNotUsable(
            f"the first line must name every column once; it reads {', '.join(names) or 'nothing'}"
        )
    return names


def _numbers(path: Path, columns: list[int]) -> Array:
    try:
        return np.loadtxt(
            path, delimiter=",", skiprows=1, quotechar='"', usecols=columns, ndmin=2, comments=None
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataNotUsable(
            f"a feature column is not numeric or a row is incomplete: {error}",
            hint="Encode text as numbers and fill empty cells before the upload.",
        ) from error


def _labels(path: Path, column: int) -> tuple[Array, tuple[str, ...]]:
    """Numbers as they are; words become class numbers in sorted order, which is said."""
    texts = np.loadtxt(
        path,
        delimiter=",",
        skiprows=1,
        quotechar='"',
        usecols=column,
        ndmin=1,
        dtype=str,
        comments=None,
    )
    try:
        return texts.astype(np.float64), ()
    except ValueError:
        classes, numbers = np.unique(texts, return_inverse=True)
    shown = ", ".join(f"{name} = {number}" for number, name in enumerate(classes[:20]))
    return numbers.astype(np.int64), (f"label words became class numbers: {shown}",)
