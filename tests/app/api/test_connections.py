"""What may be done with a socket alone: by how many, how slowly, and in which shapes."""

import asyncio
import json
import resource
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import h11
import pytest
from uvicorn.server import ServerState

from app import serve
from app.api import connections
from app.api.connections import Connection, ConnectionLimits
from app.api.content import MEDIA_TYPE
from app.api.http_parser import FREE_CHUNKS, LEAST_CHUNK_BYTES, MOST_HEAD_BYTES, StrictParser
from app.api.security_headers import ALWAYS
from app.uploads.under_way import MOST_AT_A_TIME, TooManyUploads, UnderWay
from tests.app.api.conftest import MAX_UPLOAD_BYTES, Api
from tests.app.api.given import a_model
from tests.app.api.serving import serving
from tests.app.api.test_hostile_requests import MODEL, kept, nothing_is_kept

pytestmark = pytest.mark.anyio

LIMIT_S = 30.0
TENANT = "ten_default"
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n"
Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> ConnectionLimits:
    """As wide as they are in service, but for what a test narrows."""
    return ConnectionLimits(**{"most": 512, "most_of_one": 256, **getattr(request, "param", {})})


def narrowed(**limits: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("limits", [limits], indirect=True)


async def opened(url: str) -> Open:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def said(url: str, *pieces: bytes, ends: bool = True) -> bytes:
    """All that comes back for these bytes, up to where the server closes or, at last, we do."""
    reader, writer = await opened(url)
    async with asyncio.timeout(LIMIT_S):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await (reader.read() if ends else reader.readuntil(b"\r\n\r\n"))
    writer.close()
    return answer


def problem(answer: bytes) -> dict[str, Any]:
    """Of an answer that is one, and the only one, with all that browsers are told."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 "), answer
    assert body.count(b"\r\n") == 0, answer
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert {name.lower().encode() for name in ALWAYS} <= {line.split(b":")[0] for line in lines}
    found: dict[str, Any] = json.loads(body)
    assert head.split()[1] == str(found["status"]).encode()
    return found


# How long it sends nothing


@narrowed(head_s=0.1)
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: ", LIVE + b"GET /"])
async def test_connection_ends_when_no_head_comes(url: str, sent: bytes) -> None:
    # It did not, ever. How it ends depends on what of this has come by then.
    with suppress(ConnectionError):
        await said(url, sent)


@pytest.mark.parametrize("sent", [0, 1, len(LIVE) - 1])
async def test_head_is_waited_for_no_longer_when_it_drips(
    limits: ConnectionLimits, sent: int
) -> None:
    connection, slow = a_connection(limits)
    for byte in LIVE[:sent]:
        connection.data_received(bytes([byte]))
    [is_late] = slow.due
    is_late()
    if sent:
        found = problem(slow.written)
        assert (found["status"], found["code"]) == (408, "head_stalled")
    assert (slow.is_closed, slow.is_half_closed) == (not sent, bool(sent))


async def test_head_is_no_longer_waited_for_when_it_came(limits: ConnectionLimits) -> None:
    connection, slow = a_connection(limits)
    connection.data_received(LIVE)
    [is_late] = slow.due
    is_late()
    assert (slow.written, slow.is_closed, slow.is_half_closed) == (b"", False, False)


@narrowed(head_s=0.1)
async def test_connection_ends_when_a_refused_body_goes_on(url: str) -> None:
    _, writer = await opened(url)
    writer.write(POST + b"Content-Length: 99999999999\r\n\r\n")

    async def go_on() -> None:
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(go_on(), LIMIT_S)


async def test_rest_of_a_body_is_let_go_unread_when_its_answer_is_there(
    limits: ConnectionLimits,
) -> None:
    connection, slow = a_connection(limits)
    connection.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    cycle = connection.cycle
    await cycle.send({"type": "http.response.start", "status": 401, "headers": []})
    await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert slow.written.count(b"\r\nConnection: close\r\n") == 1
    assert (slow.is_half_closed, slow.is_closed) == (True, False)
    connection.data_received(b"1\r\n1\r\n")
    # Not even looked at: each chunk would be some work.
    assert connection.conn.trailing_data == (b"", False)
    assert connection.conn.their_state is h11.SEND_BODY


# How long it takes nothing


@narrowed(untaken_s=0.1)
async def test_connection_ends_when_nothing_is_taken_of_its_answer(limits: Any) -> None:
    is_over = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.create_task(receive())
        while not leaving.done():
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            await asyncio.sleep(0)
        is_over.set()

    async with serving(endless, limits, access_log=False) as url:
        _, writer = await opened(url)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it
        writer.write(LIVE)
        async with asyncio.timeout(LIMIT_S):
            await is_over.wait()
        writer.close()


class Slow:
    """A transport of which so many bytes are left, as the test says; and a loop without time."""

    def __init__(self) -> None:
        self.left_bytes, self.written = 0, b""
        self.is_closed = self.is_half_closed = self.is_aborted = False
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append(what)
        return asyncio.TimerHandle(0, what, (), asyncio.get_running_loop())

    def get_write_buffer_size(self) -> int:
        return self.left_bytes

    def abort(self) -> None:
        self.is_aborted = True

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.is_half_closed = True

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def resume_reading(self) -> None:
        pass

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        coroutine.close()
        return asyncio.get_running_loop().create_future()


def a_connection(limits: ConnectionLimits) -> tuple[Connection, Slow]:
    slow = Slow()
    config = serve.configured(None, limits, lifespan="off")  # type: ignore[arg-type]  # not asked
    connection = Connection(config, ServerState(), {}, slow, limits=limits)
    connection.connection_made(slow)  # type: ignore[arg-type]
    return connection, slow


async def test_answer_may_take_as_long_as_some_of_it_is_taken(limits: ConnectionLimits) -> None:
    connection, slow = a_connection(limits)
    slow.left_bytes = 100
    connection.pause_writing()
    for left_bytes in (99, 1):
        slow.left_bytes = left_bytes
        slow.due.pop()()
        assert not slow.is_aborted
    slow.due.pop()()
    assert slow.is_aborted


async def test_answer_that_was_broken_off_is_not_taken_for_ever(limits: ConnectionLimits) -> None:
    connection, slow = a_connection(limits)
    unanswered: Any = SimpleNamespace(response_complete=False)
    connection.cycle = unanswered
    slow.left_bytes = 100
    connection.pause_writing()
    slow.close()
    slow.left_bytes = 99
    slow.due.pop()()
    assert slow.is_aborted


# How many


async def all_answered(url: str, count: int) -> list[Open]:
    """As many connections, each answered once, and left open."""
    found = []
    for _ in range(count):
        reader, writer = await opened(url)
        writer.write(LIVE)
        assert b" 200 " in await reader.readline()
        found.append((reader, writer))
    return found


async def refused_until_one_ends(url: str) -> None:
    held = await all_answered(url, 2)
    refused = await said(url, LIVE)
    found = problem(refused)
    assert (found["status"], found["code"]) == (503, "too_many_connections")
    assert b"retry-after: " in refused.lower()
    held.pop()[1].close()
    async with asyncio.timeout(LIMIT_S):
        while b" 200 " not in await said(url, LIVE, ends=False):  # noqa: ASYNC110 - until the server knows
            await asyncio.sleep(0.01)
    for _, writer in held:
        writer.close()


@narrowed(most=2, most_of_one=9)
async def test_connection_is_refused_when_it_is_one_too_many(url: str) -> None:
    await refused_until_one_ends(url)


@narrowed(most=9, most_of_one=2)
async def test_connection_is_refused_when_its_address_has_its_share(url: str) -> None:
    await refused_until_one_ends(url)


@narrowed(most=9, most_of_one=2, trusted=[ip_network("127.0.0.0/8")])
async def test_trusted_proxy_has_no_share(url: str) -> None:
    for _, writer in await all_answered(url, 9):
        writer.close()


@narrowed(most=2, most_of_one=9, head_s=3600)
async def test_connection_is_cut_when_so_many_wait_to_be_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_TOLD", 0)
    held = await all_answered(url, 2)
    assert await said(url) == b""
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize(
    ("files", "most"), [(256, 64), (1024, 448), (2**20, 512), (resource.RLIM_INFINITY, 512), (9, 8)]
)
def test_connections_leave_open_files_for_all_else(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    limits = ConnectionLimits.of_this_process(())
    assert (limits.most, limits.most_of_one) == (most, most // 2)


# In which shapes

CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "two lengths": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + LIVE,
    "length and chunks": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + LIVE,
    "chunks of 1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n" + LIVE,
    "lengths that differ": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab" + LIVE,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nabcde" + LIVE,
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + LIVE,
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + LIVE,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + LIVE,
    "two hosts": LIVE[:-2] + b"Host: elsewhere\r\n\r\n" + LIVE,
    "no host": b"GET /livez HTTP/1.1\r\n\r\n" + LIVE,
    "a space in the target": b"GET /li vez HTTP/1.1\r\nHost: a\r\n\r\n" + LIVE,
    "NUL in a header": LIVE[:-2] + b"X: \0\r\n\r\n" + LIVE,
    "no version known": LIVE.replace(b"1.1", b"9.9") + LIVE,
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "a long head": LIVE[:-2] + b"If-None-Match: " + b'"x",' * 2**18 + b"\r\n\r\n",
    "many headers": LIVE[:-2] + b"a:b\r\n" * 2**15 + b"\r\n",
    "a whole head that is long": LIVE[:-2] + b"X: " + b"a" * MOST_HEAD_BYTES + b"\r\n\r\n",
    "tiny chunks": POST + CHUNKED + b"\r\n" + b"1\r\n1\r\n" * (FREE_CHUNKS + 1),
    "a long line of a chunk": POST + CHUNKED + b"\r\n1;" + b"x" * 2**18,
    "a chunk that is longer": POST + CHUNKED + b"\r\n1\r\nxx\r\n0\r\n\r\n" + LIVE,
    "a chunk with a sign": POST + CHUNKED + b"\r\n+1\r\nx\r\n0\r\n\r\n" + LIVE,
    "long trailers": POST + CHUNKED + b"\r\n0\r\n" + b"a: b\r\n" * 2**15,
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_request_is_malformed_and_ends_its_connection(
    api: Api, url: str, request_bytes: bytes
) -> None:
    found = problem(await said(url, request_bytes))
    assert (found["status"], found["code"]) == (400, "malformed")
    await nothing_is_kept(api)
    assert (await api.get("/v1/models")).json()["items"] == []


def test_chunks_of_a_body_may_be_small_where_all_together_are_not() -> None:
    parser = StrictParser()
    large = LEAST_CHUNK_BYTES * FREE_CHUNKS * 2
    parser.receive_data(POST + CHUNKED + b"\r\n%x\r\n" % large + bytes(large) + b"\r\n")
    parser.receive_data(b"1\r\n1\r\n" * FREE_CHUNKS + b"0\r\n\r\n")
    events = iter(parser.next_event, h11.NEED_DATA)
    assert any(isinstance(event, h11.EndOfMessage) for event in events)


READ_AS_IT_IS = {
    "with a head at its longest": (
        LIVE[:-2] + b"X: " + b"a" * (MOST_HEAD_BYTES - len(LIVE) - 5) + b"\r\n\r\n",
        b"200",
    ),
    "in small chunks": (
        LIVE[:-2] + CHUNKED + b"\r\n" + b"1\r\n1\r\n" * FREE_CHUNKS + b"0\r\n\r\n",
        b"200",
    ),
    "in the form of proxies": (LIVE.replace(b"/livez", b"http://a/livez"), b"404"),
    "of everything": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    "for a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    "of HTTP/1.0": (LIVE.replace(b"1.1", b"1.0"), b"200"),
    "to be a WebSocket": (LIVE[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"200"),
    "with a folded header": (LIVE[:-2] + b"X: a\r\n b\r\n\r\n", b"200"),
    "with a body": (LIVE[:-2] + b"Content-Length: 2\r\n\r\nab", b"200"),
    "by the thousand": (
        b"GET /livez?" + b"a=1&" * 3000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"422",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status"), READ_AS_IT_IS.values(), ids=READ_AS_IT_IS)
async def test_request_is_answered_as_what_it_is(
    url: str, request_bytes: bytes, status: bytes
) -> None:
    assert (await said(url, request_bytes, ends=False)).split()[1] == status


async def test_requests_at_once_are_answered_in_turn(url: str) -> None:
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = (await said(url, LIVE * 50 + last)).split(b"HTTP/1.1 ")
    assert [answer[:3] for answer in answers] == [b"", *[b"200"] * 50, b"404"]


EXPECTED = b"Expect: 100-continue\r\n"


async def test_body_is_not_asked_for_when_it_is_announced_too_large(url: str) -> None:
    length = b"Content-Length: %d\r\n\r\n" % (MAX_UPLOAD_BYTES + 1)
    assert (await said(url, POST + EXPECTED + length, ends=False))[:12] == b"HTTP/1.1 413"


async def test_body_is_asked_for_when_it_may_come(url: str) -> None:
    reader, writer = await opened(url)
    writer.write(POST + EXPECTED + b"Content-Length: %d\r\n\r\n" % len(MODEL))
    async with asyncio.timeout(LIMIT_S):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(MODEL)
        assert b" 201 " in await reader.readline()
    writer.close()


async def test_chunks_that_break_off_are_answered_once_and_leave_nothing(
    api: Api, url: str
) -> None:
    begun = POST + CHUNKED + b"\r\n10000\r\n" + bytes(2**16) + b"\r\n"
    assert problem(await said(url, begun, b"no chunk\r\n" * 100))["status"] == 400
    await nothing_is_kept(api)
    assert api.services.uploads.under_way.bytes_of(TENANT) == 0


async def test_many_ranges_are_one_whole_file(api: Api, url: str) -> None:
    ranges = b"Range: bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(1500)) + b"\r\n"
    head = f"GET /v1/models/{a_model(api)}/content HTTP/1.1\r\nHost: localhost\r\n".encode()
    answer = await said(url, head + b"Connection: close\r\n" + ranges + b"\r\n")
    assert answer.split()[1] == b"200"
    assert MEDIA_TYPE.encode() in answer
    assert b"multipart" not in answer


def has_every_place(under_way: UnderWay) -> bool:
    """Whether the tenant has no upload under way."""
    with ExitStack() as stack:
        try:
            for _ in range(MOST_AT_A_TIME):
                stack.enter_context(under_way.one(TENANT))
        except TooManyUploads:
            return False
    return True


async def test_uploads_broken_off_by_the_hundred_leave_nothing(api: Api, url: str) -> None:
    async def broken_off(number: int) -> None:
        _, writer = await opened(url)
        writer.write(POST + b"Content-Length: 2000000\r\n\r\n" + bytes(number * 1000))
        await writer.drain()
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()

    for _ in range(5):
        await asyncio.gather(*(broken_off(number) for number in range(30)))
    async with asyncio.timeout(LIMIT_S):
        while kept(api) or not has_every_place(api.services.uploads.under_way):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await api.post("/v1/models", content=MODEL)).status_code == 201


def test_h11_answers_by_what_is_relied_on_here() -> None:
    # An answer to what is no request is allowed in these states alone.
    for head in (b"GET", LIVE):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        connection.next_event()
        assert connection.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        connection.send(h11.Response(status_code=400, headers=[]))
