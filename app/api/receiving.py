"""The bytes of an upload as they arrive: the raw body, or the `file` of a multipart form.

Nothing is held but one batch; where the bytes go is the business of `app.uploads`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from app.accounts.quotas import Room
from app.api.body_limit import announced_bytes
from app.api.complaints import invalid, unknown_name
from app.errors import Complaint, Malformed, TooLarge

BATCH_BYTES = 2**20
# A caller that sends nothing for this long is gone.
IDLE_S = 60.0
# One that is slower than 28 kbit/s is taken for one that only holds the connection.
MIB_LIMIT_S = 300.0
# Boundaries and headers around the file of a form.
FORM_OVERHEAD_BYTES = 64 * 1024
MAX_PART_HEADERS = 16

Name = Annotated[
    str | None,
    Query(
        max_length=200,
        description="What to call it; else the file's own name.",
        json_schema_extra={"pattern": r"^[^\u0000]*$"},
    ),
]
BINARY = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": BINARY},
    "additionalProperties": False,
}
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": BINARY},
            "multipart/form-data": {"schema": FORM},
        },
    }
}


class BodyStalled(Malformed):
    code = "body_stalled"
    title = "The rest of the body did not come"


@dataclass(frozen=True)
class Incoming:
    """A file on its way in. `filename` is what the caller calls it: data, never a path."""

    filename: str | None
    batches: AsyncIterator[bytes]


async def incoming_file(request: Request, room: Room) -> Incoming:
    """Read up to the first byte of the file.

    Raises: TooLarge or QuotaStorage by the announced size, Malformed, Invalid for form fields but
        `file`. Reading on raises TooLarge, Malformed or BodyStalled.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    is_form = kind == b"multipart/form-data"
    overhead_bytes = FORM_OVERHEAD_BYTES if is_form else 0
    announced = announced_bytes(request.headers)
    if announced is not None:
        room.require(announced - overhead_bytes, "were announced")
    body = _body(request, room.upload_bytes + overhead_bytes)
    if not is_form:
        return Incoming(None, _batched(body))
    if not options.get(b"boundary"):
        raise Malformed("multipart/form-data without a boundary in its Content-Type")
    form = _FormFile(body, options[b"boundary"])
    return Incoming(await form.filename(), _batched(form.chunks()))


async def _body(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """The chunks of the body.

    Raises: Malformed where it ends early, TooLarge where it does not end, BodyStalled where it
        does not come on.
    """
    stream, clock = request.stream(), asyncio.get_running_loop().time
    received, mib_begun_at = 0, clock()
    while True:
        try:
            async with asyncio.timeout_at(min(clock() + IDLE_S, mib_begun_at + MIB_LIMIT_S)):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise BodyStalled(
                f"after {received} bytes it came too slowly: something is expected every "
                f"{IDLE_S:g} s, and a MiB every {MIB_LIMIT_S:g} s"
            ) from error
        except ClientDisconnect as error:
            raise Malformed("the connection was closed before the body was complete") from error
        if chunk is None:
            return
        if received + len(chunk) > most_bytes:
            raise TooLarge(f"more than the {most_bytes} bytes that are allowed")
        if received // 2**20 < (received + len(chunk)) // 2**20:
            mib_begun_at = clock()
        received += len(chunk)
        yield chunk


async def _batched(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces: a thread and a system call a batch, not a packet."""
    batch = bytearray()
    async for chunk in chunks:
        batch += chunk
        if len(batch) >= BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


class _FormFile:
    """The part called `file` of a multipart form, which may hold nothing else (RFC 7578)."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._received: deque[bytes] = deque()
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._filename: str | None = None
        self._is_open = False
        self._is_complete = False
        self._parser = self._make_parser(boundary)

    async def filename(self) -> str | None:
        """What the caller calls the file; read up to where its content begins."""
        while not self._is_open:
            if not await self._read_on():
                raise Malformed("the form ended before a part called 'file'")
        return self._filename

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises: Malformed where the form is cut off or no form at all."""
        while True:
            while self._received:
                yield self._received.popleft()
            if not await self._read_on():
                break
        if not self._is_complete:
            raise Malformed("the form ended before its closing boundary")

    async def _read_on(self) -> bool:
        chunk = await anext(self._body, None)
        if chunk is None:
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Malformed(f"not a multipart form: {error}") from error
        return True

    def _make_parser(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
                max_header_count=MAX_PART_HEADERS,
            )
        except FormParserError as error:
            raise Malformed(f"not a multipart form: {error}") from error

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        name = _text(options.get(b"name", b""))
        if name != "file":
            raise _refused_part(name, unknown_name(name, ["file"], "form field"))
        if self._is_open:
            raise _refused_part(name, "one file at a time; there is a second one in the form")
        self._is_open = True
        if b"filename" in options:
            self._filename = _text(options[b"filename"])

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._received.append(data[start:end])

    def _on_end(self) -> None:
        self._is_complete = True


def _refused_part(name: str, detail: str) -> Exception:
    return invalid([Complaint(pointer=f"/{name}", detail=detail)])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
