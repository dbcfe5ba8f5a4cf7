"""Files as they are downloaded: ETag, ranges and digests (RFC 9110, RFC 9530, RFC 6266)."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.conditional import none_match
from app.errors import NotFound, RangeNotSatisfiable
from app.uploads.names import with_ending
from app.uploads.upload import Upload

MEDIA_TYPE = "application/octet-stream"
BINARY = {"type": "string", "format": "binary"}
CHUNK_BYTES = 256 * 1024
# Possessive: where the digits may be none, spaces on both sides of them could be told apart in
# as many ways as there are spaces.
SINGLE_RANGE = re.compile(
    r"bytes\s*+=\s*+(\d{0,19}+)\s*+-\s*+(\d{0,19}+)\s*+", re.ASCII | re.IGNORECASE
)


CONTENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {MEDIA_TYPE: {"schema": BINARY}}},
    206: {
        "description": "The range that was asked for.",
        "content": {MEDIA_TYPE: {"schema": BINARY}},
    },
    304: {"description": "As `If-None-Match` knows it."},
}


class NoSuchRange(RangeNotSatisfiable):
    def __init__(self, given: str, size_bytes: int) -> None:
        super().__init__(f"{given} was asked for; the file has {size_bytes} bytes")
        self.size_bytes = size_bytes


@dataclass(frozen=True)
class Content:
    """Bytes that never change under this digest, and the name they are offered under."""

    path: Path
    sha256: str
    filename: str


# Breaks off what is awaited inside once it is not allowed any more.
Guard = Callable[[], AbstractContextManager[None]]


class Download(StreamingResponse):
    """Bytes of a file, for as long as they may be had, however slowly they are taken."""

    def __init__(
        self, chunks: Iterator[bytes], status: int, headers: Mapping[str, str], guard: Guard
    ) -> None:
        super().__init__(chunks, status, headers)
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._guard():
            await super().__call__(scope, receive, send)


def content_response(request: Request, content: Content, guard: Guard) -> Response:
    """The file, a part of it, or 304.

    Raises: NotFound where the bytes are gone, NoSuchRange.
    """
    size_bytes = _size_bytes(content)
    headers = _headers(content)
    if not none_match(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(size_bytes)})
    span = wanted_range(
        request.headers.get("range"), request.headers.get("if-range"), headers["ETag"], size_bytes
    )
    start, end = span or (0, size_bytes)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    chunks = _chunks(_opened(content), start, end)
    return Download(chunks, 206 if span else 200, headers, guard)


def wanted_range(
    given: str | None, if_range: str | None, etag: str, size_bytes: int
) -> tuple[int, int] | None:
    """The half-open span that is asked for; None = everything.

    Several ranges, other units and nonsense are ignored, as the standard allows.
    Raises: NoSuchRange.
    """
    found = SINGLE_RANGE.fullmatch(given or "")
    if not found or found[1] == found[2] == "" or if_range not in (None, etag):
        return None
    if found[1] == "":
        start, end = max(size_bytes - int(found[2]), 0), size_bytes
    else:
        start = int(found[1])
        if found[2] and int(found[2]) < start:
            return None
        end = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
    if start >= size_bytes:
        raise NoSuchRange(found[0], size_bytes)
    return start, end


def filename_of(upload: Upload) -> str:
    """The upload's name, with the ending of its format where it has none of its own."""
    ending = f".{upload.format}"
    has_ending = upload.name.lower().endswith((ending, ".hdf5"))
    return upload.name if has_ending else with_ending(upload.name, ending)


def content_disposition(filename: str) -> str:
    """Save as this name: plain for old readers, in full for the others; never a path."""
    plain = re.sub(r"[^A-Za-z0-9._\- ]", "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _headers(content: Content) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(content.sha256)).decode("ascii")
    return {
        "ETag": f'"{content.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Type": MEDIA_TYPE,
        "Content-Disposition": content_disposition(content.filename),
        # Uploaded bytes are never to be taken for a page of this site.
        "X-Content-Type-Options": "nosniff",
    }


def _size_bytes(content: Content) -> int:
    try:
        return content.path.stat().st_size
    except FileNotFoundError as error:
        raise _gone(content) from error


def _opened(content: Content) -> BinaryIO:
    """Before the answer begins: from here on the file may be deleted, and is sent to its end."""
    try:
        return content.path.open("rb")
    except FileNotFoundError as error:
        raise _gone(content) from error


def _gone(content: Content) -> NotFound:
    return NotFound(f"the bytes of {content.filename!r} are gone from the store")


def _chunks(opened: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with opened as file:
        file.seek(start)
        remaining = end - start
        while remaining and (chunk := file.read(min(CHUNK_BYTES, remaining))):
            remaining -= len(chunk)
            yield chunk
