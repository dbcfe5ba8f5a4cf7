"""Health, readiness and version."""

import asyncio
import threading
import time

import pytest
from sqlalchemy import insert

from app.database.tables import workers
from app.errors import Unavailable
from app.jobs.presence import Standing, Worker, WorkerPresence
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
async def test_process_is_alive_whatever_it_depends_on(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_service_is_not_ready_without_broker_and_worker(api: Api) -> None:
    answer = await api.get("/readyz")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (503, "not_ready")
    assert {name: check["status"] for name, check in body["checks"].items()} == {
        "inspection": "ok",
        "database": "ok",
        "broker": "failing",
        "blob_store": "ok",
        "worker": "failing",
        "confinement": "failing",
    }
    assert str(api.services.settings.home) not in answer.text


async def test_worker_counts_while_it_was_seen_lately(api: Api) -> None:
    WorkerPresence(api.services.jobs.database).beat("worker-1", api.clock(), Standing.CONFINED)
    api.clock.advance(29)
    assert (await api.get("/readyz")).json()["checks"]["worker"]["status"] == "ok"
    api.clock.advance(2)
    assert (await api.get("/readyz")).json()["checks"]["worker"]["status"] == "failing"


async def test_service_is_ready_when_every_check_passes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.services.readiness.checks, "broker", lambda: "answers")
    WorkerPresence(api.services.jobs.database).beat("worker-1", api.clock(), Standing.CONFINED)
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


async def test_blob_store_fails_when_its_folder_cannot_be_written(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.blobs, "temporary", api.services.settings.home / "penjing.db")
    check = (await api.get("/readyz")).json()["checks"]["blob_store"]
    assert check["status"] == "failing"
    assert "cannot be written" in check["detail"]


async def test_check_that_raises_a_named_error_gives_its_words(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.services.readiness.checks, "database", unavailable)
    check = (await api.get("/readyz")).json()["checks"]["database"]
    assert check == {"status": "failing", "detail": "gone fishing"}


async def test_checks_run_once_for_everybody_who_asks_within_a_second(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[float] = []
    monkeypatch.setitem(api.services.readiness.checks, "database", lambda: noted(runs))

    answers = await asyncio.gather(*(api.get("/readyz") for _ in range(60)))
    assert len({answer.text for answer in answers}) == 1
    assert len(runs) == 1

    api.clock.advance(2)
    await api.get("/readyz")
    assert len(runs) == 2


async def test_checks_that_hang_keep_nobody_else_waiting(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    for name in api.services.readiness.checks:
        monkeypatch.setitem(api.services.readiness.checks, name, lambda: str(go_on.wait(120)))
    waiting = [asyncio.create_task(api.get("/readyz")) for _ in range(60)]
    try:
        async with asyncio.timeout(60):
            assert (await api.get("/v1/me")).status_code == 200
        assert not any(one.done() for one in waiting)
    finally:
        go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_round_of_checks_goes_on_when_who_asked_first_has_gone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setitem(api.services.readiness.checks, "database", lambda: str(go_on.wait(120)))
    first = asyncio.create_task(api.get("/readyz"))
    second = asyncio.create_task(api.get("/readyz"))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert (await second).json()["checks"]["database"]["status"] == "ok"


def noted(runs: list[float]) -> str:
    runs.append(time.monotonic())
    return "answers"


async def test_version_names_the_package(api: Api) -> None:
    body = (await api.get("/v1/version")).json()
    assert (body["name"], body["api"]) == ("penjing", "v1")
    assert body["version"]


def unavailable() -> str:
    raise Unavailable("gone fishing")


@pytest.mark.parametrize(
    ("standings", "status", "words"),
    [
        ([Standing.CONFINED], "ok", "every job is confined"),
        ([Standing.CONFINED, Standing.TAKES_NONE], "ok", "every job is confined"),
        ([Standing.CONFINED, Standing.UNCONFINED], "ok", "UNCONFINED"),
        ([Standing.CONFINED, Standing.UNKNOWN], "failing", "does not say whether it confines"),
        ([Standing.TAKES_NONE], "failing", "no worker is there that can confine its jobs"),
    ],
)
async def test_readiness_says_whether_jobs_are_confined(
    api: Api, standings: list[Standing], status: str, words: str
) -> None:
    presence = WorkerPresence(api.services.jobs.database)
    for number, standing in enumerate(standings):
        presence.beat(f"secret-host-17-{number}", api.clock(), standing)

    check = (await api.get("/readyz")).json()["checks"]["confinement"]

    assert check["status"] == status
    assert words in check["detail"]
    assert "secret-host" not in check["detail"]


async def test_worker_that_takes_no_jobs_may_take_them_again(api: Api) -> None:
    presence = WorkerPresence(api.services.jobs.database)
    presence.beat("worker-1", api.clock(), Standing.TAKES_NONE)
    presence.beat("worker-1", api.clock(), Standing.CONFINED)

    [worker] = presence.live_workers(api.clock(), 30)
    assert worker == Worker("worker-1", Standing.CONFINED, box=None)


async def test_worker_that_does_not_know_the_question_is_not_trusted(api: Api) -> None:
    database = api.services.jobs.database
    with database.write() as connection:
        connection.execute(insert(workers).values(name="of old", seen_at=api.clock()))
    [worker] = WorkerPresence(database).live_workers(api.clock(), 60)
    assert worker == Worker("of old", Standing.UNKNOWN, box=None)
