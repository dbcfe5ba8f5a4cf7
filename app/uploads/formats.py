"""What a file is: its first bytes decide, its name may only agree."""

from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from app.datafiles.image_folder import is_picture
from app.datafiles.parquet_ends import ENCRYPTED_MAGIC, MAGIC, check_ends
from app.errors import RejectedUpload, UnsupportedFormat
from app.recipes.saved_model_files import is_saved_model, members_by_file
from app.uploads import endings
from app.uploads.archive import open_archive
from app.uploads.many_pictures import has_many_pictures
from app.uploads.names import suffix
from app.uploads.other_formats import refuse_other, refuse_other_archive, refuse_other_text
from app.uploads.refusals import refusing

HEAD_BYTES = 4096


class UploadKind(StrEnum):
    MODEL = "model"
    DATASET = "dataset"


FORMATS: dict[UploadKind, tuple[str, ...]] = {
    UploadKind.MODEL: ("keras", "h5", "tflite", "saved_model"),
    UploadKind.DATASET: ("npz", "csv", "parquet", "images"),
}
SPOKEN: dict[str, str] = {
    "keras": "a Keras archive",
    "h5": "an HDF5 file",
    "tflite": "a TensorFlow Lite model",
    "saved_model": "a zipped SavedModel",
    "npz": "an archive of NumPy arrays",
    "csv": "text",
    "parquet": "a Parquet table",
    "images": "an archive of pictures",
}
ZIPPED = frozenset({"keras", "saved_model", "npz", "images"})
KNOWN = (
    "Models: .keras, .h5, .tflite, or a .zip of a SavedModel. Data sets: .npz, .csv, .parquet, or "
    "a .zip with a folder of pictures for each class."
)
KERAS_MEMBERS = frozenset({"config.json", "metadata.json"})
WEIGHTS_MEMBER = "model.weights.h5"


def recognize(path: Path, kind: UploadKind, name: str) -> str:
    """The format of a stored file.

    Raises:
        UnsupportedFormat: it is nothing that can be taken as this kind, or not what its name says.
        RejectedUpload: it is an archive that breaks a rule.
    """
    with path.open("rb") as file:
        found = _recognize_bytes(file, kind)
    _check_name(name, found)
    if found not in FORMATS[kind]:
        raise UnsupportedFormat(
            f"the content is {SPOKEN[found]}, which cannot be a {kind}",
            hint=f"A {kind} is one of: {', '.join(FORMATS[kind])}.",
        )
    return found


def holds_pictures(path: Path) -> bool:
    """Whether it is taken for a data set of pictures; no other rule is looked at."""
    try:
        return recognize(path, UploadKind.DATASET, path.name) == "images"
    except (UnsupportedFormat, RejectedUpload):
        return False


def _check_name(name: str, found: str) -> None:
    """An ending that claims nothing may stand there: `lenet.v2`, `model-1.5`."""
    ending = suffix(name)
    claimed = endings.FORMATS.get(ending)
    if claimed == found or (ending == ".zip" and found in ZIPPED):
        return
    if found == "csv" and ending in endings.TEXTS:
        return
    claims = "a zip archive" if ending == ".zip" else endings.OTHERS.get(ending)
    claims = SPOKEN[claimed] if claimed else claims
    if claims:
        raise UnsupportedFormat(
            f"{name!r} is named as {claims}, but its content is {SPOKEN[found]}",
            hint="Give the file the ending of what it is, or send the file you meant.",
        )


def _recognize_bytes(file: BinaryIO, kind: UploadKind) -> str:
    head = file.read(HEAD_BYTES)
    if not head:
        raise RejectedUpload("the file is empty", hint="Send the file's bytes as the body.")
    if head.startswith(b"PK\x03\x04"):
        is_dataset = kind is UploadKind.DATASET
        return "images" if is_dataset and has_many_pictures(file) else _recognize_archive(file)
    if head.startswith((MAGIC, ENCRYPTED_MAGIC)):
        with refusing():
            check_ends(file)
        return "parquet"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if head[4:8] == b"TFL3":
        return "tflite"
    refuse_other(head)
    if not _is_text(head):
        refuse_other_text(head)
        raise UnsupportedFormat(
            "the content is none of the formats known here",
            hint=KNOWN,
        )
    return "csv"


def _recognize_archive(file: BinaryIO) -> str:
    with open_archive(file) as archive:
        names = set(archive.namelist())
    if is_saved_model(names):
        members_by_file(names)
        return "saved_model"
    if "config.json" in names or WEIGHTS_MEMBER in names:
        missing = sorted((KERAS_MEMBERS | {WEIGHTS_MEMBER}) - names)
        if missing:
            raise RejectedUpload(
                f"this Keras archive lacks {', '.join(missing)}",
                hint="Save the whole model with model.save('name.keras').",
            )
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(is_picture(name) for name in names):
        return "images"
    refuse_other_archive(names)
    raise UnsupportedFormat(
        "the content is a zip archive that holds no Keras model, NumPy arrays or pictures",
        hint=KNOWN,
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
