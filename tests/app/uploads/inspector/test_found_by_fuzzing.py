"""Files on which a reader broke instead of refusing, each made anew in its smallest form."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tflite

from app.errors import RejectedUpload
from app.recipes.facts import DatasetOptions
from app.uploads.inspector.csv_table import read_csv
from app.uploads.inspector.hdf5.file import open_hdf5
from app.uploads.inspector.keras.files import read_keras
from app.uploads.inspector.parquet_table import read_parquet
from app.uploads.inspector.tflite.file import read_tflite
from tests.fuzz.archives import packed, unpacked
from tests.hostile_files import CORPUS


def test_tflite_weight_that_is_nan_is_named(tmp_path: Path) -> None:
    content = (CORPUS / "t00_ok.tflite").read_bytes()
    model = tflite.Model.GetRootAsModel(content, 0)
    stored = [model.Buffers(index) for index in range(model.BuffersLength())]
    weights = next(buffer.DataAsNumpy() for buffer in stored if buffer.DataLength() == 48)
    path = tmp_path / "nan.tflite"
    path.write_bytes(content.replace(weights.tobytes(), np.full(12, np.nan, "<f4").tobytes()))
    with path.open("rb") as file, pytest.raises(RejectedUpload, match="12 of 12 values"):
        read_tflite(file)


def test_parquet_column_that_goes_by_two_names_is_refused() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0] * 20, "label": [0, 1] * 10}), file, store_schema=False)
    content = file.getvalue()
    at = content.rfind(b"label")
    renamed = content[:at] + b"labml" + content[at + 5 :]
    with pytest.raises(RejectedUpload, match="damaged"):
        read_parquet(io.BytesIO(renamed), DatasetOptions())


@pytest.mark.parametrize("end", [["o", float("inf"), 0], ["o", 0, float("nan")], ["o", {}, 0]])
def test_keras_output_without_a_number_is_refused(
    end: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectedUpload):
        read_keras(keras_file(lambda config: config["config"].update(output_layers=[end])))


@pytest.mark.parametrize("dtype", ["\ud800", "<img src=x>", "f" * 99])
def test_keras_input_of_a_type_that_cannot_be_shown_is_refused(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectedUpload, match="has the type"):
        read_keras(keras_file(lambda config: input_of(config).update(dtype=dtype)))


def input_of(config: dict[str, Any]) -> dict[str, Any]:
    layer: dict[str, Any] = config["config"]["layers"][0]["config"]
    return layer


def keras_file(change: Callable[[dict[str, Any]], None]) -> io.BytesIO:
    """The honest model, its configuration changed."""
    members = unpacked((CORPUS / "m01_ok.keras").read_bytes())
    for at, (info, content) in enumerate(members):
        if info.filename == "config.json":
            config = json.loads(content)
            change(config)
            members[at] = info, json.dumps(config).encode()
    return io.BytesIO(packed(members))


def test_hdf5_offset_beyond_what_a_file_can_have_is_refused() -> None:
    content = bytearray((CORPUS / "h12_h5_named_keras.keras").read_bytes())
    # The base address of version 0 of the superblock.
    content[24:32] = (2**63 + 8).to_bytes(8, "little")
    with pytest.raises(RejectedUpload), open_hdf5(io.BytesIO(bytes(content))):
        pass


@pytest.mark.parametrize("space", ["\x1c", "\x1e", "\x85", "\u2003"])
def test_csv_cell_with_a_space_that_no_number_has_is_named(space: str) -> None:
    table = f"a,label\n1.5{space},0\nx,1\n".encode()
    with pytest.raises(RejectedUpload, match="is not a finite number"):
        read_csv(io.BytesIO(table), DatasetOptions())
