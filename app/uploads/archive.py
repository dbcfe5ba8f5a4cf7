"""Rules for zip archives: looked at before anything inside is read; nothing is ever extracted.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT is the format's specification (APPNOTE).

Members are read by the names this project expects, so a hostile name cannot become a path here.
The rules are there for whoever downloads the file next, to end bombs before they start, and so
that every reader sees the same files in an archive.
"""

import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

from app.errors import RejectedUpload
from app.uploads.archive_layout import (
    IS_UTF8,
    SIZES_FOLLOW,
    Contents,
    check_layout,
    check_small,
    damaged,
    find_contents,
    several_parts,
)
from app.uploads.names import UNSHOWABLE

MAX_ENTRIES = 1_000
MAX_NAME_LENGTH = 255
MAX_DEPTH = 32
# Deflate reaches 1032:1 on constant bytes. Below the first figure a bomb does no harm.
HARMLESS_BYTES = 64 * 2**20
MAX_RATIO = 200
PLAIN_COMPRESSION = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
UNSAFE_NAME = re.compile(r"^/|^[A-Za-z]:|\\|//|(^|/)\.{1,2}(/|$)|[. ](/|$)")
# Bits of the flags (APPNOTE 4.4.4): encrypted, strongly encrypted, names hidden.
ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000
# How hard a packer tried (two bits), sizes behind the content, names in UTF-8.
PLAIN_FLAGS = 0x0002 | 0x0004 | SIZES_FOLLOW | IS_UTF8
PLAIN_KINDS = frozenset({0, stat.S_IFREG, stat.S_IFDIR})
# Windows: volume label, device, link of any kind.
SPECIAL_ATTRIBUTES = 0x0008 | 0x0040 | 0x0400
DIRECTORY_ATTRIBUTE = 0x0010


def open_archive(file: BinaryIO, max_entries: int = MAX_ENTRIES) -> zipfile.ZipFile:
    """The archive, if it keeps every rule.

    Raises: RejectedUpload with the rule that is broken.
    """
    contents = find_contents(file)
    check_small(contents, max_entries)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise damaged() from error
    _check_members(archive.infolist(), contents)
    check_layout(file, contents, archive.infolist())
    return archive


def _check_members(members: Sequence[zipfile.ZipInfo], contents: Contents) -> None:
    for member in members:
        _check_name(member)
        _check_kind(member)
        _check_size(member)
    _check_duplicates(members)
    _check_total(members, contents.file_bytes)


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if len(name) > MAX_NAME_LENGTH or name.count("/") > MAX_DEPTH:
        raise RejectedUpload(f"the archive holds a name that is too long or deep: {name[:80]!r}...")
    # `filename` is cut at a NUL, has backslashes turned on some systems, and later versions of
    # Python take it from elsewhere; the original is what stands there.
    if not name or not (_is_safe(name) and _is_safe(member.orig_filename)):
        raise RejectedUpload(
            f"the archive holds an unsafe name: {member.orig_filename[:80]!r}",
            hint="Names must be relative, with forward slashes, no '.' or '..', no dot or space at "
            "the end, and no control or direction characters.",
        )


def _is_safe(name: str) -> bool:
    if UNSAFE_NAME.search(name):
        return False
    # Of ASCII, control characters alone cannot be shown; archives of pictures have many names.
    if name.isascii():
        return name.isprintable()
    return not any(unicodedata.category(character) in UNSHOWABLE for character in name)


def _check_kind(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & ENCRYPTED_FLAGS:
        raise RejectedUpload("the archive is encrypted", hint="Upload it without a password.")
    if unknown := member.flag_bits & ~PLAIN_FLAGS:
        raise RejectedUpload(
            f"{name!r} in the archive has the flags {unknown:#06x}, which change how it is read",
            hint="Pack it again with a common tool.",
        )
    if member.volume:
        raise several_parts()
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode) or member.external_attr & SPECIAL_ATTRIBUTES & 0xFFFF:
        raise RejectedUpload(f"the archive holds a link: {name!r}", hint="Pack plain files.")
    if stat.S_IFMT(mode) not in PLAIN_KINDS:
        raise RejectedUpload(
            f"the archive holds a device, pipe or socket: {name!r}", hint="Pack plain files."
        )
    is_directory = stat.S_ISDIR(mode) or bool(member.external_attr & DIRECTORY_ATTRIBUTE)
    if is_directory and not name.endswith("/"):
        raise RejectedUpload(f"the archive says of the file {name!r} that it is a folder")


def _check_size(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.compress_type not in PLAIN_COMPRESSION:
        raise RejectedUpload(
            f"{name!r} is compressed by method {member.compress_type}",
            hint="Store files plainly or deflated.",
        )
    if name.endswith("/") and member.file_size:
        raise RejectedUpload(f"the archive holds a folder with content of its own: {name!r}")
    is_stored = member.compress_type == zipfile.ZIP_STORED
    if is_stored and member.file_size != member.compress_size:
        raise RejectedUpload(
            f"{name!r} is stored plainly, but its two sizes are {member.file_size} and "
            f"{member.compress_size} bytes"
        )
    if member.file_size > max(HARMLESS_BYTES, MAX_RATIO * member.compress_size):
        raise _bomb(f"{name!r}: {member.compress_size} bytes", member.file_size)


def _check_duplicates(members: Sequence[zipfile.ZipInfo]) -> None:
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        folded = _folded(member.filename.rstrip("/"))
        is_folder = member.filename.endswith("/")
        if folded in files or (is_folder and folded in folders):
            raise RejectedUpload(
                f"the archive holds {member.filename!r} twice",
                hint="Each name may appear once, upper and lower case alike.",
            )
        (folders if is_folder else files).add(folded)
    _check_parents(files, folders)


def _check_parents(files: set[str], folders: set[str]) -> None:
    """What is a file cannot hold others."""
    looked_at: set[str] = set()
    for name in (*files, *folders):
        parent = name.rpartition("/")[0]
        while parent and parent not in looked_at:
            if parent in files:
                raise RejectedUpload(f"the archive holds {name!r} inside of what is a file there")
            looked_at.add(parent)
            parent = parent.rpartition("/")[0]


def _folded(name: str) -> str:
    """As the file systems that ignore case and composition compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _check_total(members: Sequence[zipfile.ZipInfo], file_bytes: int) -> None:
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(HARMLESS_BYTES, MAX_RATIO * file_bytes):
        raise _bomb(f"{file_bytes} bytes", unpacked)


def _bomb(what: str, unpacked: int) -> RejectedUpload:
    return RejectedUpload(
        f"{what} would unpack to {unpacked}, more than {MAX_RATIO} times as much",
        hint="Store large constant arrays uncompressed (numpy.savez).",
    )
