"""What is no model or data set of the kinds taken here is called what it is."""

import io
import pickle
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import helper

from app.errors import UnsupportedFormat
from app.uploads.formats import UploadKind, recognize


def onnx_model() -> bytes:
    graph = helper.make_graph([], "g", [], [])
    return bytes(helper.make_model(graph, producer_name="pytorch").SerializeToString())


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


CASES: dict[str, tuple[bytes, str, str]] = {
    "model.onnx": (onnx_model(), "an ONNX model", "never read"),
    "bare.onnx": (onnx.ModelProto(ir_version=8).SerializeToString() + b"\x3a\x00", "ONNX", "never"),
    "old.pt": (pickle.dumps([1], protocol=2), "a Python pickle", "run code"),
    "model.joblib": (pickle.dumps([1], protocol=4), "a Python pickle", "run code"),
    "new.pt": (zipped("m/data.pkl", "m/version", "m/data/0"), "a PyTorch model", "litert-torch"),
    "m.safetensors": (
        (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}' + bytes(99),
        "safetensors",
        "rebuild",
    ),
    "m.gguf": (b"GGUF\x03\x00\x00\x00" + bytes(99), "GGUF", "rebuild"),
    "saved_model.pb": (b"\x08\x01\x12\xff\x01" + bytes(99), "without its variables", "Zip"),
    "m.mlpackage.zip": (zipped("m.mlpackage/Manifest.json"), "Core ML", "made from"),
    "x.feather": (b"ARROW1\x00\x00" + bytes(99), "a table in another format", ".parquet"),
    "pets.zip": (zipped("cat/1.gif", "dog/2.GIF"), "archive of .gif pictures", ".png, .jpg or"),
    "scans.zip": (zipped("a/1.tif"), "archive of .tif pictures", ".bmp"),
    "latin1.csv": ("größe,label\n1,2\n".encode("latin-1"), "not UTF-8", "Save the table as UTF-8"),
    "x.csv.xz": (b"\xfd7zXZ\x00" + bytes(99), "compressed", "Unpack"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", UploadKind)
def test_recognize_says_what_a_file_is_and_what_to_do(
    name: str, kind: UploadKind, tmp_path: Path
) -> None:
    content, what, hint = CASES[name]
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(UnsupportedFormat) as caught:
        recognize(path, kind, name)
    assert what in caught.value.detail
    assert hint in str(caught.value.hint)
