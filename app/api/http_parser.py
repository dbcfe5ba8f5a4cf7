"""Reads the requests of a connection; those that another reader may take for others are none."""

import re
from typing import Any

import h11

MOST_HEAD_BYTES = 16 * 1024
# A chunk costs as much work as a packet: so many may be small, then what they hold is counted.
FREE_CHUNKS = 1_000
LEAST_CHUNK_BYTES = 64

END_OF_HEAD = re.compile(rb"\n\r?\n")


class StrictParser(h11.Connection):
    """Takes from a connection the requests that every reader understands alike.

    h11 alone bounds a head only as long as it is incomplete, and no number of chunks.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)
        self._chunks = 0
        self._chunk_bytes = 0

    def next_event(self) -> Any:
        """Raises: h11.RemoteProtocolError, which is answered with 400."""
        if self.their_state is h11.IDLE:
            _require_short_head(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            _require_one_meaning(event)
            self._chunks = self._chunk_bytes = 0
        elif isinstance(event, h11.Data):
            self._count(event)
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """What to write; an answer that comes before the end of the body says it is the last one.

        h11 is not told: it would have the connection closed at once, and what the client still
        sends would destroy the answer on its way.
        """
        pieces = super().send_with_data_passthrough(event)
        if not (pieces and isinstance(event, h11.Response) and self.their_state is h11.SEND_BODY):
            return pieces
        head = b"".join(pieces)
        if b"connection" not in {name for name, _ in event.headers}:
            head = head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
        return [head]

    def _count(self, event: h11.Data) -> None:
        self._chunks += event.chunk_start
        self._chunk_bytes += len(event.data)
        if self._chunks > FREE_CHUNKS and self._chunk_bytes < LEAST_CHUNK_BYTES * self._chunks:
            raise h11.RemoteProtocolError("a body of tiny chunks")


def _require_short_head(received: bytes) -> None:
    if len(received) <= MOST_HEAD_BYTES:
        return
    if not END_OF_HEAD.search(received, 0, MOST_HEAD_BYTES):
        raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)


def _require_one_meaning(request: h11.Request) -> None:
    names = {name for name, _ in request.headers}
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("another version of HTTP")
    # RFC 9112, 6.1 and 6.3: how smuggled requests begin.
    if b"transfer-encoding" in names and (
        b"content-length" in names or request.http_version == b"1.0"
    ):
        raise h11.RemoteProtocolError("two lengths of one body")
