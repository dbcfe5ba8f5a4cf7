"""Reads `.csv` data sets: a header, then numbers; the label is a column of them."""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.datafiles.columns import check_names, label_column, label_note
from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector.arrays import Labels, Range
from app.uploads.inspector.splits import divided, set_aside_note
from app.uploads.refusals import refusing

Array = NDArray[Any]
LINES_AT_ONCE = 4096
CHARACTERS_AT_ONCE = 8 * 2**20
MAX_LINE_BYTES = 4 * 2**20


def read_csv(file: BinaryIO, options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    """What the table holds, and the options with the label column filled in.

    Raises: RejectedUpload naming line and column.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        return _read(_lines(text), options)
    finally:
        text.detach()


def _read(lines: Iterator[str], options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    header = _header(next(lines, ""))
    with refusing():
        label = label_column(header, options.label)
    column = header.index(label)
    features, labels, are_whole, rows = Range(), Labels(), True, 0
    for block in _blocks(lines, header):
        rows += len(block)
        features.add(np.delete(block, column, axis=1))
        labels.add(block[:, column])
        are_whole = are_whole and bool((block[:, column] == np.floor(block[:, column])).all())
    split = divided(rows, options.test_fraction)
    facts = DatasetFacts(
        format="csv",
        train_rows=split.train,
        test_rows=split.test,
        is_split_here=True,
        inputs=(features.as_input(None, (len(header) - 1,), "float64"),),
        # A table has no types: whole numbers in the label column are taken as such.
        labels=(labels.as_labels(None, (), np.dtype("int64" if are_whole else "float64")),),
        notes=(set_aside_note(split), label_note(header, options.label)),
    )
    return facts, options.model_copy(update={"label": label})


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    try:
        while line := text.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise RejectedUpload(f"a line is longer than {MAX_LINE_BYTES} characters")
            yield line
    except UnicodeDecodeError as error:
        raise RejectedUpload(
            f"the text is not UTF-8: {error.reason}", hint="Save the table as UTF-8."
        ) from error


def _header(line: str) -> list[str]:
    cells = _cells(line)
    if any("\n" in cell or "\r" in cell for cell in cells):
        raise RejectedUpload("a quotation mark in the first line is not closed")
    names = [name.strip() for name in cells]
    if len(names) < 2:
        raise RejectedUpload(
            "the first line names fewer than two columns",
            hint="Write comma-separated column names: features and a label.",
        )
    if all(_is_number(name) for name in names):
        raise RejectedUpload(
            "the first line holds numbers, not column names", hint="Add a header line."
        )
    with refusing():
        check_names(names)
    return names


def _blocks(lines: Iterator[str], header: list[str]) -> Iterator[Array]:
    """Rows as numbers, [some rows, columns]; blank lines are passed over."""
    first = 2
    while block := _some(lines):
        if any(not line.isspace() for line in block):
            yield _numbers(block, first, header)
        first += len(block)


def _some(lines: Iterator[str]) -> list[str]:
    """The next lines; fewer at a time where they are long."""
    block: list[str] = []
    characters = 0
    for line in lines:
        block.append(line)
        characters += len(line)
        if len(block) == LINES_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            break
    return block


def _numbers(block: list[str], first: int, header: list[str]) -> Array:
    try:
        numbers = np.loadtxt(
            block, delimiter=",", quotechar='"', comments=None, ndmin=2, dtype=np.float64
        )
    except ValueError as error:
        raise _complaint(block, first, header) from error
    if numbers.shape[1] != len(header) or not np.isfinite(numbers).all():
        raise _complaint(block, first, header)
    return numbers


def _complaint(block: list[str], first: int, header: list[str]) -> RejectedUpload:
    """The cell that the fast reader stumbled over, with its line and column."""
    for line_number, line in enumerate(block, start=first):
        if line.isspace():
            continue
        cells = _cells(line)
        if len(cells) != len(header):
            return RejectedUpload(
                f"line {line_number} has {len(cells)} cells, the header has {len(header)}",
                hint="Separate cells by commas; write decimals with a point.",
            )
        for name, cell in zip(header, cells, strict=True):
            if not _is_number(cell) or not math.isfinite(float(cell)):
                return RejectedUpload(
                    f"line {line_number}, column {name!r}: {cell[:80]!r} is not a finite number",
                    hint="Encode text as numbers; fill or drop rows with empty cells.",
                )
    return RejectedUpload(f"lines {first} to {first + len(block) - 1} cannot be read as numbers")


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise RejectedUpload(f"the line {line[:80]!r} is not comma-separated text") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
