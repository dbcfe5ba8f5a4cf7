"""A packed file becomes the `.keras` file it was made from, to the last byte."""

import lzma
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import keras

from worker.engine.coding.architecture import checked_config, hint_of_versions
from worker.engine.coding.container import Kind, opened
from worker.engine.coding.errors import PackedFileDamaged, PackedFileTooLarge
from worker.engine.coding.keras_archive import KerasArchive
from worker.engine.coding.stream import Field, Stream
from worker.engine.coding.tensors import read_tensor
from worker.engine.coding.text import TextModel
from worker.engine.exporting.keras_file import write_keras
from worker.engine.foreign import first_line, is_out_of_memory

MOST_TEXT_BYTES = 64 << 20
MOST_BYTES = 4 << 30


def unpack(
    content: bytes, path: Path, check: Callable[[], None], most_bytes: int = MOST_BYTES
) -> None:
    """Write the `.keras` file at `path`. No code of the file runs.

    most_bytes: that its weights may have. Raises: NotPacked, PackedFileDamaged, PackedFileTooLarge.
    """
    kind, code, told = opened(content)
    if kind is Kind.WHOLE_FILE:
        made, hint = _decompressed(code, most_bytes), hint_of_versions("")
        path.write_bytes(made)
    else:
        archive = _rebuilt(code, path, check, most_bytes)
        archive.write(path)
        made, hint = path.read_bytes(), hint_of_versions(archive.metadata)
    found = zlib.crc32(made)
    if found != told:
        path.unlink()
        raise PackedFileDamaged(
            f"the unpacked file has the checksum {found:08x}; {told:08x} was packed", hint=hint
        )


def _rebuilt(code: bytes, path: Path, check: Callable[[], None], most_bytes: int) -> KerasArchive:
    stream = Stream.reading(code, check)
    config, metadata = read_texts(stream)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        blank = _blank(config, metadata, Path(folder) / "blank.keras")
    places = blank.places()
    if places is None:
        raise PackedFileDamaged(
            "the model that Keras rebuilt has weights in pieces, or of a type that is not packed",
            hint=hint_of_versions(metadata),
        )
    total = sum(place.size_bytes for place in places)
    if total > most_bytes:
        raise PackedFileTooLarge(f"the weights take {total} bytes; allowed are {most_bytes}")
    weights = bytearray(blank.weights)
    for place in places:
        tensor = read_tensor(stream, place.shape, place.dtype)
        weights[place.offset : place.offset + place.size_bytes] = tensor.tobytes()
    stream.check_used_up()
    return KerasArchive(config, metadata, bytes(weights))


def read_texts(stream: Stream) -> tuple[str, str]:
    """Configuration and metadata, as they stand in a `.keras` file."""
    length = stream.number(Field.TEXT_LENGTH, 0, MOST_TEXT_BYTES)
    text = TextModel(length).code(stream, None)
    try:
        config, metadata = text.decode().split("\n")
    except ValueError as error:
        raise PackedFileDamaged("the architecture is no text of two lines") from error
    return config, metadata


def _blank(config: str, metadata: str, path: Path) -> KerasArchive:
    """The file of a model so configured, whatever its weights are."""
    try:
        model = keras.saving.deserialize_keras_object(checked_config(config), safe_mode=True)
        write_keras(model, path)
        archive = KerasArchive.read(path)
    except (PackedFileDamaged, PackedFileTooLarge):
        raise
    # Keras raises whatever a layer's constructor raises; to the caller it is all the same.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Keras says here how to let the file run code; that is no advice to pass on.
        is_unsafe = "safe_mode" in str(error) or "unsafe" in str(error)
        reason = "its architecture would run code" if is_unsafe else first_line(error)
        raise PackedFileDamaged(
            f"Keras {keras.__version__} cannot rebuild the model: {reason}",
            hint=hint_of_versions(metadata),
        ) from error
    if archive is None:
        raise PackedFileDamaged("the model has files beside its weights, which were not packed")
    return archive


def _decompressed(code: bytes, most_bytes: int) -> bytes:
    try:
        reader = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 28)
        made = reader.decompress(code, most_bytes + 1)
    except lzma.LZMAError as error:
        raise PackedFileDamaged("the compressed file inside cannot be read") from error
    if len(made) > most_bytes:
        raise PackedFileTooLarge(f"the file inside takes more than {most_bytes} bytes")
    if not reader.eof or reader.unused_data:
        raise PackedFileDamaged("the compressed file inside does not end where it should")
    return made
