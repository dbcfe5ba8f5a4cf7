"""Streams and waits: how many there may be at a time, and what they cost together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from sqlalchemy import event

from app.accounts.principal import DEFAULT_TENANT, Principal, Scope
from app.api import watching
from app.api.watching import Watch
from app.jobs.rows import NewEvent
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

LIMIT_S = 60.0


def begun(api: Api, tenant_id: str, job_id: str = "job_x") -> Watch:
    who = Principal(tenant_id, None, frozenset({Scope.READ}))
    return api.services.watcher.begin(who, job_id, is_for_events=True)


@pytest.mark.parametrize(
    ("path", "headers"), [("", {"Prefer": "wait=30"}), ("/events", {"Accept": "text/event-stream"})]
)
async def test_streams_and_waits_of_a_tenant_are_limited_at_a_time(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(watching, "MOST_OF_ONE", 2)
    job = await given.a_job(api)
    begun(api, "ten_other")
    one = begun(api, DEFAULT_TENANT)
    begun(api, DEFAULT_TENANT)

    refused = await api.get(f"/v1/jobs/{job['id']}{path}", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await api.get(f"/v1/jobs/{job['id']}")).status_code == 200

    api.services.watcher.end(one)
    given.succeeded(api, job["id"])
    assert (await api.get(f"/v1/jobs/{job['id']}{path}", headers=headers)).status_code == 200


async def test_streams_of_all_tenants_are_limited_at_a_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_WATCHES", 2)
    job = await given.a_job(api)
    begun(api, "ten_one")
    begun(api, "ten_two")
    refused = await api.get(f"/v1/jobs/{job['id']}/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")


async def test_place_is_free_again_when_a_stream_has_ended(api: Api, url: str) -> None:
    job = await given.a_job(api)
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=LIMIT_S) as client,
        client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream,
    ):
        assert await anext(stream.aiter_lines())
        assert len(api.services.watcher) == 1
    async with asyncio.timeout(LIMIT_S):
        while len(api.services.watcher):  # noqa: ASYNC110 - it ends when the server notices
            await asyncio.sleep(0.01)


async def test_many_streams_cost_no_more_than_one_until_their_job_moves(
    asking: Api, url: str
) -> None:
    headers = given.bearing(given.a_key(asking, Scope.SUBMIT))
    body = given.a_body(given.a_model(asking))
    job_id = (await asking.post("/v1/jobs", json=body, headers=headers)).json()["id"]
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(
            base_url=url, trust_env=False, headers=headers, timeout=LIMIT_S
        ) as client,
        AsyncExitStack() as streams,
    ):
        path = f"/v1/jobs/{job_id}/events"
        opened = [await streams.enter_async_context(client.stream("GET", path)) for _ in range(20)]
        lines = [stream.aiter_lines() for stream in opened]
        for one in lines:
            assert (await until_event(one)) == "event: state"

        seen: list[str] = []
        engine = asking.services.jobs.database.engine
        event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2]))

        async def asked_in_four_rounds() -> int:
            seen.clear()
            await asyncio.sleep(4 * watching.POLL_S)
            return len([text for text in seen if "SELECT" in text])

        # A round asks for keys and for jobs; 20 streams that asked themselves would ask 240 times.
        while not 4 <= await asked_in_four_rounds() <= 12:
            pass  # who has just come still takes its first look

        fence = given.started(asking, job_id)
        given.reported(asking, job_id, fence, 0.5, NewEvent("metrics", {"number": 1}))
        for one in lines:
            assert [await until_event(one) for _ in range(2)] == ["event: state", "event: metrics"]


async def test_who_waits_is_told_when_the_rounds_fail(api: Api) -> None:
    job = await given.a_job(api)
    watch = begun(api, DEFAULT_TENANT, job["id"])
    api.services.jobs.database.close()
    (api.services.settings.home / "penjing.db").rename(api.services.settings.home / "away")
    (api.services.settings.home / "penjing.db").mkdir()
    for _ in range(2):
        watch.rest()
        assert await watch.is_woken(LIMIT_S)
    api.services.watcher.end(watch)


async def until_event(lines: AsyncIterator[str]) -> str:
    """The name of the next event, as its line."""
    async for line in lines:
        if line.startswith("event: "):
            return line
    raise AssertionError("the stream ended")
