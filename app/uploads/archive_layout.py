"""How the bytes of a zip archive lie: one file after the other, the table of contents, the end.

    local header, content[, sizes]   once for each file, from the first byte on, without a gap
    table of contents                one entry for each file
    [zip64 record, its locator]
    end record, comment              up to the last byte

(APPNOTE 4.3.7, 4.3.9, 4.3.12, 4.3.14 to 4.3.16.)

Tools read archives from either end, and believe either the local header or the table. Where both
say the same and nothing lies between, before or behind, all tools see the same files: no two of
them share bytes (bombs of overlapping files), and nothing is an image or a program as well.
"""

import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO

from app.errors import RejectedUpload
from app.uploads.archive_extras import IN_ZIP64, long_figures, read_extras

MAX_TABLE_ENTRY_BYTES = 4096
MAX_COMMENT_BYTES = 256
END = struct.Struct("<4s4H2LH")
END_RECORD = b"PK\x05\x06"
LOCATOR = struct.Struct("<4sLQL")
ZIP64_LOCATOR = b"PK\x06\x07"
ZIP64 = struct.Struct("<4sQ2H2L4Q")
ZIP64_RECORD = b"PK\x06\x06"
LOCAL = struct.Struct("<4s5H3L2H")
LOCAL_RECORD = b"PK\x03\x04"
DESCRIPTOR_RECORD = b"PK\x07\x08"
TABLE_ENTRY = struct.Struct("<20x2L3H8xL")
PIECE_BYTES = 4 * 2**20
# Of what might be an end inside plain content: in 8 GiB of noise, two are there by chance.
MAX_MARKS = 1_000
# The sizes stand after the content; the name is UTF-8.
SIZES_FOLLOW = 0x0008
IS_UTF8 = 0x0800


@dataclass(frozen=True)
class Contents:
    """Where the table of contents is, and how many files it lists."""

    entries: int
    start: int
    table_bytes: int
    file_bytes: int


def find_contents(file: BinaryIO) -> Contents:
    """What the end of an archive says.

    Raises: RejectedUpload where it is not there, or contradicts itself.
    """
    file_bytes = file.seek(0, os.SEEK_END)
    tail_start = max(0, file_bytes - END.size - 2**16 - LOCATOR.size - ZIP64.size)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(END_RECORD)
    if at < 0 or len(tail) - at < END.size:
        raise damaged()
    _, disk, table_disk, here, entries, table_bytes, start, comment_bytes = END.unpack_from(
        tail, at
    )
    _check_comment(tail[at + END.size :], comment_bytes)
    said = (disk, table_disk, here, entries, table_bytes, start)
    table_end = tail_start + at
    if at >= LOCATOR.size and tail[at - LOCATOR.size : at].startswith(ZIP64_LOCATOR):
        said = _zip64(tail, at, tail_start, said)
        table_end -= LOCATOR.size + ZIP64.size
    disk, table_disk, here, entries, table_bytes, start = said
    if disk or table_disk or here != entries:
        raise several_parts()
    if start + table_bytes != table_end:
        raise _shifted()
    return Contents(entries, start, table_bytes, file_bytes)


def check_small(contents: Contents, max_entries: int) -> None:
    """The table of contents is read whole by `zipfile`, so its size is looked at first."""
    if contents.entries > max_entries:
        raise RejectedUpload(
            f"the archive lists more than {max_entries} files",
            hint="Pack only the model or the data.",
        )
    if contents.table_bytes > contents.entries * MAX_TABLE_ENTRY_BYTES:
        raise RejectedUpload(
            f"the archive says more of its files than {MAX_TABLE_ENTRY_BYTES} bytes each",
            hint="Pack it again with a common tool.",
        )


def check_layout(file: BinaryIO, contents: Contents, members: Sequence[zipfile.ZipInfo]) -> None:
    """Every byte of the archive belongs to one file, the table or the end.

    Raises: RejectedUpload.
    """
    listed = sum(
        TABLE_ENTRY.size + len(raw_name(member)) + len(member.extra) + len(member.comment)
        for member in members
    )
    if len(members) != contents.entries or listed != contents.table_bytes:
        raise damaged()
    _check_table(file, contents, members)
    position = 0
    for member in sorted(members, key=lambda each: each.header_offset):
        if member.header_offset != position:
            raise _shifted()
        position = _end_of(file, member, contents.start)
    if position != contents.start:
        raise _shifted()


def _check_table(file: BinaryIO, contents: Contents, members: Sequence[zipfile.ZipInfo]) -> None:
    """Extra fields say nothing that another reader could take otherwise."""
    file.seek(contents.start)
    for member in members:
        packed, unpacked, name, extra, comment, offset = TABLE_ENTRY.unpack(
            file.read(TABLE_ENTRY.size)
        )
        if (name, extra) != (len(raw_name(member)), len(member.extra)):
            raise damaged()
        file.seek(name + extra + comment, os.SEEK_CUR)
        extras = read_extras(member.extra, raw_name(member))
        figures = long_figures(extras, (unpacked, packed, offset))
        if figures != (member.file_size, member.compress_size, member.header_offset):
            raise damaged()


def content_start(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin.

    Raises: RejectedUpload where there is no local header.
    """
    file.seek(member.header_offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or not header.startswith(LOCAL_RECORD):
        raise damaged()
    *_, name_bytes, extra_bytes = LOCAL.unpack(header)
    return int(member.header_offset + LOCAL.size + name_bytes + extra_bytes)


def raw_name(member: zipfile.ZipInfo) -> bytes:
    """The name as it stands in the table."""
    encoding = "utf-8" if member.flag_bits & IS_UTF8 else "cp437"
    return member.orig_filename.encode(encoding)


def damaged() -> RejectedUpload:
    return RejectedUpload(
        "the archive is damaged or cut off", hint="Upload it again; check that it opens here."
    )


def several_parts() -> RejectedUpload:
    return RejectedUpload("the archive is one part of several", hint="Pack it as one file.")


def _zip64(
    tail: bytes, at: int, tail_start: int, said: tuple[int, ...]
) -> tuple[int, int, int, int, int, int]:
    """The same figures with 64 bits, where the record before the end agrees with it."""
    record_at = at - LOCATOR.size - ZIP64.size
    if record_at < 0:
        raise damaged()
    _, disk, record_start, disks = LOCATOR.unpack_from(tail, at - LOCATOR.size)
    magic, size, _, _, *figures = ZIP64.unpack_from(tail, record_at)
    is_there = (magic, size) == (ZIP64_RECORD, ZIP64.size - 12)
    if not is_there or disk or disks != 1 or record_start != tail_start + record_at:
        raise damaged()
    for short, full, most in zip(said, figures, (*4 * (0xFFFF,), IN_ZIP64, IN_ZIP64), strict=True):
        if short not in (most, full):
            raise damaged()
    return tuple(figures)


def _check_comment(comment: bytes, said_bytes: int) -> None:
    """Some tools sign archives with a line of text. Anything else behind the end is no archive."""
    is_text = comment.isascii() and comment.decode("ascii", "replace").isprintable()
    if len(comment) != said_bytes or len(comment) > MAX_COMMENT_BYTES or not is_text:
        raise RejectedUpload(
            "there are bytes behind the end of the archive",
            hint="Pack it again, without a comment.",
        )


def _end_of(file: BinaryIO, member: zipfile.ZipInfo, limit: int) -> int:
    """Where the next file must begin, if the local header says what the table says."""
    file.seek(member.header_offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size:
        raise damaged()
    magic, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = LOCAL.unpack(
        header
    )
    name, extra = file.read(name_bytes), file.read(extra_bytes)
    extras = read_extras(extra, name)
    sizes = long_figures(extras, (unpacked, packed))
    listed = (member.file_size, member.compress_size)
    is_same = (magic, flags, method, name) == (
        LOCAL_RECORD,
        member.flag_bits,
        member.compress_type,
        raw_name(member),
    )
    follow = bool(flags & SIZES_FOLLOW)
    is_open = follow and (crc, *sizes) == (0, 0, 0)
    if not is_same or not (is_open or (crc, *sizes) == (member.CRC, *listed)):
        raise RejectedUpload(
            f"the archive contradicts itself about {member.filename!r}",
            hint="Pack it again with a common tool.",
        )
    start = member.header_offset + LOCAL.size + name_bytes + extra_bytes
    end = start + member.compress_size
    if follow:
        end += _descriptor_bytes(file, end, member)
        _check_has_one_end(file, member, start)
    if end > limit:
        raise _shifted()
    return int(end)


def _check_has_one_end(file: BinaryIO, member: zipfile.ZipInfo, start: int) -> None:
    """What is stored plainly ends, for a reader from the front, where sizes follow that are right.

    Honest tools write this into pipes; the packed data of others has an end of its own.
    """
    if member.compress_type != zipfile.ZIP_STORED:
        return
    places = _places(file, DESCRIPTOR_RECORD, start, member.compress_size)
    for count, at in enumerate(places, 1):
        # Each is looked at by itself, which takes minutes where a file is full of them.
        if count > MAX_MARKS:
            raise _two_ends(member)
        file.seek(start + at + len(DESCRIPTOR_RECORD) + 4)
        if file.read(4) == struct.pack("<L", at & 0xFFFFFFFF):
            raise _two_ends(member)


def _two_ends(member: zipfile.ZipInfo) -> RejectedUpload:
    return RejectedUpload(
        f"the archive holds two ends of {member.filename!r}, or too many that might be one",
        hint="Pack it again into a file, or compressed.",
    )


def _places(file: BinaryIO, mark: bytes, start: int, size: int) -> Iterator[int]:
    """Where a mark stands in a part of a file, counted from the beginning of the part."""
    for begin in range(0, size, PIECE_BYTES):
        file.seek(start + begin)
        piece = file.read(min(PIECE_BYTES + len(mark) - 1, size - begin))
        at = piece.find(mark)
        while at >= 0:
            yield begin + at
            at = piece.find(mark, at + 1)


def _descriptor_bytes(file: BinaryIO, at: int, member: zipfile.ZipInfo) -> int:
    """The length of the sizes behind the content, which must be right."""
    file.seek(at)
    found = file.read(24)
    for layout in ("<L2L", "<L2Q"):
        values = struct.pack(layout, member.CRC, member.compress_size, member.file_size)
        for expected in (DESCRIPTOR_RECORD + values, values):
            if found.startswith(expected):
                return len(expected)
    raise RejectedUpload(
        f"the archive contradicts itself about the sizes of {member.filename!r}",
        hint="Pack it again with a common tool.",
    )


def _shifted() -> RejectedUpload:
    return RejectedUpload(
        "the archive holds bytes before, between or under its files",
        hint="Pack it again with a common tool, into a new file.",
    )
