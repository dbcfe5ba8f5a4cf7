"""Data sets of arrays, written by NumPy here."""

import io
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.uploads.inspector import npy
from app.uploads.inspector.npz import read_npz

X = np.arange(100, dtype=np.float32).reshape(50, 2)
Y = np.arange(50) % 3


def read(test_fraction: float = 0.2, *, compressed: bool = False, **arrays: Any) -> DatasetFacts:
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, **arrays)
    return read_npz(file, DatasetOptions(test_fraction=test_fraction))


def refusal(**arrays: Any) -> str:
    with pytest.raises(RejectedUpload) as caught:
        read(**arrays)
    return caught.value.detail


def encoding(y: Any) -> tuple[str, int | None]:
    labels = read(x=np.zeros((len(y), 2)), y=y).labels[0]
    return labels.encoding, labels.class_count


def test_read_npz_splits_when_there_is_one_part() -> None:
    facts = read(x=X, y=Y, test_fraction=0.3)
    assert (facts.train_rows, facts.test_rows, facts.is_split_here) == (35, 15, True)


def test_read_npz_keeps_the_split_of_the_file() -> None:
    facts = read(x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9])
    assert (facts.train_rows, facts.test_rows, facts.is_split_here) == (50, 9, False)


@pytest.mark.parametrize("compressed", [False, True])
def test_read_npz_finds_ranges_over_all_pieces_and_parts(
    monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    monkeypatch.setattr(npy, "PIECE_BYTES", 24)
    test = np.array([[-7.0, 1.0]], np.float32)
    facts = read(x_train=X, y_train=Y, x_test=test, y_test=Y[:1], compressed=compressed)
    (array,) = facts.inputs
    assert (array.minimum, array.maximum, array.shape, array.dtype) == (-7, 99, (2,), "float32")
    assert facts.labels[0].class_count == 3


def test_read_npz_takes_every_name_that_an_input_may_have() -> None:
    arrays: dict[str, Any] = {"x.numbers in": X, "x.größe": X, "y": Y}

    facts = read(**arrays)

    assert sorted(array.name or "" for array in facts.inputs) == ["größe", "numbers in"]


def test_read_npz_pairs_named_inputs_and_outputs_over_the_parts() -> None:
    arrays: dict[str, Any] = {
        "x_train.left": X,
        "x_train.right": X * 2,
        "y_train.a": Y,
        "y_train.b": X,
        "x_test.right": X * 2,
        "x_test.left": X,
        "y_test.b": X,
        "y_test.a": Y,
    }
    facts = read(**arrays)
    assert [(array.name, array.maximum) for array in facts.inputs] == [("left", 99), ("right", 198)]
    assert [(array.name, array.encoding) for array in facts.labels] == [
        ("a", "integer"),
        ("b", "real"),
    ]


def test_read_npz_notes_arrays_that_have_no_role() -> None:
    facts = read(x=X, y=Y, class_names=np.array(["cat", "dog"]))
    assert "arrays not used: 'class_names'" in facts.notes


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.arange(30) % 4, ("integer", 4)),
        ((np.arange(30) % 4).reshape(-1, 1), ("integer", 4)),
        (np.eye(5, dtype=np.uint8)[np.arange(30) % 5], ("one_hot", 5)),
        (np.eye(5, dtype=np.float32)[np.arange(30) % 5], ("one_hot", 5)),
        (np.asfortranarray(np.eye(5)[np.arange(30) % 5]), ("one_hot", 5)),
        (np.ones((30, 3), bool), ("multi_hot", 3)),
        (np.arange(30) % 2 == 0, ("integer", 2)),
        ((np.arange(30) % 2).astype(np.float32), ("integer", 2)),
        (np.arange(30, dtype=np.float32), ("real", None)),
        (np.linspace(0, 1, 30), ("real", None)),
    ],
)
def test_read_npz_reads_how_labels_are_encoded(y: Any, expected: tuple[str, int | None]) -> None:
    assert encoding(y) == expected


def test_read_npz_reads_encodings_over_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "PIECE_BYTES", 64)
    y = np.eye(4)[np.arange(30) % 4]
    y[29] = [0, 1, 1, 0]
    assert encoding(y) == ("multi_hot", 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["x", "y"])
def test_read_npz_refuses_values_that_are_not_finite(array: str, bad: float) -> None:
    arrays = {"x": X.copy(), "y": X[:, 0].copy()}
    arrays[array].flat[3:5] = bad
    assert refusal(**arrays) == f"2 values of {array!r} are NaN or infinite"


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"x": X, "y": Y[:-1]}, "x has 50, y has 49"),
        ({"x_train": X, "y_train": Y}, "'x_train' but no 'x_test'"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "'y_train' but no 'y_test'"),
        ({"x_train": X, "x_test": X[:, :1]}, "have shape (2,), of 'x_test' (1,)"),
        ({"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:8]}, "x_test has 9, y_test"),
        ({"x": X[:9], "y": Y[:9]}, "7 rows would be trained on and 2 tested"),
        ({"data": X}, "no array x"),
        ({"y": Y}, "no array x; it has 'y'"),
        ({"x": X, "y": np.array([object()] * 50)}, "type '|O'"),
        ({"x": X.astype(str), "y": Y}, "type '<U"),
        ({"x": X.astype(complex), "y": Y}, "type '<c16'"),
        ({"x": np.float32(1), "y": Y}, "has shape ()"),
        ({"x": np.zeros((50, 0)), "y": Y}, "has shape (50, 0)"),
        ({"x.<b>": X, "y": Y}, "'x.<b>.npy'"),
    ],
)
def test_read_npz_refuses_with_the_reason(arrays: dict[str, Any], why: str) -> None:
    assert why in refusal(**arrays)


def test_read_npz_refuses_when_less_is_stored_than_declared() -> None:
    whole, file = io.BytesIO(), io.BytesIO()
    np.save(whole, X)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", whole.getvalue()[:-4])
    with pytest.raises(RejectedUpload, match="declares 400 bytes of values but stores 396"):
        read_npz(file, DatasetOptions())


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }"


def with_header(shape: str, version: int = 1, text: str = HEADER) -> io.BytesIO:
    """An archive of two arrays of 60 rows; the first one's header is as given."""
    header = (text % shape).encode() + b"\n"
    width = 2 if version == 1 else 4
    start = b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(width, "little")
    labels, file = io.BytesIO(), io.BytesIO()
    np.save(labels, np.arange(60) % 3)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", start + header + bytes(60 * 4 * 8))
        archive.writestr("y.npy", labels.getvalue())
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("shape", "version"),
    [("(60, 4)", 1), ("(60,4)", 2), ("(60, 4,)", 3), ("(60L, 4L)", 1), ("(60, 4L)", 2)],
)
def test_read_npz_takes_headers_that_numpy_takes(shape: str, version: int) -> None:
    file = with_header(shape, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Python 2 wrote
        assert np.load(file)["x"].shape == (60, 4)
    assert read_npz(file, DatasetOptions()).inputs[0].shape == (4,)


@pytest.mark.parametrize(
    ("shape", "version", "text"),
    [
        *((shape, 1, HEADER) for shape in ("(60,,4)", "(060, 4)", "(6 0, 4)", "(60)", "60, 4")),
        *((shape, 1, HEADER) for shape in ("(,60, 4)", "(60 4)", "(60LL, 4)")),
        ("(60L, 4L)", 3, HEADER),
        ("(60, 4)", 4, HEADER),
        ("(" + "9" * 5000 + ",)", 1, HEADER),
        ("(60, 4)", 1, HEADER + "\x0b"),
        ("(60, 4)", 1, HEADER + " " * 10_000),
    ],
)
def test_read_npz_refuses_headers_that_numpy_refuses(shape: str, version: int, text: str) -> None:
    file = with_header(shape, version, text)
    with pytest.raises((ValueError, SyntaxError)):
        np.load(file)["x"]
    with pytest.raises(RejectedUpload, match=r"header|not a NumPy array"):
        read_npz(file, DatasetOptions())


def test_read_npz_refuses_when_the_checksum_is_wrong() -> None:
    file = io.BytesIO()
    np.savez(file, x=X)
    content = bytearray(file.getvalue())
    content[300] ^= 0xFF
    with pytest.raises(RejectedUpload, match="damaged"):
        read_npz(io.BytesIO(content), DatasetOptions())
