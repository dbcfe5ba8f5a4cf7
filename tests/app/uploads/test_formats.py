"""What a file is taken for."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.errors import PenjingError, RejectedUpload, UnsupportedFormat
from app.uploads.formats import UploadKind, holds_pictures, recognize
from tests.app.datafiles.tables import parquet

MODEL, DATASET = UploadKind.MODEL, UploadKind.DATASET
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
TFLITE = bytes(4) + b"TFL3" + bytes(100)


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "upload"
    path.write_bytes(content)
    return path


def zipped(folder: Path, *names: str) -> Path:
    path = folder / "upload"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else b"x")
    return path


@pytest.mark.parametrize(("content", "found"), [(HDF5, "h5"), (TFLITE, "tflite")])
def test_recognize_goes_by_the_first_bytes(tmp_path: Path, content: bytes, found: str) -> None:
    assert recognize(stored(tmp_path, content), MODEL, "") == found


def test_recognize_finds_a_keras_archive_by_its_members(tmp_path: Path) -> None:
    path = zipped(tmp_path, "metadata.json", "config.json", "model.weights.h5")
    assert recognize(path, MODEL, "net.keras") == "keras"


def test_recognize_finds_numpy_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    assert recognize(tmp_path / "data.npz", DATASET, "data.npz") == "npz"


def test_recognize_finds_text_when_a_letter_is_cut_in_two(tmp_path: Path) -> None:
    assert recognize(stored(tmp_path, b"a," + "ä".encode() * 4000), DATASET, "") == "csv"


@pytest.mark.parametrize("name", ["net", "LeNet v1.5", "lenet.v2", "model-1.5", "weights.bin"])
def test_recognize_takes_any_name_that_claims_nothing(tmp_path: Path, name: str) -> None:
    assert recognize(stored(tmp_path, HDF5), MODEL, name) == "h5"


NAMES = "m.onnx m.PT m.pkl m.npy m.pb m.exe m.json m.jpg m.safetensors m.tar.gz m.keras.exe m.txt"


@pytest.mark.parametrize("name", NAMES.split())
def test_recognize_refuses_any_ending_of_another_format(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path, "metadata.json", "config.json", "model.weights.h5")
    with pytest.raises(UnsupportedFormat, match=r"is named as .* content is a Keras archive"):
        recognize(path, MODEL, name)


@pytest.mark.parametrize("name", ["table.txt", "table.TSV", "table"])
def test_recognize_takes_a_table_that_is_called_text(tmp_path: Path, name: str) -> None:
    assert recognize(stored(tmp_path, b"a,b\n1,2\n"), DATASET, name) == "csv"


def test_recognize_finds_pictures_beside_what_is_hidden(tmp_path: Path) -> None:
    path = zipped(tmp_path, "__MACOSX/._a.png", "cat/1.png", "dog/1.JPEG")
    assert recognize(path, DATASET, "pets.zip") == "images"
    assert holds_pictures(path)


def test_recognize_finds_a_parquet_table(tmp_path: Path) -> None:
    path = stored(tmp_path, parquet())
    assert recognize(path, DATASET, "table.parquet") == "parquet"
    assert not holds_pictures(path)


@pytest.mark.parametrize("name", ["data.zip", "data.parquet"])
def test_recognize_refuses_text_that_is_named_otherwise(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="but its content is text"):
        recognize(stored(tmp_path, b"a,b\n1,2\n"), DATASET, name)


def test_recognize_refuses_when_the_name_claims_something_else(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match=r"named as a Keras archive.* is an HDF5 file"):
        recognize(stored(tmp_path, HDF5), MODEL, "net.KERAS")


def test_recognize_refuses_a_data_set_where_a_model_belongs(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="cannot be a model"):
        recognize(stored(tmp_path, b"a,b\n1,2\n"), MODEL, "")


@pytest.mark.parametrize(
    ("content", "what", "error"),
    [
        (b"", "empty", RejectedUpload),
        (b"\x1f\x8b\x08" + bytes(20), "gzip", UnsupportedFormat),
        (b"\x93NUMPY\x01\x00" + bytes(20), "single NumPy array", UnsupportedFormat),
        (b"PAR1" + bytes(20), "cut off", RejectedUpload),
        (b"PAR1" + bytes(20) + b"\x15\x00\x00\x00PAR1", "footer has 21 bytes", RejectedUpload),
        (b"PARE" + bytes(20) + b"\x04\x00\x00\x00PARE", "encrypted", RejectedUpload),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16", UnsupportedFormat),
        (b"\x80\x04\x95" + bytes(20), "pickle", UnsupportedFormat),
        (bytes(100), "none of the formats", UnsupportedFormat),
        (b"PK\x03\x04" + bytes(20), "damaged", RejectedUpload),
    ],
)
def test_recognize_says_what_was_sent_instead(
    tmp_path: Path, content: bytes, what: str, error: type[PenjingError]
) -> None:
    with pytest.raises(error, match=what):
        recognize(stored(tmp_path, content), DATASET, "data.npz")


def test_recognize_names_what_a_keras_archive_lacks(tmp_path: Path) -> None:
    with pytest.raises(RejectedUpload, match=r"lacks model\.weights\.h5"):
        recognize(zipped(tmp_path, "metadata.json", "config.json"), MODEL, "net.keras")


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("a.png", "pictures, which cannot be a model"),
        ("a.txt", "no Keras model"),
    ],
)
def test_recognize_refuses_other_archives(tmp_path: Path, member: str, what: str) -> None:
    with pytest.raises(UnsupportedFormat, match=what):
        recognize(zipped(tmp_path, member), MODEL, "")


@pytest.mark.parametrize("top", ["", "my model/"])
def test_recognize_takes_a_saved_model_at_the_root_or_in_one_folder(
    tmp_path: Path, top: str
) -> None:
    files = ("saved_model.pb", "fingerprint.pb", "assets/", "variables/variables.index")
    shard = "variables/variables.data-00000-of-00001"
    path = zipped(tmp_path, *(top + name for name in (*files, shard)))
    assert recognize(path, MODEL, "net.zip") == "saved_model"


@pytest.mark.parametrize(
    ("members", "what"),
    [
        (("saved_model.pb", "a/saved_model.pb"), "not exactly once"),
        (("a/b/saved_model.pb",), "not exactly once"),
        (("saved_model.pbtxt",), "not exactly once"),
        (("saved_model.pb", "saved_model.pbtxt"), "written as text"),
        (("saved_model.pb", "assets/vocabulary.txt"), "asset file 'assets/vocabulary.txt'"),
        (("saved_model.pb", "assets.extra/run.sh"), "asset file"),
        (("saved_model.pb", "notes.txt"), "'notes.txt' in the archive is no part"),
        (("m/saved_model.pb", "variables/variables.index"), "is no part of a SavedModel"),
        (("saved_model.pb", "variables/variables.index"), "lacks variables/variables.data"),
        (("saved_model.pb", "variables/variables.data-00000-of-00001"), "lacks variables/var"),
        (("saved_model.pb", "variables/variables.data-00000-of-00002"), "as many as their names"),
    ],
)
def test_recognize_refuses_saved_models_with_other_files(
    tmp_path: Path, members: tuple[str, ...], what: str
) -> None:
    with pytest.raises(RejectedUpload, match=what):
        recognize(zipped(tmp_path, *members), MODEL, "net.zip")
