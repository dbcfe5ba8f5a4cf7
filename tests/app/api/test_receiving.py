"""The bytes of an upload, however they are cut into packets."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import pytest
from starlette.requests import Request
from starlette.types import Message

from app.accounts.quotas import Room
from app.api import receiving
from app.api.receiving import BATCH_BYTES, IDLE_S, MIB_LIMIT_S, BodyStalled, incoming_file
from app.errors import Invalid, Malformed, PenjingError, TooLarge
from app.main import SWEEP_AGE_S

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4 + b"\r\n--edgy\r\n--ed"
HEAD = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
FORM = HEAD + CONTENT + b"\r\n--edge--\r\n"
FORM_TYPE = "multipart/form-data; boundary=edge"
DISCONNECT: Message = {"type": "http.disconnect"}


def a_request(messages: Iterable[Message], content_type: str, length: int | None = None) -> Request:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    waiting = iter(messages)

    async def receive() -> Message:
        message = next(waiting, None)
        if message is None:
            await asyncio.Event().wait()
        assert message
        return message

    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def packets(body: bytes, size: int) -> Iterator[Message]:
    for start in range(0, len(body), size):
        yield {"type": "http.request", "body": body[start : start + size], "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def received(request: Request, max_bytes: int = 2**30) -> tuple[str | None, list[bytes]]:
    incoming = await incoming_file(request, Room(max_bytes))
    return incoming.filename, [batch async for batch in incoming.batches]


async def refusal(
    body: bytes, content_type: str = FORM_TYPE, last: Message | None = None
) -> PenjingError:
    messages = list(packets(body, 64))
    messages[-1] = last or messages[-1]
    with pytest.raises(PenjingError) as refused:
        await received(a_request(messages, content_type))
    return refused.value


@pytest.mark.parametrize("size", [1, 2, 7, 64, 4096])
async def test_form_gives_the_file_however_it_is_cut(size: int) -> None:
    filename, batches = await received(a_request(packets(FORM, size), FORM_TYPE))
    assert (filename, b"".join(batches)) == ("a.csv", CONTENT)


async def test_raw_body_comes_in_batches() -> None:
    body = b"x" * (2 * BATCH_BYTES + 10)
    filename, batches = await received(a_request(packets(body, 2**16), "text/plain"))
    assert (filename, b"".join(batches)) == (None, body)
    assert [len(batch) for batch in batches] == [BATCH_BYTES, BATCH_BYTES, 10]


async def test_form_gives_no_name_when_the_caller_gave_none() -> None:
    form = FORM.replace(b'; filename="a.csv"', b"")
    assert (await received(a_request(packets(form, 64), FORM_TYPE)))[0] is None


async def test_form_gives_the_name_when_it_is_not_ascii() -> None:
    form = FORM.replace(b"a.csv", "模型.csv".encode())
    assert (await received(a_request(packets(form, 64), FORM_TYPE)))[0] == "模型.csv"


async def test_form_is_refused_when_a_field_is_unknown() -> None:
    error = await refusal(FORM.replace(b'name="file"', b'name="fil"'))
    assert isinstance(error, Invalid)
    assert error.errors[0].pointer == "/fil"
    assert "did you mean 'file'?" in error.detail


async def test_form_is_refused_when_it_holds_two_files() -> None:
    error = await refusal(FORM.removesuffix(b"--\r\n") + b"\r\n" + FORM.removeprefix(b"--edge\r\n"))
    assert isinstance(error, Invalid)
    assert "second one" in error.detail


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FORM.removesuffix(b"--edge--\r\n"), FORM_TYPE),
        (b"--edge--\r\n", FORM_TYPE),
        (b"", FORM_TYPE),
        (b"no form at all", FORM_TYPE),
        (FORM, "multipart/form-data"),
        (FORM, "multipart/form-data; boundary=" + "b" * 300),
    ],
)
async def test_form_is_malformed_when_it_is_cut_off_or_none(body: bytes, content_type: str) -> None:
    assert isinstance(await refusal(body, content_type), Malformed)


@pytest.mark.parametrize("content_type", [FORM_TYPE, "application/octet-stream"])
async def test_body_is_malformed_when_the_caller_leaves(content_type: str) -> None:
    assert isinstance(await refusal(FORM[:-20], content_type, last=DISCONNECT), Malformed)


async def test_body_is_given_up_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.05)
    begun = [{"type": "http.request", "body": b"x", "more_body": True}]
    with pytest.raises(BodyStalled):
        await received(a_request(begun, "text/plain"))


async def received_slowly(packet_bytes: int, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The batches of 4 MiB, one packet every 15 s of a clock that is moved by hand."""
    now, loop = 0.0, asyncio.get_running_loop()
    request = a_request(packets(bytes(4 * 2**20), packet_bytes), "text/plain")

    async def receive_after_a_while() -> Message:
        nonlocal now
        # Two rounds of the loop: time-outs that are due by now happen before the packet comes.
        now += 15
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await request.receive()

    with monkeypatch.context() as clock:
        clock.setattr(loop, "time", lambda: now)
        return (await received(Request(request.scope, receive_after_a_while)))[1]


async def test_body_is_waited_for_when_its_link_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = await received_slowly(2**16, monkeypatch)
    assert [len(batch) for batch in batches] == [2**20] * 4


async def test_body_is_given_up_when_it_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BodyStalled):
        await received_slowly(2**14, monkeypatch)


def test_sweep_spares_the_file_of_the_slowest_upload() -> None:
    # A batch is written when a MiB of the file is there; of a form that may be two of the body.
    assert 2 * MIB_LIMIT_S + IDLE_S < SWEEP_AGE_S


async def test_form_is_too_large_when_it_goes_on_after_its_end() -> None:
    after = {"type": "http.request", "body": b"\r\n" * 2**10, "more_body": True}
    endless = chain(list(packets(FORM, 64))[:-1], repeat(after))
    with pytest.raises(TooLarge):
        await received(a_request(endless, FORM_TYPE), max_bytes=2**16)


async def test_body_is_too_large_before_a_byte_is_read_when_it_says_so() -> None:
    with pytest.raises(TooLarge):
        await received(a_request([], "text/plain", length=11), max_bytes=10)


async def test_form_may_be_larger_than_its_file_when_it_says_its_length() -> None:
    request = a_request(packets(FORM, 64), FORM_TYPE, length=len(FORM))
    assert (await received(request, max_bytes=len(CONTENT)))[0] == "a.csv"
