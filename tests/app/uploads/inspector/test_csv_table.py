"""Data sets of text."""

import io
import re
import time

import numpy as np
import pytest

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector import csv_table
from app.uploads.inspector.csv_table import read_csv

ROWS = "".join(f"{i},{i / 10},{i % 3}\n" for i in range(40))
TABLE = "a,b,kind\n" + ROWS


def read(text: str, label: str | None = None) -> DatasetFacts:
    return read_csv(io.BytesIO(text.encode()), DatasetOptions(label=label))[0]


def refusal(text: str | bytes, label: str | None = None) -> str:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(RejectedUpload) as caught:
        read_csv(io.BytesIO(content), DatasetOptions(label=label))
    return caught.value.detail


def test_read_csv_takes_the_last_column_for_the_label() -> None:
    facts = read(TABLE)
    assert (facts.train_rows, facts.test_rows) == (32, 8)
    (features,), (labels,) = facts.inputs, facts.labels
    assert (features.shape, features.minimum, features.maximum) == ((2,), 0, 39)
    assert (labels.encoding, labels.class_count, labels.maximum) == ("integer", 3, 2)


def test_read_csv_takes_the_column_that_is_named() -> None:
    facts = read(TABLE, label="b")
    assert (facts.labels[0].encoding, facts.labels[0].maximum) == ("real", 3.9)
    assert facts.inputs[0].maximum == 39


def test_read_csv_fills_the_label_into_the_options() -> None:
    _, options = read_csv(io.BytesIO(TABLE.encode()), DatasetOptions(test_fraction=0.5))
    assert options == DatasetOptions(label="kind", test_fraction=0.5)


def test_read_csv_reads_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "LINES_AT_ONCE", 7)
    assert read(TABLE) == read(TABLE.replace("\n", "\r\n"))
    assert read(TABLE).inputs[0].maximum == 39


def test_read_csv_takes_quotes_spaces_and_blank_lines() -> None:
    text = TABLE.replace("a,b,kind", '"a" , b,"the, kind"').replace("\n3,", '\n\n"3" ,')
    facts = read(text, label="the, kind")
    assert facts.train_rows + facts.test_rows == 40


@pytest.mark.parametrize("blank", ["\n", "  \n", "\t \r\n"])
def test_read_csv_passes_over_blank_lines_wherever_they_are(blank: str) -> None:
    lines = TABLE.splitlines(keepends=True)
    spaced = blank.join(["", *lines, ""])
    assert read(spaced) == read(TABLE)
    # They count as lines all the same: an editor shows the number.
    assert "line 84, column 'a'" in refusal(spaced + "x,1,2\n")


@pytest.mark.parametrize(
    ("largest", "encoding"), [("9007199254740992", "integer"), ("1e17", "real"), ("1e300", "real")]
)
def test_read_csv_takes_labels_that_no_integer_holds_for_values(
    largest: str, encoding: str
) -> None:
    assert read(TABLE + f"1,2,{largest}\n").labels[0].encoding == encoding


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TABLE + "x,1,2\n", "line 42, column 'a': 'x' is not a finite number"),
        (TABLE + "1,,2\n", "line 42, column 'b': '' is not a finite number"),
        (TABLE + "1,nan,2\n", "line 42, column 'b': 'nan' is not a finite number"),
        (TABLE + "1,2,1e999\n", "line 42, column 'kind': '1e999' is not a finite number"),
        (TABLE + "1_0,2,1\n", "line 42, column 'a': '1_0' is not a finite number"),
        (TABLE + "1,\u0661,1\n", "line 42, column 'b': '\u0661' is not a finite number"),
        (TABLE + "1,  ,1\n", "line 42, column 'b': '  ' is not a finite number"),
        (TABLE + '1,"2,1\n' + ROWS, "line 42: a quotation mark is not closed: '1,\"2,1\\n'"),
        (TABLE + '1,"2\n",1\n', "line 42: a quotation mark is not closed"),
        (TABLE + "1,2\n", "line 42 has 2 cells, the header has 3"),
        (ROWS, "the first line holds numbers"),
        ("a\n1\n", "fewer than two columns"),
        ("", "fewer than two columns"),
        ("a;b;c\n1;2;3\n", "fewer than two columns"),
        ("a,b,a\n", "two columns are called 'a', the second is column 3"),
        ("a,,b\n", "column 2 has no usable name"),
        ("a,\x1b[31m,b\n", "column 2 has no usable name"),
        ("a,b\n" + "1,2\n" * 9, "7 rows would be trained on and 2 tested"),
        ("a,b\n", "0 rows"),
        (",".join(f"c{i}" for i in range(10_001)) + "\n", "10001 columns"),
        (",".join(f"c{i}" for i in range(40_000)) + "\n", "40000 columns; at most 10000"),
        ("a" * 200_001 + ",b\n", "is not comma-separated text"),
        ("a" * 201 + ",b\n", "column 1 has no usable name"),
        ("a," + "b" * csv_table.MAX_LINE_BYTES, "line 1 is longer than"),
        ('a,"b\n1,2\n', "a quotation mark in the first line is not closed"),
        (TABLE.encode() + b"\xff,1,2\n", f"not UTF-8: line {TABLE.count(chr(10)) + 1}"),
        ("a,b\n" + "\n" * (csv_table.MAX_BLANK_LINES + 3), "lines are blank"),
        # What the fast reader passes over where nothing else is wrong is as wrong as the rest.
        ("a,b\n\xa01,2\n", "line 2, column 'a': '\\xa01'"),
        ("a,b\n1\x1c,2\n", "line 2, column 'a': '1\\x1c'"),
        ("a,b\n1,2\n\xa01,2\nx,2\n", "line 3, column 'a'"),
    ],
)
def test_read_csv_refuses_with_the_place(text: str | bytes, why: str) -> None:
    assert why in refusal(text)


def test_read_csv_names_line_and_column_in_later_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "LINES_AT_ONCE", 7)
    assert "line 42, column 'b': '-'" in refusal(TABLE + "1,-,2\n")


def test_read_csv_takes_few_long_lines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "CHARACTERS_AT_ONCE", 20)
    assert read(TABLE).inputs[0].maximum == 39
    # A complaint that names no cell names the lines that were read together.
    monkeypatch.setattr(csv_table, "NUMBER", re.compile(".*"))
    assert refusal(TABLE + "1_0,2,1\n") == "lines 41 to 42 cannot be read as numbers"


def test_read_csv_says_how_to_leave_out_what_pandas_adds() -> None:
    with pytest.raises(RejectedUpload) as caught:
        read(TABLE.replace("a,b,kind", ",b,kind"))
    assert "df.to_csv(path, index=False)" in str(caught.value.hint)


@pytest.mark.parametrize("digits", ["1" * 10**6, "1" * 10**6 + "x", " " * 10**6 + "x"])
def test_number_is_looked_at_in_one_go(digits: str) -> None:
    began_at = time.process_time()
    csv_table.NUMBER.fullmatch(digits)
    assert time.process_time() - began_at < 2


def test_read_csv_takes_the_column_that_is_called_label() -> None:
    text = TABLE.replace("a,b,kind", "label,b,kind")
    facts, options = read_csv(io.BytesIO(text.encode()), DatasetOptions())
    assert (options.label, facts.labels[0].maximum) == ("label", 39)
    assert facts.notes[1] == "the label is the column 'label', for its name; another by ?label="


def test_read_csv_takes_a_formula_for_a_name() -> None:
    assert read(TABLE.replace("b", "=HYPERLINK(1)"), label="a").inputs[0].shape == (2,)


def test_read_csv_takes_a_name_as_text_whatever_it_means_elsewhere() -> None:
    facts = read(TABLE.replace("kind", "<script>"))
    assert facts.notes[1].startswith("the label is the column '<script>'")


def test_read_csv_names_the_columns_when_the_label_is_none_of_them() -> None:
    assert "no column 'class' for the label; the columns are a, b, kind" in refusal(TABLE, "class")


def test_read_csv_reads_what_numpy_wrote() -> None:
    file = io.BytesIO()
    table = np.hstack([np.random.default_rng(0).normal(size=(50, 3)), np.ones((50, 1))])
    np.savetxt(file, table, delimiter=",", header="a,b,c,y", comments="")
    assert read(file.getvalue().decode()).inputs[0].maximum == pytest.approx(table[:, :3].max())
