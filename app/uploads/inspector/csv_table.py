"""Reads `.csv` data sets: a header, then numbers; the label is a column of them."""

import csv
import io
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.datafiles.columns import (
    LARGEST_WHOLE_LABEL,
    check_names,
    label_column,
    label_note,
)
from app.datafiles.lines import Line, filled
from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector.arrays import Labels, Range
from app.uploads.inspector.splits import divided, set_aside_note
from app.uploads.refusals import refusing

Array = NDArray[Any]
LINES_AT_ONCE = 4096
CHARACTERS_AT_ONCE = 8 * 2**20
MAX_LINE_BYTES = 4 * 2**20
# Some programs leave a line free behind each row; beyond that, these.
MAX_BLANK_LINES = 100_000
# Bytes that are no UTF-8 come as halves of characters, so that it is known in which line.
BAD_BYTES = "surrogateescape"
HALVES = re.compile("[\udc80-\udcff]")
UNCLOSED = "Close it on the line it is on; numbers need none."
# Python's float() would also take 1_0 and the digits of other scripts, as would the fast reader.
NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")

# What stands in no number: the fast reader would pass over some of it, as spaces of other kinds.
STRANGE = re.compile(r"[^0-9eE+\-., \t\r\n\"]")


def read_csv(file: BinaryIO, options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    """What the table holds, and the options with the label column filled in.

    Raises: RejectedUpload naming line and column.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors=BAD_BYTES, newline="")
    try:
        return _read(filled(_lines(text)), options)
    finally:
        text.detach()


def _read(lines: Iterator[Line], options: DatasetOptions) -> tuple[DatasetFacts, DatasetOptions]:
    header = _header(next(lines, (1, ""))[1])
    with refusing():
        label = label_column(header, options.label)
    column = header.index(label)
    features, labels, are_whole, rows = Range(), Labels(), True, 0
    for block in _blocks(lines, header):
        rows += len(block)
        features.add(np.delete(block, column, axis=1))
        labels.add(block[:, column])
        are_whole = are_whole and _are_whole(block[:, column])
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


def _are_whole(labels: Array) -> bool:
    """Whether they are taken for integers, as the engine's reader does."""
    return bool(((labels == np.floor(labels)) & (np.abs(labels) <= LARGEST_WHOLE_LABEL)).all())


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    number = blank = 0
    while line := text.readline(MAX_LINE_BYTES):
        number += 1
        blank += line.isspace()
        if len(line) == MAX_LINE_BYTES:
            raise RejectedUpload(
                f"line {number} is longer than {MAX_LINE_BYTES} characters",
                hint="Write one row a line; send very wide rows as .npz or .parquet.",
            )
        if not line.isascii() and HALVES.search(line):
            raise RejectedUpload(
                f"the text is not UTF-8: line {number}", hint="Save the table as UTF-8."
            )
        if blank > number - blank + MAX_BLANK_LINES:
            raise RejectedUpload(
                f"more than {MAX_BLANK_LINES} lines are blank", hint="Take the blank lines out."
            )
        yield line


def _header(line: str) -> list[str]:
    cells = _cells(line)
    if any("\n" in cell or "\r" in cell for cell in cells):
        raise RejectedUpload("a quotation mark in the first line is not closed", hint=UNCLOSED)
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


def _blocks(lines: Iterator[Line], header: list[str]) -> Iterator[Array]:
    """Rows as numbers, [some rows, columns]."""
    while block := _some(lines):
        yield _numbers(block, header)


def _some(lines: Iterator[Line]) -> list[Line]:
    """The next lines; fewer at a time where they are long."""
    block: list[Line] = []
    characters = 0
    for line in lines:
        block.append(line)
        characters += len(line[1])
        if len(block) == LINES_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            break
    return block


def _numbers(block: list[Line], header: list[str]) -> Array:
    texts = [text for _, text in block]
    # A cell that goes on in the next line would be one here and none where a block ends.
    if any(_has_open_quote(text) or STRANGE.search(text) for text in texts):
        raise _complaint(block, header)
    try:
        numbers = np.loadtxt(
            texts, delimiter=",", quotechar='"', comments=None, ndmin=2, dtype=np.float64
        )
    except ValueError as error:
        raise _complaint(block, header) from error
    if numbers.shape[1] != len(header) or not np.isfinite(numbers).all():
        raise _complaint(block, header)
    return numbers


def _has_open_quote(line: str) -> bool:
    return line.count('"') % 2 == 1


def _complaint(block: list[Line], header: list[str]) -> RejectedUpload:
    """The cell that the fast reader stumbled over, with its line and column."""
    for line_number, line in block:
        if _has_open_quote(line):
            return RejectedUpload(
                f"line {line_number}: a quotation mark is not closed: {line[:80]!r}", hint=UNCLOSED
            )
        cells = _cells(line)
        if len(cells) != len(header):
            return RejectedUpload(
                f"line {line_number} has {len(cells)} cells, the header has {len(header)}",
                hint="Separate cells by commas; write decimals with a point.",
            )
        for name, cell in zip(header, cells, strict=True):
            if not NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
                return RejectedUpload(
                    f"line {line_number}, column {name!r}: {cell[:80]!r} is not a finite number",
                    hint="Encode text as numbers, in the digits 0 to 9 without separators; fill or "
                    "drop rows with empty cells.",
                )
    first, last = block[0][0], block[-1][0]
    return RejectedUpload(f"lines {first} to {last} cannot be read as numbers")


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
