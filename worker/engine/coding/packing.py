"""A `.keras` file becomes a packed one, and it is made sure that it comes back."""

import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from worker.engine.coding.container import Kind, sealed
from worker.engine.coding.errors import PackedFileDamaged, PackedFileTooLarge
from worker.engine.coding.forms import Tensor
from worker.engine.coding.keras_archive import KerasArchive, Place
from worker.engine.coding.stream import Field, Stream
from worker.engine.coding.tensors import write_tensor
from worker.engine.coding.text import TextModel
from worker.engine.coding.unpacking import MOST_BYTES, MOST_TEXT_BYTES, unpack
from worker.engine.quantizing.levels import Levels

# A weight, and on which few values it lies.
Leveled = tuple[Tensor, Levels]


@dataclass(frozen=True)
class Packed:
    """A packed file. `weights_bytes`: what of it holds weights; the rest is architecture."""

    content: bytes
    weights_bytes: int


def pack(path: Path, leveled: Iterable[Leveled], check: Callable[[], None]) -> Packed:
    """Pack the file at `path`, which `write_keras` wrote.

    leveled: weights of the model with the levels they lie on; they are found again by value.
    check: called between parts, to raise where a job was cancelled.
    Where the model cannot be rebuilt from its configuration to the same bytes, the whole file is
    compressed as it is. Raises: PackedFileTooLarge for a file that `unpack` would refuse.
    """
    size_bytes = path.stat().st_size
    if size_bytes > MOST_BYTES:
        raise PackedFileTooLarge(
            f"the .keras file takes {size_bytes} bytes; {MOST_BYTES} can be packed"
        )
    archive = KerasArchive.read(path)
    places = archive.places() if archive else None
    if archive is None or places is None:
        return _as_it_is(path)
    packed = _modelled(archive, places, leveled, check, zlib.crc32(path.read_bytes()))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        again = Path(folder) / "again.keras"
        try:
            unpack(packed.content, again, check)
        except (ValueError, TypeError, OSError, PackedFileDamaged, PackedFileTooLarge):
            return _as_it_is(path)
        same = again.read_bytes() == path.read_bytes()
    return packed if same else _as_it_is(path)


def _modelled(
    archive: KerasArchive,
    places: list[Place],
    leveled: Iterable[Leveled],
    check: Callable[[], None],
    of_unpacked: int,
) -> Packed:
    levels = {_key(tensor): one for tensor, one in leveled}
    stream = Stream.writing(check)
    write_text(stream, f"{archive.config}\n{archive.metadata}".encode())
    architecture_bytes = stream.position
    for place in places:
        tensor = archive.tensor(place)
        write_tensor(stream, tensor, levels.get(_key(tensor)))
    code = stream.finish()
    return Packed(sealed(Kind.MODEL, code, of_unpacked), max(0, len(code) - architecture_bytes))


def write_text(stream: Stream, text: bytes) -> None:
    """A text with its length."""
    stream.number(Field.TEXT_LENGTH, len(text), MOST_TEXT_BYTES)
    TextModel(len(text)).code(stream, text)


def _as_it_is(path: Path) -> Packed:
    content = path.read_bytes()
    code = lzma.compress(content, lzma.FORMAT_ALONE, preset=9)
    return Packed(sealed(Kind.WHOLE_FILE, code, zlib.crc32(content)), len(code))


def _key(tensor: Tensor) -> tuple[tuple[int, ...], str, bytes]:
    return tensor.shape, tensor.dtype.str, sha256(tensor.tobytes()).digest()
