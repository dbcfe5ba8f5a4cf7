"""What mutations start from: the corpus, small files of the tests, and honest files made here."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.fuzz.archives import packed, unpacked
from tests.fuzz.binary import WHOLE

TESTS = Path(__file__).parents[1]
CORPUS = TESTS / "corpus"
TFLITE = TESTS / "app" / "uploads" / "inspector" / "files"
MAX_SEED_BYTES = 24 * 1024
FORMATS = {
    ".keras": "keras",
    ".h5": "h5",
    ".tflite": "tflite",
    ".npz": "npz",
    ".npy": "npz",
    ".csv": "csv",
    ".zip": "saved_model",
    ".parquet": "parquet",
}
HONEST = ("c04", "c12", "d16", "d25", "d32", "d34", "h12", "k29", "m0", "s00", "s09", "s10", "t00")
ENCODINGS = {
    **dict.fromkeys(("x0", "x1", "x2", "x3"), "BYTE_STREAM_SPLIT"),
    "label": "DELTA_BINARY_PACKED",
}
DATA = frozenset({"npz", "csv", "parquet", "images"})


@dataclass(frozen=True)
class Seed:
    """One file; `format` is what it was before it is mutated."""

    name: str
    format: str
    content: bytes
    is_honest: bool

    @property
    def kind(self) -> str:
        return "datasets" if self.format in DATA else "models"


@cache
def seeds() -> dict[str, tuple[Seed, ...]]:
    """All, by format, always in the same order."""
    found: dict[str, list[Seed]] = {}
    for seed in (*_files(CORPUS), *_files(TFLITE), *_honest()):
        WHOLE.update(_whole_hdf5(seed))
        if len(seed.content) <= MAX_SEED_BYTES:
            found.setdefault(seed.format, []).append(seed)
    return {kind: tuple(found[kind]) for kind in sorted(found)}


def _files(folder: Path) -> Iterator[Seed]:
    for path in sorted(path for path in folder.iterdir() if path.suffix in FORMATS):
        is_honest = path.name.startswith(HONEST) or folder != CORPUS
        content = path.read_bytes()
        is_hdf5 = content.startswith(b"\x89HDF")
        file_format = "h5" if is_hdf5 else FORMATS[path.suffix]
        yield Seed(path.name, file_format, content, is_honest)


def _whole_hdf5(seed: Seed) -> Iterator[bytes]:
    if seed.format == "h5":
        yield seed.content
    elif seed.format == "keras":
        yield from (
            content for info, content in unpacked(seed.content) if info.filename[-3:] == ".h5"
        )


def _honest() -> Iterator[Seed]:
    for name, kind, content in _made():
        yield Seed(name, kind, content, is_honest=True)


def _made() -> Iterator[tuple[str, str, bytes]]:
    numbers = np.random.default_rng(7)
    x = numbers.normal(size=(20, 4)).astype("f4")
    y = np.arange(20) % 3
    yield "plain.npz", "npz", _npz(x=x, y=y)
    yield "parts.npz", "npz", _npz(x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    yield "named.npz", "npz", _npz(**{"x.a": x, "x.b": x.astype("f2"), "y.c": np.eye(20)})
    columns = np.asfortranarray(numbers.integers(0, 255, (20, 4, 4)).astype(">u2"))
    yield "columns.npz", "npz", _npz(x=columns, y=y)
    yield "packed.npz", "npz", _npz(is_packed=True, x=np.zeros((50, 8, 8), "u1"), y=y[:1])
    rows = b"".join(b"%d,1.5,%d\n" % (n, n % 2) for n in y)
    yield "table.csv", "csv", b"a,b,label\n" + rows
    yield "quoted.csv", "csv", b'"a b","c, d",e\r\n' + b'"1",2e-3,"0"\r\n' * 9
    variants: tuple[dict[str, Any], ...] = (
        {},
        {"compression": "gzip"},
        {"use_dictionary": False, "version": "1.0"},
        # Pages as they are: what is changed in them is met by the decoders themselves.
        {"compression": "none"},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
        {"compression": "none", "use_dictionary": False, "column_encoding": ENCODINGS},
    )
    for number, options in enumerate(variants):
        yield f"table{number}.parquet", "parquet", _parquet(x, y, options)
    for ending, picture in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP")):
        yield f"{ending}.zip", "images", _pictures(ending, picture)
    yield "packed.h5", "h5", _packed_h5()


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if arrays.pop("is_packed", False) else np.savez
    save(file, **arrays)
    return packed(unpacked(file.getvalue()))


def _parquet(x: Any, y: Any, options: dict[str, Any]) -> bytes:
    columns = {f"x{index}": x[:, index] for index in range(x.shape[1])}
    file = io.BytesIO()
    pq.write_table(pa.table({**columns, "label": y}), file, **options)
    return file.getvalue()


def _pictures(ending: str, picture: str) -> bytes:
    members = []
    # As many as are divided into rows to train and to test: only then are they decoded.
    for index in range(14):
        drawn = io.BytesIO()
        Image.new("RGB" if index % 2 else "L", (6, 5), index * 15).save(drawn, picture)
        folder = "cat" if index < 7 else "dog"
        members.append((zipfile.ZipInfo(f"data/{folder}/{index}.{ending}"), drawn.getvalue()))
    return packed(members)


def _packed_h5() -> bytes:
    """A whole model as Keras 3 writes it, its weights in compressed chunks."""
    with zipfile.ZipFile(CORPUS / "m01_ok.keras") as archive:
        config = json.loads(archive.read("config.json"))
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        hdf5.attrs["model_config"] = json.dumps(config)
        hdf5.attrs["keras_version"] = "3.15.1"
        for name, shape in (("kernel", (4, 3)), ("bias", (3,))):
            path = f"model_weights/o/o/{name}"
            data = np.ones(shape, "f4")
            hdf5.create_dataset(path, data=data, chunks=shape, compression="gzip", shuffle=True)
    return file.getvalue()
