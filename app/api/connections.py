"""Connections: how many there may be, and how long one may keep the service waiting.

uvicorn ends what is idle between two requests, and bodies have limits of their own. Here is what is
left: connections that ask nothing, heads that do not come, and answers that are not taken.
"""

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import h11
from fastapi import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from app.api.addresses import counted_as, is_trusted
from app.api.http_parser import LEAST_CHUNK_BYTES, MOST_HEAD_BYTES, StrictParser
from app.api.problems import problem_answer
from app.api.receiving import BodyStalled
from app.api.security_headers import add_security_headers
from app.errors import Malformed, PenjingError, Unavailable

# From the connection, or the answer before, to the end of the next head.
HEAD_S = 20.0
# A client that takes nothing of its answer for this long is gone.
UNTAKEN_S = 120.0
# Behind an answer that is the last one, what still comes is let go for so long.
LINGER_S = 2.0
MOST_CONNECTIONS = 512
# Open files that are no connections, and do not belong to one: databases, logs, inspections.
OTHER_FILES = 128
# Beyond the most, so many are told why they are refused; any more are not answered.
MOST_TOLD = 32


class TooManyConnections(Unavailable):
    code = "too_many_connections"
    title = "Too many connections are open"


class HeadStalled(BodyStalled):
    code = "head_stalled"
    title = "The head of the request did not come"


@dataclass(frozen=True)
class ConnectionLimits:
    """How many at a time: in all, and of one address that is no trusted proxy."""

    most: int
    most_of_one: int
    trusted: Sequence[IPv4Network | IPv6Network] = ()
    head_s: float = HEAD_S
    untaken_s: float = UNTAKEN_S

    @classmethod
    def of_this_process(cls, trusted: Sequence[IPv4Network | IPv6Network]) -> "ConnectionLimits":
        """As its open files allow: each may have a file of its own beside its socket."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_CONNECTIONS
        if files != resource.RLIM_INFINITY:
            most = max(8, min(most, (files - OTHER_FILES) // 2))
        return cls(most, most // 2, trusted)


class Connection(H11Protocol):
    """One connection, from its first byte to its last, however its client behaves."""

    def __init__(self, *arguments: Any, limits: ConnectionLimits, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.limits = limits
        self.whose = "unknown"
        self.conn = StrictParser()
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._untaken_bytes = 0
        self._is_over = False

    # How many

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Whatever the system does not take at once counts as untaken.
        transport.set_write_buffer_limits(high=0)
        self._await_head()
        peer = self.client[0] if self.client else ""
        self.whose = counted_as(peer)
        same = sum(getattr(one, "whose", None) == self.whose for one in self.connections)
        over = len(self.connections) - self.limits.most
        if peer and not is_trusted(peer, self.limits.trusted):
            over = max(over, same - self.limits.most_of_one)
        if over > MOST_TOLD:
            transport.abort()
        elif over > 0:
            self.app = refuse

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel(self._head)
        self._cancel(self._taking)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_over:
            super().data_received(data)

    # How long it sends nothing

    def on_response_complete(self) -> None:
        self._await_head()
        is_early = self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing()
        super().on_response_complete()
        if is_early:
            # The rest of the body is nobody's: it is let go unread, for as long as a head may take.
            self._end_writing()

    def _await_head(self) -> None:
        self._cancel(self._head)
        self._head = self.loop.call_later(self.limits.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        """Unless there is a request under way: the next head is awaited behind its answer."""
        if self._unanswered() is not None:
            return
        if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            self._answer(HeadStalled(f"it is expected within {self.limits.head_s:g} s"))
        else:
            self.transport.close()

    # How long it takes nothing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel(self._taking)

    def _await_taking(self) -> None:
        self._untaken_bytes = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(self.limits.untaken_s, self._taking_is_late)

    def _taking_is_late(self) -> None:
        # Closed before its end, an answer is none any more, however slowly the rest is taken.
        is_broken_off = self.transport.is_closing() and self._unanswered() is not None
        is_taken = self.transport.get_write_buffer_size() < self._untaken_bytes
        if is_taken and not is_broken_off:
            self._await_taking()
        else:
            self.transport.abort()

    # What is no request

    def send_400_response(self, msg: str) -> None:
        is_answered = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if (cycle := self._unanswered()) is not None:
            # Who reads the body is told that no more of it comes, and answers nobody.
            cycle.disconnected = True
            cycle.message_event.set()
        if is_answered:
            self.transport.close()
        else:
            self._answer(
                Malformed(
                    "not a request of HTTP/1.1 with one length, or its head is too long, or its "
                    "body comes in chunks that are too small",
                    hint=f"Send at most {MOST_HEAD_BYTES // 1024} KiB of head, and a "
                    f"Content-Length or chunks of {LEAST_CHUNK_BYTES} bytes and more.",
                )
            )

    def _unanswered(self) -> RequestResponseCycle | None:
        """The request under way, if there is one."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    def _answer(self, error: PenjingError) -> None:
        """For what is no request yet. The connection ends with it."""
        scope = {"type": "http", "method": "", "path": "/", "headers": [], "query_string": b""}
        request = Request({**scope, "scheme": self.scheme, "server": self.server})
        answer = problem_answer(request, error)
        add_security_headers(answer.headers, request.scope)
        answer.headers["Connection"] = "close"
        status = HTTPStatus(answer.status_code)
        head = h11.Response(
            status_code=status, headers=answer.raw_headers, reason=status.phrase.encode()
        )
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._end_writing()
        self._cancel(self._head)
        self._head = self.loop.call_later(LINGER_S, self.transport.close)

    def _end_writing(self) -> None:
        """Closed at once, what the client still sends would destroy the answer on its way."""
        self.transport.write_eof()
        self._is_over = True
        self._unset_keepalive_if_required()


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands in for the application on a connection that is one too many."""
    error = TooManyConnections(
        "this service, or the address this came from, has as many connections as it may have",
        hint="Close some, or use one for many requests.",
    )
    answer = problem_answer(Request(scope), error)
    add_security_headers(answer.headers, scope)
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)
