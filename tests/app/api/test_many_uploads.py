"""Many uploads at once: what they hold while they last, and that nothing of them stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.main import sweep
from app.settings import Settings
from app.uploads.inspecting import Inspector
from app.uploads.inspector.protocol import Inspection
from app.uploads.under_way import MOST_AT_A_TIME, UnderWay
from tests.app.api.conftest import Api
from tests.hostile_files import CORPUS, hostile_file

pytestmark = pytest.mark.anyio

MODEL = (CORPUS / "m01_ok.keras").read_bytes()
# Every tenth reaches the inspector; the others are refused before.
BAD = (
    "k01_lam",
    "d27_dup",
    "z01_zip",
    "k18_zip",
    "k35_trunc",
    "t01_emp",
    "c09",
    "d30",
    "z03",
    "c06",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"inspection_wait_s": 60})


def kept(api: Api) -> list[Path]:
    """Every file in the blob store but its lock."""
    root = api.services.blobs.root
    return [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]


async def test_bad_uploads_at_once_leave_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = most_at_work = 0
    run = Inspector._run

    async def counted(*arguments: object) -> Inspection:
        nonlocal at_work, most_at_work
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        try:
            return await run(*arguments)  # type: ignore[arg-type]  # those it was called with
        finally:
            at_work -= 1

    monkeypatch.setattr(Inspector, "_run", counted)
    files = [hostile_file(BAD[number % 10]) for number in range(MOST_AT_A_TIME)]
    answers = await asyncio.gather(
        *(api.post(f"{file.route}?name={file.name}", content=file.content) for file in files)
    )
    assert {answer.status_code for answer in answers} <= {415, 422}
    assert kept(api) == []
    assert list((api.services.settings.home / "inspections").glob("*")) == []
    assert 1 <= most_at_work <= 2


async def test_half_open_uploads_hold_one_batch_each_and_leave_nothing(api: Api, url: str) -> None:
    async def half() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        head = b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
        writer.write(head + b"x" * 1000)
        await writer.drain()
        connections.append(writer)

    connections: list[asyncio.StreamWriter] = []
    await asyncio.gather(*(half() for _ in range(MOST_AT_A_TIME - 1)))
    assert (await api.get("/livez")).status_code == 200
    honest = await api.post("/v1/models", content=MODEL)
    assert honest.status_code == 201
    for writer in connections:
        writer.close()
    async with asyncio.timeout(60):
        while len(kept(api)) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(2**16)


async def test_endless_uploads_at_once_end_at_the_limit(api: Api) -> None:
    answers = await asyncio.gather(*(api.post("/v1/models", content=endless()) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {413}
    assert kept(api) == []


async def test_upload_is_refused_where_the_disk_would_lose_its_reserve(api: Api) -> None:
    reserve = api.services.settings.disk_reserve_bytes
    assert api.services.uploads.reserve_bytes == reserve > 0
    services = api.services
    api.application.state.services = replace(
        services, uploads=replace(services.uploads, reserve_bytes=2**62)
    )
    answer = await api.post("/v1/datasets", content=b"a,b\n1,2\n")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


async def test_upload_is_refused_where_no_more_may_be_under_way(api: Api) -> None:
    services = api.services
    api.application.state.services = replace(
        services, uploads=replace(services.uploads, under_way=UnderWay(0))
    )
    answer = await api.post("/v1/datasets", content=b"a,b\n1,2\n")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
    assert answer.headers["retry-after"] == "10"


async def test_equal_files_at_once_are_whole_though_their_equals_are_deleted(api: Api) -> None:
    rows = b"a,label\n" + b"1,0\n2,1\n" * 20

    async def there() -> str:
        return str((await api.post("/v1/datasets?label=label", content=rows)).json()["id"])

    async def there_and_gone() -> None:
        gone = await api.http.delete(f"/v1/datasets/{await there()}")
        assert gone.status_code == 204
        await asyncio.to_thread(sweep, api.services)

    ids, _ = await asyncio.gather(
        asyncio.gather(*(there() for _ in range(2))),
        asyncio.gather(*(there_and_gone() for _ in range(2))),
    )
    assert len({*ids}) == 2
    for dataset_id in ids:
        content = await api.get(f"/v1/datasets/{dataset_id}/content")
        assert (content.status_code, content.content) == (200, rows)
    assert len(kept(api)) == 1
