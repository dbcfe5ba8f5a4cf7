"""Mutations of zip archives: of what is inside, with right checksums; of names and attributes."""

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz import plain
from tests.fuzz.binary import mutated_hdf5, mutated_picture
from tests.fuzz.protobuf import mutated_protobuf
from tests.fuzz.tables import mutated_index
from tests.fuzz.textual import mutated_array, mutated_json
from tests.fuzz.tokens import NAMES

Member = tuple[zipfile.ZipInfo, bytes]
MAX_MEMBERS = 1200
MAX_UNPACKED_BYTES = 2**20
UNREADABLE = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError)
INSIDE: dict[str, Callable[[bytes, bytes, Random], bytes]] = {
    "json": mutated_json,
    "npy": mutated_array,
    "h5": mutated_hdf5,
    "pb": mutated_protobuf,
    "index": mutated_index,
    "png": mutated_picture,
    "jpg": mutated_picture,
    "bmp": mutated_picture,
}


def mutated_archive(content: bytes, other: bytes, random: Random) -> bytes:
    """Mostly one of its files changed from inside, packed again."""
    if random.random() < 0.1:
        return plain.mutated(content, other, random)
    members = unpacked(content)
    if not members:
        return plain.mutated(content, other, random)
    if random.random() < 0.85:
        _change_content(members, other, random)
    else:
        _change_list(members, other, random)
    return packed(members)


def unpacked(content: bytes) -> list[Member]:
    """Every file with its content; none where the archive cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
                return []
            return [(info, archive.read(info)) for info in infos[:MAX_MEMBERS]]
    except (*UNREADABLE, EOFError, OSError, IndexError):
        return []


def packed(members: list[Member]) -> bytes:
    """The same content always gives the same bytes; two files of one name are wanted here."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for old, content in members:
            info = zipfile.ZipInfo(old.filename or "empty")
            info.external_attr, info.create_system = old.external_attr, old.create_system
            info.compress_type = old.compress_type
            archive.writestr(info, content)
    return file.getvalue()


def _change_content(members: list[Member], other: bytes, random: Random) -> None:
    at = random.randrange(len(members))
    info, content = members[at]
    donors = [theirs for _, theirs in unpacked(other)] or [other]
    ending = info.filename.rpartition(".")[2]
    mutate = INSIDE.get(ending, plain.mutated)
    members[at] = info, mutate(content, random.choice(donors), random)


def _change_list(members: list[Member], other: bytes, random: Random) -> None:
    at = random.randrange(len(members))
    info, content = members[at]
    match random.randrange(7):
        case 0:
            del members[at]
        case 1:
            members.append((zipfile.ZipInfo(random.choice(NAMES)), content))
        case 2:
            members[at] = zipfile.ZipInfo(random.choice(NAMES)), content
        case 3:
            _, theirs = members[random.randrange(len(members))]
            members[at] = info, theirs
        case 4:
            members.extend(unpacked(other)[: MAX_MEMBERS - len(members)])
        case 5:
            info.external_attr = random.randrange(2**32)
        case _:
            stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
            info.compress_type = random.choice((stored, deflated, zipfile.ZIP_BZIP2))
