"""Conditional and waiting reads of a job."""

import asyncio

import httpx
import pytest

from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_job_is_not_modified_when_the_etag_is_known(api: Api) -> None:
    job = await given.a_job(api)
    first = await api.get(f"/v1/jobs/{job['id']}")
    known = {"If-None-Match": first.headers["etag"]}
    again = await api.get(f"/v1/jobs/{job['id']}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_job_is_sent_again_when_it_changed_since_the_etag(api: Api) -> None:
    job = await given.a_job(api)
    known = {"If-None-Match": (await api.get(f"/v1/jobs/{job['id']}")).headers["etag"]}
    given.started(api, job["id"])
    again = await api.get(f"/v1/jobs/{job['id']}", headers=known)
    assert (again.status_code, again.json()["state"]) == (200, "running")


async def test_job_is_sent_again_when_it_moved_up_in_the_queue(api: Api) -> None:
    first, second = await given.a_job(api), await given.a_job(api)
    known = {"If-None-Match": (await api.get(f"/v1/jobs/{second['id']}")).headers["etag"]}
    given.started(api, first["id"])
    again = await api.get(f"/v1/jobs/{second['id']}", headers=known)
    assert (again.status_code, again.json()["queue_position"]) == (200, 1)


async def test_wait_returns_as_soon_as_the_job_is_final(api: Api) -> None:
    job = await given.a_job(api)
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=60"}))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    async with asyncio.timeout(40):
        answer = await waiting
    assert answer.json()["state"] == "cancelled"
    assert answer.headers["preference-applied"] == "wait=60"


async def test_wait_returns_as_soon_as_the_job_is_news_to_the_caller(api: Api) -> None:
    job = await given.a_job(api)
    etag = (await api.get(f"/v1/jobs/{job['id']}")).headers["etag"]
    headers = {"Prefer": "wait=60", "If-None-Match": etag}
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job['id']}", headers=headers))
    await asyncio.sleep(0.1)
    given.started(api, job["id"])
    async with asyncio.timeout(40):
        answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (200, "running")


async def test_wait_ends_with_the_job_as_it_is_when_the_time_is_up(api: Api) -> None:
    job = await given.a_job(api)
    answer = await api.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=1"})
    assert answer.json()["state"] == "queued"
    assert answer.headers["preference-applied"] == "wait=1"


async def test_wait_ends_when_the_caller_has_gone(api: Api, url: str) -> None:
    watcher = api.services.watcher
    job = await given.a_job(api)
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    head = f"GET /v1/jobs/{job['id']} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(40):
        while not len(watcher):  # noqa: ASYNC110 - the server reads when it likes
            await asyncio.sleep(0.01)
        writer.close()
        while len(watcher):  # noqa: ASYNC110 - the server reads when it likes
            await asyncio.sleep(0.01)


async def test_wait_returns_when_the_job_has_moved_up_in_the_queue(api: Api) -> None:
    first, second = await given.a_job(api), await given.a_job(api)
    etag = (await api.get(f"/v1/jobs/{second['id']}")).headers["etag"]
    headers = {"Prefer": "wait=60", "If-None-Match": etag}
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{second['id']}", headers=headers))
    await asyncio.sleep(0.1)
    given.started(api, first["id"])
    async with asyncio.timeout(40):
        assert (await waiting).json()["queue_position"] == 1


async def test_read_does_not_wait_when_it_is_not_asked_to(api: Api) -> None:
    job = await given.a_job(api)
    answer = await api.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "respond-async"})
    assert "preference-applied" not in answer.headers
