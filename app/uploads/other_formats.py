"""What people send instead of a model or data set: what it is, and what to do about it."""

import re
from typing import NamedTuple

from app.errors import UnsupportedFormat

PICKLE_HINT = (
    "Pickles run code when they are opened. Save arrays with numpy.savez, a Keras model with "
    "model.save('name.keras')."
)
TORCH_HINT = (
    "Convert the model to TensorFlow Lite (litert-torch) and upload the .tflite file, or rebuild "
    "it in Keras."
)
ONNX_HINT = (
    "ONNX is written here, never read. Upload the Keras model or SavedModel that it was exported "
    "from, or its .tflite file."
)


class Other(NamedTuple):
    """A format that is not taken, by how its files begin."""

    beginning: re.Pattern[bytes]
    what: str
    hint: str


def _other(beginning: bytes, what: str, hint: str) -> Other:
    return Other(re.compile(beginning, re.DOTALL), what, hint)


OTHERS = (
    _other(rb"\x1f\x8b", "gzip-compressed", "Unpack it first."),
    _other(rb"7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed", "Unpack it first."),
    _other(rb"\x93NUMPY", "a single NumPy array", "Save x and y together with numpy.savez."),
    _other(rb"\xff\xfe|\xfe\xff", "text in UTF-16", "Save it as UTF-8."),
    _other(rb"\x80[\x02-\x05]", "a Python pickle", PICKLE_HINT),
    _other(rb"GGUF|ggjt|lmgg", "a language model for llama.cpp (GGUF)", TORCH_HINT),
    # The length of a header, and the header.
    _other(rb".{5}\x00{3}\{\s*\"", "a file of weights (safetensors)", TORCH_HINT),
    # A version of 3 or more, then texts: who wrote it, what it is called, or the graph.
    _other(rb"\x08[\x03-\x1f][\x12\x1a\x22\x32\x3a\x42]", "an ONNX model", ONNX_HINT),
    _other(
        rb"\x08\x01\x12",
        "the graph of a SavedModel without its variables",
        "Zip the whole folder and upload that.",
    ),
    _other(rb"ARROW1|ORC|Obj\x01", "a table in another format", "Save it as .parquet or .csv."),
    _other(rb"MATLAB 5", "a MATLAB file", "Save the arrays with numpy.savez."),
)
# What a table in another encoding has none of.
NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
OTHER_PICTURES = re.compile(
    r".*(\.(?:avif|gif|heic|jp2|jxl|pgm|ppm|svg|tga|tiff?|webp))", re.IGNORECASE
)
# Inside a zip archive, what tells whose it is.
TORCH_ENDINGS = ("/data.pkl", "/version", "/byteorder")


def refuse_other(head: bytes) -> None:
    """Raises: UnsupportedFormat where a file begins as one of those does."""
    for other in OTHERS:
        if other.beginning.match(head):
            raise UnsupportedFormat(f"the content is {other.what}", hint=other.hint)


def refuse_other_text(head: bytes) -> None:
    """Raises: UnsupportedFormat where it begins as a table, in letters that are no UTF-8."""
    first, _, _ = head.partition(b"\n")
    if not NO_TEXT.search(head) and b"," in first:
        raise UnsupportedFormat(
            "the content is text, but not UTF-8", hint="Save the table as UTF-8."
        )


def refuse_other_archive(names: set[str]) -> None:
    """Raises: UnsupportedFormat where a zip archive is a model of another kind."""
    if any(name.endswith(TORCH_ENDINGS) for name in names):
        raise UnsupportedFormat("the content is a PyTorch model", hint=TORCH_HINT)
    if any(".mlpackage/" in name or name.endswith(".mlmodel") for name in names):
        raise UnsupportedFormat(
            "the content is a Core ML model", hint="Upload the model that it was made from."
        )
    pictures = filter(None, map(OTHER_PICTURES.fullmatch, sorted(names)))
    if found := next(pictures, None):
        raise UnsupportedFormat(
            f"the content is a zip archive of {found[1].lower()} pictures, which are not read here",
            hint="Save them as .png, .jpg or .bmp, in a folder for each class.",
        )
