"""Data sets of columns, written by pyarrow here."""

import io
from typing import Any

import numpy as np
import pytest

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector.parquet_table import read_parquet
from tests.app.datafiles.tables import ROWS, columns, parquet


def read(content: Any = None, **options: Any) -> tuple[DatasetFacts, DatasetOptions]:
    file = io.BytesIO(parquet(content))
    return read_parquet(file, DatasetOptions.model_validate(options))


def test_read_parquet_says_what_the_table_holds() -> None:
    facts, options = read(test_fraction=0.25)
    assert (facts.train_rows, facts.test_rows, facts.is_split_here) == (30, 10, True)
    (features,), (labels,) = facts.inputs, facts.labels
    assert (features.name, features.shape, features.dtype) == (None, (2,), "float32")
    assert (features.minimum, features.maximum) == (0, 39)
    assert (labels.encoding, labels.class_count, labels.dtype) == ("integer", 3, "int64")
    assert (labels.minimum, labels.maximum, labels.classes) == (0, 2, None)
    assert options == DatasetOptions(label="kind", test_fraction=0.25)
    assert facts.notes == (
        "10 of 40 rows are set aside for testing",
        "the label is the column 'kind', the last; another by ?label=",
    )


def test_read_parquet_takes_the_column_that_is_named() -> None:
    facts, _ = read(label="b")
    assert (facts.labels[0].encoding, facts.labels[0].dtype) == ("real", "float32")
    assert facts.inputs[0].dtype == "int64"
    assert facts.notes[1] == "the label is the column 'b'"


def test_read_parquet_takes_the_column_that_is_called_label() -> None:
    facts, options = read({"label": np.arange(ROWS) % 2, **columns()})
    assert (options.label, facts.labels[0].class_count) == ("label", 2)
    assert facts.notes[1] == "the label is the column 'label', for its name; another by ?label="


def test_read_parquet_keeps_bytes_as_bytes() -> None:
    pixels = np.arange(ROWS, dtype=np.uint8)
    facts, _ = read({"p0": pixels, "p1": pixels, "digit": pixels % 10})
    assert (facts.inputs[0].dtype, facts.inputs[0].maximum) == ("uint8", 39)


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        (None, {"label": "c"}, "there is no column 'c' for the label; the columns are a, b, kind"),
        ({"x": [1.0] * 5, "y": [1] * 5}, {}, "4 rows would be trained on"),
        ({"x": np.zeros(0), "y": np.zeros(0)}, {}, "0 rows would be trained on"),
        ({"x": [1.0, None] * 20, "y": [1] * ROWS}, {}, "row 2, column 'x' is empty"),
        ({"x": [1.0] * ROWS, "y": [1.0, np.nan] * 20}, {}, "row 2, column 'y' is NaN"),
        ({"x": ["a"] * ROWS, "y": [1] * ROWS}, {}, "column 'x' holds string"),
    ],
)
def test_read_parquet_refuses(content: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read(content, **options)
