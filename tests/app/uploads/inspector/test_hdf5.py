"""HDF5 files with what Keras never writes."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from app.errors import RejectedUpload
from app.uploads.inspector.hdf5 import file as hdf5
from app.uploads.inspector.hdf5.file import count_not_finite, open_hdf5, pieces, stored_arrays

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def refusal(written: io.BytesIO) -> str:
    with pytest.raises(RejectedUpload) as caught, open_hdf5(written) as file:
        list(stored_arrays(file))
    return caught.value.detail


def test_stored_arrays_finds_every_array_once_however_often_it_is_linked() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["a/b"] = VALUES
        file["again"] = file["a/b"]
        file["a/circle"] = file["a"]
        file["c"] = 1.5
    with open_hdf5(written) as file:
        found = {stored.path: stored.size for stored in stored_arrays(file)}
    assert sorted(found.values()) == [1, 24]


def test_stored_arrays_are_no_more_than_layers_can_have() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        for number in range(hdf5.FREE_OBJECTS + hdf5.OBJECTS_FOR_EACH_NAME + 1):
            file.create_group(str(number))
    with open_hdf5(written) as opened:
        assert not list(stored_arrays(opened, names=2))
        with pytest.raises(RejectedUpload, match="more than the layers of the model can have"):
            list(stored_arrays(opened, names=1))


def test_stored_arrays_refuses_soft_links() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["a"] = VALUES
        file["soft"] = h5py.SoftLink("/a")
    assert "a link at 'soft'" in refusal(written)


def test_stored_arrays_refuses_external_links_without_following_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = VALUES
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["w"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    assert "a link at 'w'" in refusal(written)


def test_stored_arrays_refuses_virtual_datasets(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((2, 3, 4), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (2, 3, 4))
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file.create_virtual_dataset("w", layout)
    assert "'w' keeps its values in another file" in refusal(written)


def test_stored_arrays_refuses_external_storage(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(VALUES.tobytes())
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file.create_dataset("w", (24,), "f4", external=[(str(tmp_path / "raw"), 0, 96)])
    assert "'w' keeps its values in another file" in refusal(written)


def test_stored_arrays_refuses_filters_that_are_looked_up_on_disk() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file.create_dataset("w", data=VALUES, chunks=True, scaleoffset=4)
    assert "filter 6" in refusal(written)


def test_stored_arrays_refuses_shapes_that_are_not_stored() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file.create_dataset("w", (2**40,), "f4")
    assert "'w' declares 4398046511104 bytes but stores 0" in refusal(written)


def test_stored_arrays_refuses_chunks_that_were_never_written() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        sparse = file.create_dataset("w", (2**20,), "f4", chunks=(1024,))
        sparse[:1024] = 1
    assert "'w' declares 4194304 bytes but stores 4096" in refusal(written)


def test_stored_arrays_takes_gzip_but_no_bomb() -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file.create_dataset("w", data=VALUES, compression="gzip")
    with open_hdf5(written) as file:
        assert [stored.size for stored in stored_arrays(file)] == [24]
    bomb = io.BytesIO()
    with h5py.File(bomb, "w") as file:
        file.create_dataset("w", data=np.zeros(2**22), compression="gzip")
    assert "'w' declares 33554432 bytes" in refusal(bomb)


@pytest.mark.parametrize("value", ["text", np.array([b"a"]), np.zeros(2, [("a", "f4")])])
def test_stored_arrays_refuses_values_that_are_no_numbers(value: Any) -> None:
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["w"] = value
    assert "weights are numbers" in refusal(written)


def test_open_hdf5_refuses_what_is_none() -> None:
    assert "does not begin as" in refusal(io.BytesIO(b"\x89HDF\r\n\x1a\n" + bytes(1000)))


@pytest.mark.parametrize("piece_bytes", [4, 16, 20, 48, 10_000])
def test_pieces_hold_every_value_once(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    monkeypatch.setattr(hdf5, "PIECE_BYTES", piece_bytes)
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["w"] = VALUES
        found = list(pieces(file["w"]))
    assert np.concatenate([piece.ravel() for piece in found]).tolist() == VALUES.ravel().tolist()
    assert max(piece.nbytes for piece in found) <= max(piece_bytes, VALUES.itemsize)


def test_count_not_finite_counts_over_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "PIECE_BYTES", 16)
    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        file["w"] = np.where(VALUES % 5 == 0, np.nan, VALUES)
        file["scalar"] = np.inf
        file["whole"] = np.arange(5)
        assert [count_not_finite(file[name]) for name in ("w", "scalar", "whole")] == [5, 1, 0]
