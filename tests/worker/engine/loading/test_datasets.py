"""Data sets read for a model: matched, scaled, split, refused."""

import io
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import DataNotUsable
from app.recipes.facts import DatasetOptions, Head, TensorSpec
from app.recipes.task import TaskKind
from tests.builders import write_npz
from worker.engine.loading import npz
from worker.engine.loading.datasets import load_dataset, read_tasks
from worker.engine.order import DatasetFile

PICTURE = TensorSpec(name="picture", shape=(4, 4, 1), dtype="float32")
NUMBERS = TensorSpec(name="numbers", shape=(3,), dtype="float32")
IDS = TensorSpec(name="ids", shape=(3,), dtype="int32")


def pictures(rows: int) -> Any:
    return (np.arange(rows * 16) % 256).astype("uint8").reshape(rows, 4, 4)


def split_arrays(train: int = 12, test: int = 5) -> dict[str, Any]:
    return {
        "x_train": pictures(train),
        "y_train": np.arange(train) % 3,
        "x_test": pictures(test),
        "y_test": np.arange(test) % 3,
    }


def csv_file(path: Path, text: str, **options: Any) -> DatasetFile:
    path.write_text(text)
    return DatasetFile(
        path=path, format="csv", sha256="0" * 64, options=DatasetOptions.model_validate(options)
    )


def test_load_dataset_feeds_scaled_pictures_with_a_channel_and_says_so(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "d.npz", split_arrays(), scale=1 / 255)

    data = load_dataset(file, [PICTURE], ["digit"])

    fed = data.train.take(2)["picture"]
    assert fed.shape == (2, 4, 4, 1)
    np.testing.assert_allclose(fed[0].ravel(), np.arange(16) / 255, rtol=1e-6)
    assert (len(data.train), len(data.test)) == (12, 5)
    assert any("a channel axis was added" in note for note in data.notes)
    assert any("raw x 0.00392157" in note for note in data.notes)


def test_load_dataset_maps_arrays_that_are_stored_without_compression(tmp_path: Path) -> None:
    data = load_dataset(write_npz(tmp_path / "d.npz", split_arrays()), [PICTURE], ["digit"])

    values = data.train.columns["picture"].values
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, pictures(12))


def test_load_dataset_reads_compressed_arrays(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "d.npz", {})
    np.savez_compressed(file.path, **split_arrays())

    data = load_dataset(file, [PICTURE], ["digit"])

    np.testing.assert_array_equal(data.test.columns["picture"].values, pictures(5))


def test_load_dataset_unpacks_large_compressed_arrays_into_a_file_that_it_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "HELD_BYTES", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    file = write_npz(tmp_path / "d.npz", {})
    np.savez_compressed(file.path, **split_arrays())

    data = load_dataset(file, [PICTURE], ["digit"])

    values = data.train.columns["picture"].values
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, pictures(12))
    # Nothing is left to be cleared up.
    assert list((tmp_path / "scratch").iterdir()) == []


def test_load_dataset_says_so_where_a_large_compressed_array_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "HELD_BYTES", 100)
    file = write_npz(tmp_path / "d.npz", {})
    with zipfile.ZipFile(file.path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = io.BytesIO()
        np.save(content, pictures(12))
        archive.writestr("x_train.npy", content.getvalue()[:200])

    with pytest.raises(DataNotUsable, match="the npz file cannot be read"):
        load_dataset(file, [PICTURE], ["digit"])


def test_load_dataset_maps_arrays_in_fortran_order(tmp_path: Path) -> None:
    arrays = split_arrays() | {"x_train": np.asfortranarray(pictures(12))}

    data = load_dataset(write_npz(tmp_path / "d.npz", arrays), [PICTURE], ["digit"])

    np.testing.assert_array_equal(data.train.columns["picture"].values, pictures(12))


def test_load_dataset_splits_one_whole_the_same_way_each_time(tmp_path: Path) -> None:
    arrays = {"x": pictures(40), "y": np.arange(40) % 4}
    file = write_npz(tmp_path / "d.npz", arrays, test_fraction=0.2)

    first, again = (load_dataset(file, [PICTURE], ["digit"]) for _ in range(2))

    assert (len(first.train), len(first.test)) == (32, 8)
    np.testing.assert_array_equal(first.test.rows, again.test.rows)
    np.testing.assert_array_equal(np.bincount(first.test.labels["digit"]), [2, 2, 2, 2])
    assert "8 of 40 rows were set aside for testing" in first.notes


def test_load_dataset_orders_several_inputs_and_outputs_as_the_model_does(tmp_path: Path) -> None:
    rows = np.zeros((6, 3), "float32")
    arrays = {f"{role}_{part}.{name}": values
              for part in ("train", "test")
              for role, name, values in (
                  ("x", "numbers", rows),
                  ("x", "ids", rows.astype("int64") + 5),
                  ("y", "kind", np.arange(6) % 3),
                  ("y", "amount", rows[:, 0]),
              )}  # fmt: skip
    data = load_dataset(
        write_npz(tmp_path / "d.npz", arrays, scale=2.0), [IDS, NUMBERS], ["amount", "kind"]
    )

    assert list(data.train.columns) == ["ids", "numbers"]
    assert list(data.train.labels) == ["amount", "kind"]
    np.testing.assert_array_equal(data.train.take(1)["ids"], [[5, 5, 5]])
    assert "input 'ids' takes int32: scale and offset are not applied to it" in data.notes


def test_load_dataset_names_arrays_it_did_not_use(tmp_path: Path) -> None:
    arrays = split_arrays() | {"class_names": np.array(["a", "b"])}

    data = load_dataset(write_npz(tmp_path / "d.npz", arrays), [PICTURE], ["digit"])

    assert "arrays not used: class_names" in data.notes


def test_load_dataset_reads_a_table_with_its_label(tmp_path: Path) -> None:
    text = "a,kind,b\n" + "".join(f"{i},{i % 2},{-i - 0.5}\n" for i in range(10))
    two = TensorSpec(name="row", shape=(2,), dtype="float32")

    data = load_dataset(csv_file(tmp_path / "d.csv", text, label="kind"), [two], ["kind"])

    rows = data.train.rows
    np.testing.assert_allclose(data.train.take(10)["row"], np.stack([rows, -rows - 0.5], axis=1))
    np.testing.assert_array_equal(data.train.labels["kind"], rows % 2)
    assert data.train.labels["kind"].dtype == np.int64


def test_load_dataset_takes_the_last_column_of_a_table_when_no_label_is_named(
    tmp_path: Path,
) -> None:
    text = "a,b,price\n" + "1,2,3.5\n" * 10
    two = TensorSpec(name="row", shape=(2,), dtype="float32")

    data = load_dataset(csv_file(tmp_path / "d.csv", text), [two], ["price"])

    np.testing.assert_allclose(data.test.labels["price"], [3.5, 3.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((12, 5, 5))}, r"shape \(4, 4, 1\).*have shape \(5, 5\)"),
        ({"x_train": np.full((12, 4, 4), np.nan)}, "x holds NaN or infinity, first in row 0"),
        ({"y_train": np.arange(11)}, "x: 12, y: 11"),
        ({"x_train": np.full((12, 4, 4), "word")}, "type <U4; numbers are needed"),
        ({"y_test": np.zeros((5, 3))}, r"shape \(\) in training and \(3\) in test"),
    ],
)
def test_load_dataset_refuses_arrays_that_do_not_fit(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = write_npz(tmp_path / "d.npz", split_arrays() | change)

    with pytest.raises(DataNotUsable, match=message):
        load_dataset(file, [PICTURE], ["digit"])


def test_load_dataset_never_unpickles(tmp_path: Path) -> None:
    arrays = split_arrays() | {"y_train": np.array([object()] * 12)}

    with pytest.raises(DataNotUsable, match="cannot be read"):
        load_dataset(write_npz(tmp_path / "d.npz", arrays), [PICTURE], ["digit"])


def test_load_dataset_names_both_sides_when_input_names_differ(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "d.npz", split_arrays())

    with pytest.raises(DataNotUsable, match="inputs picture, ids; the data set has x"):
        load_dataset(file, [PICTURE, IDS], ["digit"])


def test_load_dataset_refuses_a_damaged_file(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "d.npz", split_arrays())
    file.path.write_bytes(file.path.read_bytes()[:500])

    with pytest.raises(DataNotUsable, match="cannot be read"):
        load_dataset(file, [PICTURE], ["digit"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\nx,3\n", "something else than numbers"),
        ("a,a\n1,2\n", "each once"),
        ("a,b\n1,2,3\n", "rows have 3 cells, the header has 2"),
    ],
)
def test_load_dataset_refuses_a_table_it_cannot_read(
    text: str, message: str, tmp_path: Path
) -> None:
    one = TensorSpec(name="row", shape=(1,), dtype="float32")

    with pytest.raises(DataNotUsable, match=message):
        load_dataset(csv_file(tmp_path / "d.csv", text), [one], ["b"])


def test_read_tasks_understands_each_output_by_its_labels(tmp_path: Path) -> None:
    data = load_dataset(write_npz(tmp_path / "d.npz", split_arrays()), [PICTURE], ["digit"])
    head = Head(output="digit", shape=(3,), activation="softmax", units=3, compiled_loss=None)

    (task,) = read_tasks([head], data)

    assert (task.kind, task.labels_are) == (TaskKind.CLASSIFICATION, "integer")


def test_read_tasks_says_why_labels_do_not_fit(tmp_path: Path) -> None:
    data = load_dataset(write_npz(tmp_path / "d.npz", split_arrays()), [PICTURE], ["digit"])
    head = Head(output="digit", shape=(2,), activation="softmax", units=2, compiled_loss=None)

    with pytest.raises(DataNotUsable, match=re.escape("labels reach 2")):
        read_tasks([head], data)
