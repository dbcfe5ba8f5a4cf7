"""The same data in every format it may come in: bit for bit the same rows."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import DataNotUsable
from app.recipes.facts import DatasetOptions, TensorSpec
from app.uploads.inspector.csv_table import read_csv as inspect_csv
from app.uploads.inspector.images import read_images as inspect_images
from app.uploads.inspector.npz import read_npz as inspect_npz
from app.uploads.inspector.parquet_table import read_parquet as inspect_parquet
from tests.app.datafiles.drawn import HEIGHT, WIDTH, archive, encoded, folder, pixels
from tests.app.datafiles.tables import parquet
from tests.builders import write_npz
from worker.engine.loading import arrays
from worker.engine.loading.datasets import Dataset, load_dataset
from worker.engine.order import DatasetFile

ROWS = 30
CLASSES = np.arange(ROWS) % 3


def file(path: Path, file_format: str, content: bytes, **options: Any) -> DatasetFile:
    path.write_bytes(content)
    return DatasetFile.model_validate(
        {"path": path, "format": file_format, "sha256": "0" * 64, "options": options}
    )


def loaded(data: DatasetFile, shape: tuple[int, ...]) -> Dataset:
    return load_dataset(data, [TensorSpec(name="x", shape=shape, dtype="float32")], ["y"])


def assert_same(one: Dataset, other: Dataset) -> None:
    for ours, theirs in ((one.train, other.train), (one.test, other.test)):
        stored = (ours.columns["x"].values, theirs.columns["x"].values)
        assert stored[0].dtype == stored[1].dtype
        np.testing.assert_array_equal(*stored)
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        np.testing.assert_array_equal(ours.labels["y"], theirs.labels["y"])
        fed = (ours.take(ROWS)["x"], theirs.take(ROWS)["x"])
        assert fed[0].tobytes() == fed[1].tobytes()


def in_folders(drawn: Any, top: str = "") -> dict[str, bytes]:
    return {
        f"{top}{label}/{row:03d}.png": encoded(each)
        for row, (each, label) in enumerate(zip(drawn, CLASSES, strict=True))
    }


@pytest.fixture(params=[2**26, 64], ids=["held", "mapped"])
def _room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "HELD_BYTES", request.param)


@pytest.mark.usefixtures("_room")
@pytest.mark.parametrize("channels", [None, 3])
def test_pictures_are_the_rows_of_an_npz(tmp_path: Path, channels: int | None) -> None:
    drawn = np.stack([pixels(row, channels=channels) for row in range(ROWS)])
    order = np.argsort(CLASSES, kind="stable")
    how = {"scale": 1 / 255, "offset": -0.5, "test_fraction": 0.3}
    in_zip = file(tmp_path / "d.zip", "images", archive(in_folders(drawn)), **how)
    in_npz = write_npz(tmp_path / "d.npz", {"x": drawn[order], "y": CLASSES[order]}, **how)

    shape = (HEIGHT, WIDTH, channels or 1)
    ours = loaded(in_zip, shape)

    assert_same(ours, loaded(in_npz, shape))
    assert ours.train.columns["x"].values.dtype == np.uint8
    assert (
        "classes are numbered by the names of their folders: 0: '0', 1: '1', 2: '2'" in ours.notes
    )


def test_pictures_of_train_and_test_are_the_rows_of_an_npz(tmp_path: Path) -> None:
    drawn = np.stack([pixels(row) for row in range(ROWS)])
    order = np.argsort(CLASSES, kind="stable")
    parts = {**in_folders(drawn, "train/"), **in_folders(255 - drawn, "test/")}
    x, y = drawn[order], CLASSES[order]
    in_npz: dict[str, Any] = {"x_train": x, "y_train": y, "x_test": 255 - x, "y_test": y}
    assert_same(
        loaded(file(tmp_path / "d.zip", "images", archive(parts)), (HEIGHT, WIDTH)),
        loaded(write_npz(tmp_path / "d.npz", in_npz), (HEIGHT, WIDTH)),
    )


@pytest.mark.usefixtures("_room")
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int64"])
def test_columns_are_the_rows_of_an_npz(tmp_path: Path, dtype: str) -> None:
    x = (np.random.default_rng(3).normal(size=(ROWS, 4)) * 50).astype(dtype)
    columns = {f"c{place}": x[:, place] for place in range(4)}
    how = {"scale": 0.1, "test_fraction": 0.3}
    content = parquet({**columns, "y": CLASSES}, row_group_size=11)
    assert_same(
        loaded(file(tmp_path / "d.parquet", "parquet", content, **how), (4,)),
        loaded(write_npz(tmp_path / "d.npz", {"x": x, "y": CLASSES}, **how), (4,)),
    )


def test_columns_are_the_rows_of_a_csv(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(ROWS, 2))
    rows = "".join(f"{a!r},{b!r},{y}\n" for (a, b), y in zip(x.tolist(), CLASSES, strict=True))
    content = parquet({"a": x[:, 0], "b": x[:, 1], "y": CLASSES})
    assert_same(
        loaded(file(tmp_path / "d.parquet", "parquet", content), (2,)),
        loaded(file(tmp_path / "d.csv", "csv", f"a,b,y\n{rows}".encode()), (2,)),
    )


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    lines = ["a,y\n", *(f"{row},{y}\n" for row, y in enumerate(CLASSES))]
    spaced = "\ufeff \n" + "\n \t\r\n".join(lines) + "  "
    assert inspect_csv(io.BytesIO(spaced.encode()), DatasetOptions())[0].train_rows == 24
    assert_same(
        loaded(file(tmp_path / "spaced.csv", "csv", spaced.encode()), (1,)),
        loaded(file(tmp_path / "d.csv", "csv", "".join(lines).encode()), (1,)),
    )


def test_labels_that_no_integer_holds_are_values(tmp_path: Path) -> None:
    rows = "".join(f"{row},{y}e300\n" for row, y in enumerate(CLASSES))
    labels = loaded(file(tmp_path / "d.csv", "csv", f"a,y\n{rows}".encode()), (1,)).train.labels
    assert labels["y"].dtype.kind == "f"
    assert labels["y"].max() == 2e300


def test_label_is_the_column_that_is_called_so_in_both_tables(tmp_path: Path) -> None:
    x = np.arange(float(ROWS))
    content = parquet({"label": CLASSES, "a": x, "b": x})
    text = "label,a,b\n" + "".join(f"{y},{a},{a}\n" for y, a in zip(CLASSES, x, strict=True))
    one = loaded(file(tmp_path / "d.parquet", "parquet", content), (2,))
    other = loaded(file(tmp_path / "d.csv", "csv", text.encode()), (2,))
    assert_same(one, other)
    assert set(one.train.labels["y"].tolist()) == {0, 1, 2}


def test_inspector_and_engine_agree_on_facts(tmp_path: Path) -> None:
    """What was promised at the upload is what a job finds, in the words of an .npz."""
    drawn = np.stack([pixels(row) for row in range(ROWS)])
    npz = write_npz(tmp_path / "d.npz", {"x": drawn, "y": CLASSES})
    with npz.path.open("rb") as stored:
        expected = inspect_npz(stored, DatasetOptions())
    found = inspect_images(io.BytesIO(archive(in_folders(drawn))), DatasetOptions())
    assert found.inputs == expected.inputs
    assert found.labels[0].model_copy(update={"classes": None}) == expected.labels[0]

    flat = drawn.reshape(ROWS, -1)
    columns = {f"p{place}": flat[:, place] for place in range(flat.shape[1])}
    table, _ = inspect_parquet(io.BytesIO(parquet({**columns, "y": CLASSES})), DatasetOptions())
    assert table.labels == expected.labels
    assert table.inputs[0].model_copy(update={"shape": (HEIGHT, WIDTH)}) == expected.inputs[0]


@pytest.mark.parametrize(
    ("file_format", "content", "why"),
    [
        ("images", archive({**folder(), "cat/x.png": b"x"}), "'cat/x.png' does not begin as a PNG"),
        ("images", b"PK\x03\x04" + bytes(40), "archive of pictures cannot be read"),
        ("images", b"", "archive of pictures cannot be read"),
        ("parquet", b"PAR1" + bytes(40), "the Parquet file is cut off"),
        ("parquet", parquet({"x": [1.0, np.nan] * 9, "y": [1] * 18}), "row 2, column 'x' is NaN"),
    ],
)
def test_load_dataset_fails_with_the_reason(
    tmp_path: Path, file_format: str, content: bytes, why: str
) -> None:
    with pytest.raises(DataNotUsable, match=why):
        loaded(file(tmp_path / "d", file_format, content), (1,))
