"""Every hostile file over HTTP, read by the inspector in its own confined process."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import assemble
from app.settings import Settings
from tests.fakes import FakeQueue
from tests.hostile_files import HostileFile, Marks, hostile_file, hostile_files, marks

pytestmark = pytest.mark.anyio

# One of each kind of payload and of each format, and those that must pass.
QUICK = tuple(
    map(hostile_file, ("c12", "d01", "d16", "h02", "h13", "k02", "k47", "q03", "s03", "t15"))
)
STATUSES = {201: "ready", 413: "4xx", 415: "4xx", 422: "4xx"}
FINE_TUNING = {"technique": "fine_tuning", "epochs": 1}
FLOAT16 = {"technique": "float16_quantization"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    patient = settings.model_copy(update={"inspection_wait_s": 60})
    application = assemble(patient, FakeQueue())
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=90) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def left() -> Iterator[Marks]:
    with marks() as left:
        yield left


async def uploaded(http: httpx.AsyncClient, file: HostileFile) -> httpx.Response:
    return await http.post(file.route, params={"name": file.name}, content=file.content)


async def validated(http: httpx.AsyncClient, file: HostileFile, upload_id: str) -> httpx.Response:
    """A model with a step that needs no data; a data set with one that trains the honest model."""
    body: dict[str, Any] = {"model_id": upload_id, "outputs": ["tflite"]}
    body["recipe"] = {"steps": [FINE_TUNING if file.is_dataset else FLOAT16]}
    if file.is_dataset:
        model = (await uploaded(http, hostile_file("m01_ok"))).json()
        body |= {"model_id": model["id"], "dataset_id": upload_id}
    return await http.post("/v1/jobs:validate", json=body)


async def check(http: httpx.AsyncClient, file: HostileFile, left: Marks) -> None:
    """The verdict is that of the manifest, and the file did nothing but be read."""
    answer = await uploaded(http, file)
    said = answer.text
    verdict = STATUSES[answer.status_code]
    if verdict == "ready":
        assert answer.json()["status"] == "ready"
        answer = await validated(http, file, answer.json()["id"])
        verdict = {200: "ok", 422: "4xx"}[answer.status_code]
        said += answer.text
    wanted = {"ok": {"ok"}, "4xx": {"4xx"}, "ok_or_4xx": {"ok", "4xx"}, "fail_clean": {"ok"}}
    assert verdict in wanted[file.expect], said
    assert left.canary not in said
    assert left.left() == []
    if verdict == "4xx":
        assert answer.json()["detail"]
        assert str(Path.home()) not in said


@pytest.mark.parametrize("file", QUICK, ids=lambda file: file.name)
async def test_hostile_file_gets_its_verdict(
    http: httpx.AsyncClient, left: Marks, file: HostileFile
) -> None:
    await check(http, file, left)


@pytest.mark.hostile
@pytest.mark.parametrize("file", hostile_files(), ids=lambda file: file.name)
async def test_every_hostile_file_gets_its_verdict(
    http: httpx.AsyncClient, left: Marks, file: HostileFile
) -> None:
    await check(http, file, left)
