"""Zip rules, on archives made here; the hostile ones of the corpus are in `test_corpus.py`."""

import io
import stat
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import pytest

from app.errors import RejectedUpload
from app.uploads.archive import HARMLESS_BYTES, MAX_ENTRIES, open_archive
from app.uploads.archive_layout import END_RECORD, MAX_MARKS
from app.uploads.archive_members import read_member


def archive(*names: str, content: bytes = b"x", method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name in names:
            written.writestr(name, content)
    return file


def refusal(file: BinaryIO) -> str:
    with pytest.raises(RejectedUpload) as caught:
        open_archive(file)
    return caught.value.detail


def test_open_archive_reads_what_keeps_the_rules() -> None:
    with open_archive(archive("config.json", "assets/words.txt")) as opened:
        assert opened.namelist() == ["config.json", "assets/words.txt"]


@pytest.mark.parametrize(
    "name", ["../up", "a/../../up", "/absolute", "C:/drive", "back\\slash", "line\nbreak", "d/.."]
)
def test_open_archive_refuses_names_that_are_paths_elsewhere(name: str) -> None:
    assert "unsafe name" in refusal(archive(name))


@pytest.mark.parametrize("name", ["n" * 300, "d/" * 40 + "f"])
def test_open_archive_refuses_names_too_long_or_deep(name: str) -> None:
    assert "too long or deep" in refusal(archive(name))


def test_open_archive_refuses_names_that_differ_by_case_alone() -> None:
    assert "twice" in refusal(archive("Config.json", "config.json"))


def test_open_archive_refuses_more_entries_than_a_model_has() -> None:
    assert str(MAX_ENTRIES) in refusal(archive(*(f"{i}" for i in range(MAX_ENTRIES + 1))))


def test_open_archive_refuses_a_table_of_contents_too_large_to_read() -> None:
    assert "more of its files" in refusal(packed(a_member("a", comment=b"c" * 5000)))


def test_open_archive_takes_as_many_entries_as_the_caller_says() -> None:
    file = archive(*(f"{i}" for i in range(MAX_ENTRIES + 1)))
    with open_archive(file, max_entries=MAX_ENTRIES + 1) as opened:
        assert len(opened.infolist()) == MAX_ENTRIES + 1


def test_open_archive_refuses_bombs() -> None:
    bomb = archive("a", content=bytes(HARMLESS_BYTES + 1), method=zipfile.ZIP_DEFLATED)
    assert "unpack" in refusal(bomb)


def test_open_archive_takes_constant_data_when_it_is_small() -> None:
    small = archive("a", content=bytes(2**20), method=zipfile.ZIP_DEFLATED)
    with open_archive(small) as opened:
        assert opened.infolist()[0].file_size == 2**20


def test_open_archive_refuses_compression_that_is_rare() -> None:
    assert "method" in refusal(archive("a", method=zipfile.ZIP_LZMA))


def test_open_archive_refuses_what_is_cut_off() -> None:
    whole = archive("a", "b").getvalue()
    assert "damaged" in refusal(io.BytesIO(whole[: len(whole) // 2]))


# What a member says of itself


def a_member(name: str, **says: Any) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    for field, value in says.items():
        setattr(member, field, value)
    return member


def packed(*members: zipfile.ZipInfo, content: bytes = b"") -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for member in members:
            written.writestr(member, content)
    return file


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (stat.S_IFLNK, "a link"),
        (stat.S_IFIFO, "a device, pipe or socket"),
        (stat.S_IFSOCK, "a device, pipe or socket"),
        (stat.S_IFCHR, "a device, pipe or socket"),
        (stat.S_IFBLK, "a device, pipe or socket"),
        (stat.S_IFDIR, "that it is a folder"),
    ],
)
@pytest.mark.parametrize("system", [0, 3, 19])
def test_open_archive_refuses_what_is_no_plain_file(mode: int, what: str, system: int) -> None:
    member = a_member("a", external_attr=(mode | 0o644) << 16, create_system=system)
    assert what in refusal(packed(member))


def test_open_archive_refuses_links_of_windows() -> None:
    assert "a link" in refusal(packed(a_member("a", external_attr=0x400, create_system=0)))


def test_open_archive_takes_folders_and_files_with_modes() -> None:
    folder = a_member("cats/", external_attr=(stat.S_IFDIR | 0o755) << 16 | 0x10)
    file = a_member("cats/a", external_attr=(stat.S_IFREG | 0o644) << 16)
    with open_archive(packed(folder, file)) as opened:
        assert opened.namelist() == ["cats/", "cats/a"]


def test_open_archive_refuses_a_folder_with_content() -> None:
    member = a_member("a/")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written, written.open(member, "w") as stream:
        stream.write(b"x")
    assert "a folder with content" in refusal(file)


@pytest.mark.parametrize(
    "name", ["./a", "a//b", "a/./b", "a. /b", "end.", "end ", "a\u202eb", "a\u0085b", "\u2028"]
)
def test_open_archive_refuses_names_that_look_like_others(name: str) -> None:
    assert "unsafe name" in refusal(archive(name))


@pytest.mark.parametrize("names", [("a", "a/b"), ("A/b/c", "a/B"), ("a", "a/")])
def test_open_archive_refuses_a_name_that_is_file_and_folder(names: tuple[str, str]) -> None:
    assert "holds" in refusal(archive(*names, content=b""))


def test_open_archive_refuses_names_that_differ_by_composition_alone() -> None:
    assert "twice" in refusal(archive("\u00e9", "e\u0301"))


def test_open_archive_refuses_one_bomb_among_honest_files() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("ballast", bytes(2**20))
        written.writestr("bomb", bytes(HARMLESS_BYTES + 1), zipfile.ZIP_DEFLATED)
    assert "'bomb'" in refusal(file)


# How the bytes lie


class Pipe(io.RawIOBase):
    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.written += piece
        return len(piece)


def test_open_archive_reads_what_was_written_as_a_stream() -> None:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a", b"first")
        with written.open("b", "w", force_zip64=True) as stream:
            stream.write(b"second")
    with open_archive(io.BytesIO(bytes(pipe.written))) as opened:
        assert [read_member(opened, name, 100) for name in "ab"] == [b"first", b"second"]


def test_open_archive_reads_the_zip64_table_when_there_is_one() -> None:
    with open_archive(io.BytesIO(with_zip64(entries=1))) as opened:
        assert opened.namelist() == ["a"]


def with_zip64(entries: int, *, short: int = 0xFFFF) -> bytes:
    content = archive("a").getvalue()
    end = content.rfind(END_RECORD)
    table_bytes, start = struct.unpack_from("<2L", content, end + 12)
    figures = (0, 0, entries, entries, table_bytes, start)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, *figures)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", END_RECORD, 0, 0, short, short, 2**32 - 1, start, 0)
    return content[:end] + record + locator + last


def test_open_archive_refuses_a_zip64_table_that_lists_too_much() -> None:
    assert str(MAX_ENTRIES) in refusal(io.BytesIO(with_zip64(entries=10**6)))


def test_open_archive_refuses_a_zip64_table_that_contradicts_the_short_one() -> None:
    assert "damaged" in refusal(io.BytesIO(with_zip64(entries=1, short=2)))


WHOLE = archive("a", "b").getvalue()
END = WHOLE.rfind(END_RECORD)
TABLE = WHOLE.find(b"PK\x01\x02")


def changed(at: int, form: str, *values: int) -> bytes:
    content = bytearray(WHOLE)
    struct.pack_into(form, content, at, *values)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"#!/bin/sh\n" + WHOLE, "bytes before", id="prefixed"),
        pytest.param(WHOLE + b"\0", "behind the end", id="trailing"),
        pytest.param(WHOLE + WHOLE, "bytes before", id="twice"),
        pytest.param(changed(END + 4, "<H", 1), "one part of several", id="disk"),
        pytest.param(changed(END + 8, "<H", 1), "one part of several", id="entries here"),
        pytest.param(changed(END + 8, "<HH", 1, 1), "damaged", id="too few entries"),
        pytest.param(changed(END + 8, "<HH", 3, 3), "damaged", id="too many entries"),
        pytest.param(changed(END + 12, "<L", 2**31), "bytes before", id="table too long"),
        pytest.param(changed(END + 16, "<L", 0), "bytes before", id="table elsewhere"),
        pytest.param(changed(TABLE + 42, "<L", 32), "bytes before", id="two on one header"),
        pytest.param(changed(TABLE + 42, "<L", 7), "bytes before", id="no header there"),
        pytest.param(changed(6, "<H", 0x800), "contradicts itself", id="other flags"),
        pytest.param(changed(8, "<H", 8), "contradicts itself", id="other method"),
        pytest.param(changed(14, "<L", 1), "contradicts itself", id="other checksum"),
        pytest.param(changed(18, "<L", 0), "contradicts itself", id="other packed size"),
        pytest.param(changed(22, "<L", 99), "contradicts itself", id="other size"),
        pytest.param(changed(30, "<B", ord("c")), "contradicts itself", id="other name"),
        pytest.param(changed(28, "<H", 9), "extra fields of 'a' are damaged", id="overlap"),
        pytest.param(changed(18, "<LL", 2**32 - 1, 2**32 - 1), "damaged", id="zip64 missing"),
        pytest.param(changed(TABLE + 8, "<H", 1), "encrypted", id="flag of the table"),
        pytest.param(changed(TABLE + 20, "<LL", 9, 9), "contradicts itself", id="longer"),
    ],
)
def test_open_archive_refuses_what_tools_read_differently(content: bytes, why: str) -> None:
    assert why in refusal(io.BytesIO(content))


def test_open_archive_refuses_a_gap_between_files() -> None:
    second = WHOLE.find(b"PK\x03\x04", 4)
    content = bytearray(WHOLE[:second] + b"hidden" + WHOLE[second:])
    table = TABLE + 6
    struct.pack_into("<L", content, content.find(b"PK\x01\x02", table + 4) + 42, second + 6)
    struct.pack_into("<L", content, content.rfind(END_RECORD) + 16, table)
    assert "bytes before, between" in refusal(io.BytesIO(bytes(content)))


def with_comment(comment: bytes) -> io.BytesIO:
    file = archive("a")
    with zipfile.ZipFile(file, "a") as written:
        written.comment = comment
    return file


def test_open_archive_takes_a_line_of_text_as_comment() -> None:
    with open_archive(with_comment(b"9fceb02d0ae598e95dc970b74767f19372d61af8")) as opened:
        assert opened.namelist() == ["a"]


@pytest.mark.parametrize("comment", [b"c" * 300, b"\0", b"<?php\n", "\u202e".encode()])
def test_open_archive_refuses_other_comments(comment: bytes) -> None:
    assert "behind the end" in refusal(with_comment(comment))


# What headers say beside


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("<2H", kind, len(value)) + value


def other_name(name: bytes, other: bytes) -> bytes:
    return field(0x7075, struct.pack("<BL", 1, zlib.crc32(name)) + other)


def with_extra(local: bytes, table: bytes) -> io.BytesIO:
    """One file, whose two headers have extra fields."""
    content = archive("a").getvalue()
    header, at = content[:31], content.find(b"PK\x01\x02")
    entry, end = content[at : at + 47], content[at + 47 :]
    header = header[:28] + struct.pack("<H", len(local)) + header[30:] + local
    entry = entry[:30] + struct.pack("<H", len(table)) + entry[32:] + table
    body = header + content[31:at]
    sizes = struct.pack("<2L", len(entry), len(body))
    return io.BytesIO(body + entry + end[:12] + sizes + end[20:])


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        pytest.param(other_name(b"a", b"b"), "another name to 'a'", id="name"),
        pytest.param(field(0x9901, b"\2\0AE\3\x08\0"), "extra field 0x9901", id="encryption"),
        pytest.param(field(0x6375, b"\1abcd"), "extra field 0x6375", id="comment"),
        pytest.param(field(1, bytes(16)), "or gives them twice", id="sizes twice"),
        pytest.param(field(0x5455, b"\0") * 2, "damaged", id="times twice"),
        pytest.param(b"UT\x09\0\0", "damaged", id="cut off"),
        pytest.param(b"\0\0\0", "damaged", id="rest"),
    ],
)
@pytest.mark.parametrize("is_local", [True, False])
def test_open_archive_refuses_extra_fields_that_change_what_is_read(
    extra: bytes, why: str, *, is_local: bool
) -> None:
    assert why in refusal(with_extra(extra, b"") if is_local else with_extra(b"", extra))


@pytest.mark.parametrize(
    "extra",
    [
        field(0x5455, b"\3" + bytes(8)) + field(0x7875, b"\1\4" + bytes(4) + b"\4" + bytes(4)),
        field(0x000A, bytes(32)),
        field(0xD935, bytes(6)),
        other_name(b"a", b"a"),
    ],
)
def test_open_archive_takes_times_owners_and_the_same_name(extra: bytes) -> None:
    with open_archive(with_extra(extra, extra)) as opened:
        assert opened.namelist() == ["a"]


@pytest.mark.parametrize(("said", "is_taken"), [(6, True), (5, False)])
def test_open_archive_refuses_stored_content_with_an_end_inside(said: int, is_taken: bool) -> None:
    """Sizes follow what was written into a pipe: the first that are right end it."""
    inside = b"12345" + struct.pack("<4s3L", b"PK\x07\x08", 0, said, said) + b"rest"
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as written:
        written.writestr("a", inside)
    file = io.BytesIO(bytes(pipe.written))
    if is_taken:
        assert open_archive(file).namelist() == ["a"]
    else:
        assert "two ends of 'a'" in refusal(file)


def test_open_archive_looks_at_so_many_ends_inside_and_no_more() -> None:
    """Each is looked at by itself: a GiB of them would take the API six minutes."""
    for marks, is_taken in ((MAX_MARKS, True), (MAX_MARKS + 1, False)):
        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w") as written:
            written.writestr("a", b"PK\x07\x08" * marks)
        file = io.BytesIO(bytes(pipe.written))
        if is_taken:
            assert open_archive(file).namelist() == ["a"]
        else:
            assert "too many that might be one" in refusal(file)


def with_both(content: bytes, local: int, table: int, value: int) -> io.BytesIO:
    """The same 16-bit field of the first file, in its local header and in the table."""
    changed = bytearray(content)
    struct.pack_into("<H", changed, local, value)
    struct.pack_into("<H", changed, content.index(b"PK\x01\x02") + table, value)
    return io.BytesIO(bytes(changed))


@pytest.mark.parametrize("bit", [4, 5, 7, 8, 9, 10, 12, 14, 15])
def test_open_archive_refuses_flags_that_change_how_a_file_is_read(bit: int) -> None:
    said = refusal(with_both(archive("a").getvalue(), 6, 8, 1 << bit))
    assert f"'a' in the archive has the flags {1 << bit:#06x}" in said


@pytest.mark.parametrize("bit", [1, 2])
def test_open_archive_takes_how_hard_a_packer_tried(bit: int) -> None:
    assert open_archive(with_both(archive("a").getvalue(), 6, 8, 1 << bit)).namelist() == ["a"]


def test_open_archive_refuses_a_file_that_begins_in_another_part() -> None:
    changed = bytearray(archive("a").getvalue())
    struct.pack_into("<H", changed, changed.index(b"PK\x01\x02") + 34, 1)
    assert "one part of several" in refusal(io.BytesIO(bytes(changed)))
