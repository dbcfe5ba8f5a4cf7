"""The events of a job, as a page and as a stream over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from app.accounts.principal import DEFAULT_TENANT, Principal
from app.api import events
from app.api.watching import Watch
from app.jobs import history
from app.jobs.rows import NewEvent
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.api.serving import served

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/json"}
LIMIT_S = 60.0


@asynccontextmanager
async def following(
    url: str, job_id: str, last_seen: int | None = None
) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of an event stream."""
    headers = {} if last_seen is None else {"Last-Event-ID": str(last_seen)}
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=LIMIT_S) as client,
        client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response.aiter_lines()


async def next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next event, with the fields of its frame."""
    frame: dict[str, str] = {}
    async for line in lines:
        if line == "" and "data" in frame:
            return {**frame, "data": json.loads(frame["data"])}
        name, colon, value = line.partition(": ")
        if colon and name:
            frame[name] = value
    raise AssertionError("the stream ended")


def an_event(number: int) -> NewEvent:
    return NewEvent("metrics", {"number": number, "text": "line\u2028break"})


async def test_stream_tells_what_happened_and_what_happens(api: Api, url: str) -> None:
    job_id = (await given.a_job(api))["id"]
    async with following(url, job_id) as lines:
        first = await next_event(lines)
        fence = given.started(api, job_id)
        second = await next_event(lines)
        given.reported(api, job_id, fence, 0.5, an_event(1))
        third = await next_event(lines)
    assert (first["id"], first["event"], first["data"]["data"]) == (
        "1",
        "state",
        {"state": "queued"},
    )
    assert (second["id"], second["data"]["data"]["state"]) == ("2", "running")
    assert (third["event"], third["data"]["data"]) == ("metrics", an_event(1).data)
    assert set(third["data"]) == {"seq", "at", "type", "data"}


async def test_stream_ends_after_the_last_event_of_a_final_job(api: Api, url: str) -> None:
    job_id = (await given.a_job(api))["id"]
    async with following(url, job_id) as lines:
        await next_event(lines)
        await api.post(f"/v1/jobs/{job_id}/cancel")
        assert (await next_event(lines))["data"]["data"] == {"state": "cancelled"}
        assert [line async for line in lines] == []


async def test_stream_goes_on_after_the_last_event_that_was_seen(api: Api, url: str) -> None:
    job_id = (await given.a_job(api))["id"]
    fence = given.started(api, job_id)
    given.reported(api, job_id, fence, 0.5, *(an_event(number) for number in range(4)))
    async with following(url, job_id, last_seen=3) as lines:
        seen = [(await next_event(lines))["id"] for _ in range(3)]
    assert seen == ["4", "5", "6"]


async def test_stream_says_that_it_lives_when_nothing_happens(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.2)
    job_id = (await given.a_job(api))["id"]
    async with following(url, job_id) as lines:
        await next_event(lines)
        assert await anext(lines) == ": still here"


async def test_stream_has_no_content_when_nothing_can_come_any_more(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    await api.post(f"/v1/jobs/{job_id}/cancel")
    answer = await api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_stream_is_refused_when_the_last_event_id_is_no_number(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    answer = await api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/last-event-id"


@pytest.mark.parametrize("parameter", ["cursor", "after"])
async def test_pages_hold_every_event_once(api: Api, parameter: str) -> None:
    job_id = (await given.a_job(api))["id"]
    fence = given.started(api, job_id)
    given.reported(api, job_id, fence, 0.5, an_event(1), an_event(2), an_event(3))
    path = f"/v1/jobs/{job_id}/events?limit=2"
    seen: list[int] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = (await api.get(f"{path}&{parameter}={cursor}", headers=JSON)).json()
        seen += [event["seq"] for event in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("room", [1, 150, 10_000])
async def test_pages_of_large_events_end_early_and_hold_every_event_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(history, "MOST_BYTES_A_READ", room)
    job_id = (await given.a_job(api))["id"]
    fence = given.started(api, job_id)
    large = (NewEvent("metrics", {"text": f"{number}" * 100}) for number in range(4))
    given.reported(api, job_id, fence, 0.5, *large)
    pages: list[list[int]] = []
    cursor: str | None = "0"
    while cursor is not None:
        path = f"/v1/jobs/{job_id}/events?limit=1000&cursor={cursor}"
        page = (await api.get(path, headers=JSON)).json()
        pages.append([event["seq"] for event in page["items"]])
        cursor = page["next_cursor"]
    assert [seq for page in pages for seq in page] == [1, 2, 3, 4, 5, 6]
    assert [len(page) for page in pages] == {1: [1] * 6, 150: [3, 2, 1], 10_000: [6]}[room]


async def test_stream_tells_every_event_when_they_are_large(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_BYTES_A_READ", 1)
    job_id = (await given.a_job(api))["id"]
    await api.post(f"/v1/jobs/{job_id}/cancel")
    async with following(url, job_id) as lines:
        assert [(await next_event(lines))["id"] for _ in range(2)] == ["1", "2"]
        assert [line async for line in lines] == []


async def test_stream_ends_when_its_job_is_deleted(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    owner = Principal(DEFAULT_TENANT, None, frozenset())
    watch = Watch(owner, job_id, is_for_events=True)
    told = events.stream(partial(api.services.jobs.news, DEFAULT_TENANT, job_id), 0, watch)
    assert (await anext(told)).startswith(b"retry: ")
    assert b'"queued"' in await anext(told)
    await api.post(f"/v1/jobs/{job_id}/cancel")
    await api.http.delete(f"/v1/jobs/{job_id}")
    assert [frame async for frame in told] == []


async def test_stream_resumes_without_gap_or_repeat_when_the_api_is_killed(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    fence = given.started(api, job_id)
    home = api.services.settings.home
    seen: list[int] = []
    with served(home) as first:
        async with following(first.url, job_id) as lines:
            given.reported(api, job_id, fence, 0.1, an_event(1))
            seen += [(await next_event(lines))["data"]["seq"] for _ in range(3)]
            first.process.kill()
            with pytest.raises((httpx.TransportError, AssertionError)):
                await next_event(lines)
    given.reported(api, job_id, fence, 0.2, an_event(2), an_event(3))
    with served(home) as second:
        async with following(second.url, job_id, last_seen=seen[-1]) as lines:
            given.reported(api, job_id, fence, 0.3, an_event(4))
            seen += [(await next_event(lines))["data"]["seq"] for _ in range(3)]
    assert seen == [1, 2, 3, 4, 5, 6]
