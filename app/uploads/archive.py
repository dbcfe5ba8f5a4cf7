"""Rules for zip archives: looked at before anything inside is read; nothing is ever extracted.

Members are read by the names this project expects, so a hostile name cannot become a path here.
The rules are there for whoever downloads the file next, and to end bombs before they start.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

from app.errors import RejectedUpload

MAX_ENTRIES = 1_000
MAX_NAME_LENGTH = 255
MAX_DEPTH = 32
MAX_DIRECTORY_BYTES = 4 * 2**20
# Deflate reaches 1032:1 on constant bytes. Below the first figure a bomb does no harm.
HARMLESS_BYTES = 64 * 2**20
MAX_RATIO = 200
# The end record, its longest comment, and before it the locator and record of zip64.
TAIL_BYTES = 22 + 2**16 + 20 + 56
END_RECORD = b"PK\x05\x06"
ZIP64_LOCATOR = b"PK\x06\x07"
PLAIN_COMPRESSION = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
UNSAFE_NAME = re.compile(r"^/|^[A-Za-z]:|\\|[\x00-\x1f\x7f]|(^|/)\.\.(/|$)")


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """The archive, if it keeps every rule.

    Raises: RejectedUpload with the rule that is broken.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    _check_directory(file, size_bytes)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise _damaged() from error
    members = archive.infolist()
    for member in members:
        _check_member(member)
    _check_duplicates(members)
    _check_sizes(members, size_bytes)
    return archive


def _check_directory(file: BinaryIO, size_bytes: int) -> None:
    """The table of contents is read whole by `zipfile`, so its size is looked at first."""
    file.seek(max(0, size_bytes - TAIL_BYTES))
    tail = file.read(TAIL_BYTES)
    at = tail.rfind(END_RECORD)
    if at < 0 or len(tail) - at < 22:
        raise _damaged()
    entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if tail[max(0, at - 20) : at].startswith(ZIP64_LOCATOR):
        if at < 76:
            raise _damaged()
        entries, directory_bytes = struct.unpack_from("<QQ", tail, at - 76 + 32)
    if entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise RejectedUpload(
            f"the archive lists more than {MAX_ENTRIES} files",
            hint="Pack only the model or the arrays.",
        )


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if len(name) > MAX_NAME_LENGTH or name.count("/") > MAX_DEPTH:
        raise RejectedUpload(f"the archive holds a name that is too long or deep: {name[:80]!r}...")
    # `filename` is cut at a NUL and has backslashes turned on some systems; the original is not.
    if UNSAFE_NAME.search(name) or UNSAFE_NAME.search(member.orig_filename):
        raise RejectedUpload(
            f"the archive holds an unsafe name: {member.orig_filename[:80]!r}",
            hint="Names must be relative, with forward slashes and no '..' or control characters.",
        )
    if member.flag_bits & 0x1:
        raise RejectedUpload("the archive is encrypted", hint="Upload it without a password.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise RejectedUpload(f"the archive holds a link: {name!r}", hint="Pack plain files.")
    if member.compress_type not in PLAIN_COMPRESSION:
        raise RejectedUpload(
            f"{name!r} is compressed by method {member.compress_type}",
            hint="Store files plainly or deflated.",
        )


def _check_duplicates(members: Sequence[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        folded = unicodedata.normalize("NFC", member.filename).casefold()
        if folded in seen:
            raise RejectedUpload(
                f"the archive holds {member.filename!r} twice",
                hint="Each name may appear once, upper and lower case alike.",
            )
        seen.add(folded)


def _check_sizes(members: Sequence[zipfile.ZipInfo], size_bytes: int) -> None:
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(HARMLESS_BYTES, MAX_RATIO * size_bytes):
        raise RejectedUpload(
            f"{size_bytes} bytes would unpack to {unpacked}, more than {MAX_RATIO} times as much",
            hint="Store large constant arrays uncompressed (numpy.savez).",
        )


def _damaged() -> RejectedUpload:
    return RejectedUpload(
        "the archive is damaged or cut off", hint="Upload it again; check that it opens here."
    )
