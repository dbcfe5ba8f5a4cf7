"""Zip rules, on archives made here; the hostile ones of the corpus are in `test_corpus.py`."""

import io
import struct
import zipfile
from typing import BinaryIO

import pytest

from app.errors import RejectedUpload
from app.uploads.archive import HARMLESS_BYTES, MAX_ENTRIES, open_archive


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
    file = archive("a")
    end = file.getvalue().rfind(b"PK\x05\x06")
    changed = bytearray(file.getvalue())
    struct.pack_into("<I", changed, end + 12, 2**31)
    assert str(MAX_ENTRIES) in refusal(io.BytesIO(bytes(changed)))


def test_open_archive_looks_at_the_zip64_table_when_there_is_one() -> None:
    content = archive("a").getvalue()
    end = content.rfind(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, 2**40, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    changed = content[:end] + record + locator + content[end:]
    assert str(MAX_ENTRIES) in refusal(io.BytesIO(changed))


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
