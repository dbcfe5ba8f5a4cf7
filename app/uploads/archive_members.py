"""Reads the files inside an archive: as many bytes as each declares, checked to the last one.

Everything that reads a member goes through here. What is declared was judged by the rules of
`app.uploads.archive`; here it is seen to that nothing else comes out.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from app.errors import RejectedUpload
from app.uploads.archive_layout import content_start

PIECE_BYTES = 256 * 1024


@contextmanager
def open_member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """The content of one file as a stream.

    Raises: RejectedUpload, here or in the block, where it is damaged, shorter or longer than
        declared; a length or checksum that is wrong shows with the last byte.
    """
    assert archive.fp is not None
    member = archive.getinfo(name)
    reader = _Reader(archive.fp, content_start(archive.fp, member), member)
    with io.BufferedReader(reader, PIECE_BYTES) as stream:
        yield stream


def read_member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """The whole content of one file.

    Raises: RejectedUpload where it is damaged, or declares more than `most_bytes`.
    """
    if archive.getinfo(name).file_size > most_bytes:
        raise RejectedUpload(f"{name} is larger than {most_bytes} bytes")
    with open_member(archive, name) as stream:
        return stream.read()


class _Reader(io.RawIOBase):
    """Unpacks one file piece by piece, never more than was asked for."""

    def __init__(self, file: IO[bytes], start: int, member: zipfile.ZipInfo) -> None:
        self._file = file
        self._member = member
        self._position = start
        self._packed_left = member.compress_size
        self._left = member.file_size
        self._crc = 0
        is_deflated = member.compress_type == zipfile.ZIP_DEFLATED
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if is_deflated else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        wanted = min(len(buffer), self._left)
        piece = self._piece(wanted) if wanted else b""
        if wanted and not piece:
            raise self._damaged()
        self._crc = zlib.crc32(piece, self._crc)
        self._left -= len(piece)
        if not self._left:
            self._check_end()
        buffer[: len(piece)] = piece
        return len(piece)

    def _piece(self, most_bytes: int) -> bytes:
        """Some content; empty where there is none left."""
        if self._unpacker is None:
            return self._packed(most_bytes)
        try:
            while not self._unpacker.eof:
                packed = self._unpacker.unconsumed_tail or self._packed(PIECE_BYTES)
                piece = self._unpacker.decompress(packed, most_bytes)
                if piece or not packed:
                    return piece
        except zlib.error as error:
            raise self._damaged() from error
        return b""

    def _packed(self, most_bytes: int) -> bytes:
        self._file.seek(self._position)
        piece = self._file.read(min(most_bytes, self._packed_left))
        self._position += len(piece)
        self._packed_left -= len(piece)
        return piece

    def _check_end(self) -> None:
        """Nothing more comes out, nothing is left over, and the checksum is that of the table."""
        has_more = self._unpacker is not None and bool(self._piece(1))
        has_rest = self._packed_left or (self._unpacker is not None and not self._is_used_up())
        if has_more or has_rest or self._crc != self._member.CRC:
            raise self._damaged()

    def _is_used_up(self) -> bool:
        assert self._unpacker is not None
        return self._unpacker.eof and not self._unpacker.unused_data

    def _damaged(self) -> RejectedUpload:
        return RejectedUpload(
            f"{self._member.filename!r} in the archive is damaged",
            hint="Upload the file again; check that it opens here.",
        )
