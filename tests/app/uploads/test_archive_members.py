"""Files inside archives, honest ones and such as say of themselves what is not so."""

import io
import struct
import zipfile
import zlib

import pytest

from app.errors import RejectedUpload
from app.uploads.archive import open_archive
from app.uploads.archive_members import PIECE_BYTES, open_member, read_member

CONTENT = bytes(range(256)) * 3000


def archive(method: int, content: bytes = CONTENT) -> zipfile.ZipFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        written.writestr("before", b"-")
        written.writestr("a", content)
    return open_archive(file)


def lying(packed: bytes, unpacked_bytes: int, checksum: int) -> zipfile.ZipFile:
    """One deflated file, and what local header and table say of it alike."""
    said = struct.pack("<H2L2L", 8, 0x21 << 16, checksum, len(packed), unpacked_bytes)
    local = b"PK\x03\x04" + struct.pack("<2H", 20, 0) + said + struct.pack("<2H", 1, 0) + b"a"
    table = b"PK\x01\x02" + struct.pack("<3H", 20, 20, 0) + said
    table += struct.pack("<5H2L", 1, 0, 0, 0, 0, 0, 0) + b"a"
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(table), start, 0)
    return open_archive(io.BytesIO(local + packed + table + end))


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [1, 1000, PIECE_BYTES, 2**20, -1])
def test_open_member_gives_the_content_however_it_is_read(method: int, size: int) -> None:
    content = CONTENT if size != 1 else CONTENT[:500]
    with archive(method, content) as opened, open_member(opened, "a") as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == content


def test_open_member_gives_two_members_in_turns() -> None:
    with (
        archive(zipfile.ZIP_DEFLATED) as opened,
        open_member(opened, "a") as one,
        open_member(opened, "before") as other,
    ):
        assert (one.read(10), other.read(), one.read()) == (CONTENT[:10], b"-", CONTENT[10:])


def test_read_member_gives_an_empty_file() -> None:
    with archive(zipfile.ZIP_DEFLATED, b"") as opened:
        assert read_member(opened, "a", 0) == b""


def test_read_member_refuses_more_than_the_reader_takes() -> None:
    with archive(zipfile.ZIP_STORED) as opened, pytest.raises(RejectedUpload, match="larger than"):
        read_member(opened, "a", len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("packed", "unpacked_bytes", "checksum"),
    [
        pytest.param(deflated(b"abc"), 3, 1, id="checksum"),
        pytest.param(deflated(b"abc"), 4, zlib.crc32(b"abc"), id="shorter than declared"),
        pytest.param(deflated(b"abc"), 2, zlib.crc32(b"ab"), id="longer than declared"),
        pytest.param(deflated(b"abc"), 0, 0, id="declared empty"),
        pytest.param(deflated(bytes(2**20)), 9, zlib.crc32(bytes(9)), id="much longer"),
        pytest.param(deflated(b"abc") + b"hidden", 3, zlib.crc32(b"abc"), id="rest behind"),
        pytest.param(deflated(b"abc")[:-2], 3, zlib.crc32(b"abc"), id="cut off"),
        pytest.param(b"\xff" * 9, 3, 0, id="not deflated"),
    ],
)
def test_read_member_refuses_what_is_not_as_declared(
    packed: bytes, unpacked_bytes: int, checksum: int
) -> None:
    with (
        lying(packed, unpacked_bytes, checksum) as opened,
        pytest.raises(RejectedUpload, match="'a' in the archive is damaged"),
    ):
        read_member(opened, "a", 100)
