"""What a file is: its first bytes decide, its name may only agree."""

from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from app.errors import RejectedUpload, UnsupportedFormat
from app.uploads.archive import open_archive
from app.uploads.names import suffix

HEAD_BYTES = 4096


class UploadKind(StrEnum):
    MODEL = "model"
    DATASET = "dataset"


FORMATS: dict[UploadKind, tuple[str, ...]] = {
    UploadKind.MODEL: ("keras", "h5", "tflite"),
    UploadKind.DATASET: ("npz", "csv"),
}
SUFFIXES: dict[str, str] = {
    ".keras": "keras",
    ".h5": "h5",
    ".hdf5": "h5",
    ".tflite": "tflite",
    ".npz": "npz",
    ".csv": "csv",
}
SPOKEN: dict[str, str] = {
    "keras": "a Keras archive",
    "h5": "an HDF5 file",
    "tflite": "a TensorFlow Lite model",
    "npz": "an archive of NumPy arrays",
    "csv": "text",
}
KERAS_MEMBERS = frozenset({"config.json", "metadata.json"})
WEIGHTS_MEMBER = "model.weights.h5"
# What people send instead, and what to do about it.
KNOWN_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip-compressed", "Unpack it first."),
    (b"PAR1", "a Parquet file", "Save it as .csv or .npz."),
    (b"\x93NUMPY", "a single NumPy array", "Save x and y together with numpy.savez."),
    (b"\xff\xfe", "text in UTF-16", "Save it as UTF-8."),
    (b"\xfe\xff", "text in UTF-16", "Save it as UTF-8."),
    (b"\x80\x04", "a Python pickle", "Pickles run code; save arrays with numpy.savez."),
    (b"\x80\x05", "a Python pickle", "Pickles run code; save arrays with numpy.savez."),
)


def recognize(path: Path, kind: UploadKind, name: str) -> str:
    """The format of a stored file.

    Raises:
        UnsupportedFormat: it is nothing that can be taken as this kind, or not what its name says.
        RejectedUpload: it is an archive that breaks a rule.
    """
    with path.open("rb") as file:
        found = _recognize_bytes(file)
    claimed = SUFFIXES.get(suffix(name))
    if claimed is not None and claimed != found:
        raise UnsupportedFormat(
            f"{name!r} is named as {SPOKEN[claimed]}, but its content is {SPOKEN[found]}",
            hint="Give the file the ending of what it is, or send the file you meant.",
        )
    if found not in FORMATS[kind]:
        raise UnsupportedFormat(
            f"the content is {SPOKEN[found]}, which cannot be a {kind}",
            hint=f"A {kind} is one of: {', '.join(FORMATS[kind])}.",
        )
    return found


def _recognize_bytes(file: BinaryIO) -> str:
    head = file.read(HEAD_BYTES)
    if not head:
        raise RejectedUpload("the file is empty", hint="Send the file's bytes as the body.")
    if head.startswith(b"PK\x03\x04"):
        return _recognize_archive(file)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if head[4:8] == b"TFL3":
        return "tflite"
    for magic, what, hint in KNOWN_OTHERS:
        if head.startswith(magic):
            raise UnsupportedFormat(f"the content is {what}", hint=hint)
    if not _is_text(head):
        raise UnsupportedFormat(
            "the content is none of the formats known here",
            hint="Models: .keras, .h5, .tflite. Data sets: .npz, .csv.",
        )
    return "csv"


def _recognize_archive(file: BinaryIO) -> str:
    with open_archive(file) as archive:
        names = set(archive.namelist())
    if "config.json" in names or WEIGHTS_MEMBER in names:
        missing = sorted((KERAS_MEMBERS | {WEIGHTS_MEMBER}) - names)
        if missing:
            raise RejectedUpload(
                f"this Keras archive lacks {', '.join(missing)}",
                hint="Save the whole model with model.save('name.keras').",
            )
        return "keras"
    if any(name.endswith("saved_model.pb") for name in names):
        raise UnsupportedFormat(
            "the content is a zipped SavedModel", hint="Save the model as .keras and upload that."
        )
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise UnsupportedFormat(
        "the content is a zip archive that is neither a Keras model nor an .npz",
        hint="Models: .keras, .h5, .tflite. Data sets: .npz, .csv.",
    )


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut in two by the end of what was read.
        return error.start >= HEAD_BYTES - 3
    return True
