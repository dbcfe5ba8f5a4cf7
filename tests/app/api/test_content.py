"""Ranges and names of downloads, as pure functions; and a file that is deleted meanwhile."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse

from app.api.content import (
    Content,
    NoSuchRange,
    content_disposition,
    content_response,
    filename_of,
    wanted_range,
)
from app.errors import NotFound

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("given", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=7-", (7, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=2-999", (2, 10)),
        ("Bytes = 2 - 5", (2, 6)),
    ],
)
def test_range_gives_span_when_satisfiable(given: str, span: tuple[int, int]) -> None:
    assert wanted_range(given, None, ETAG, 10) == span


@pytest.mark.parametrize(
    "given", [None, "", "bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b"]
)
def test_range_is_ignored_when_not_a_single_byte_range(given: str | None) -> None:
    assert wanted_range(given, None, ETAG, 10) is None


@pytest.mark.parametrize("given", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_range_is_refused_when_beyond_the_end(given: str) -> None:
    with pytest.raises(NoSuchRange) as refusal:
        wanted_range(given, None, ETAG, 10)
    assert refusal.value.size_bytes == 10


def test_range_is_ignored_when_if_range_names_other_bytes() -> None:
    assert wanted_range("bytes=0-1", '"other"', ETAG, 10) is None
    assert wanted_range("bytes=0-1", ETAG, ETAG, 10) == (0, 2)


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("a.keras", "attachment; filename=\"a.keras\"; filename*=UTF-8''a.keras"),
        (
            '模"\r\n.keras',
            "attachment; filename=\"____.keras\"; filename*=UTF-8''%E6%A8%A1%22%0D%0A.keras",
        ),
        ("../x", "attachment; filename=\".._x\"; filename*=UTF-8''..%2Fx"),
    ],
)
def test_disposition_never_splits_when_names_are_hostile(filename: str, header: str) -> None:
    assert content_disposition(filename) == header


@pytest.mark.parametrize(
    ("name", "filename"),
    [("net", "net.keras"), ("net.keras", "net.keras"), ("n" * 200, "n" * 194 + ".keras")],
)
def test_download_has_the_ending_of_its_format_and_no_longer_name(name: str, filename: str) -> None:
    upload: Any = SimpleNamespace(name=name, format="keras")
    assert filename_of(upload) == filename


@pytest.mark.anyio
async def test_file_is_sent_to_its_end_when_it_is_deleted_meanwhile(tmp_path: Path) -> None:
    content = Content(tmp_path / "file", "ab" * 32, "file.keras")
    request = Request({"type": "http", "method": "GET", "headers": []})
    content.path.write_bytes(b"whole")
    answer = content_response(request, content, nullcontext)
    content.path.unlink()
    assert isinstance(answer, StreamingResponse)
    assert [piece async for piece in answer.body_iterator] == [b"whole"]
    with pytest.raises(NotFound):
        content_response(request, content, nullcontext)
