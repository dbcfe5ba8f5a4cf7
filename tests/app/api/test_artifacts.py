"""Downloads: whole, in parts, conditional."""

import asyncio
import base64
import hashlib
import os
from contextlib import suppress
from typing import Any

import httpx
import pytest

from app.accounts.principal import Scope
from app.accounts.service import KeyWish
from app.api import watching
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.fakes import a_change

pytestmark = pytest.mark.anyio

CONTENT = given.CONTENT
# More than what a connection and the system hold of an answer that nobody takes.
LARGE_BYTES = 64 * 2**20
LIMIT_S = 30.0


async def an_artifact(api: Api) -> dict[str, Any]:
    job_id = (await given.a_job(api))["id"]
    given.succeeded(api, job_id)
    artifacts: list[dict[str, Any]] = (await api.get(f"/v1/jobs/{job_id}/artifacts")).json()[
        "items"
    ]
    return artifacts[0]


async def test_download_has_the_bytes_and_what_proves_them(api: Api) -> None:
    artifact = await an_artifact(api)
    answer = await api.get(artifact["url"])
    digest = hashlib.sha256(CONTENT)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert artifact["sha256"] == digest.hexdigest()
    headers = answer.headers
    assert headers["etag"] == f'"{digest.hexdigest()}"'
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"].startswith('attachment; filename="net.tflite"')


async def test_head_has_the_same_headers_and_no_body(api: Api) -> None:
    url = (await an_artifact(api))["url"]
    whole, head = await api.get(url), await api.http.head(url)
    ignored = {"x-request-id"}
    assert head.content == b""
    assert {key: value for key, value in head.headers.items() if key not in ignored} == {
        key: value for key, value in whole.headers.items() if key not in ignored
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=10-19", 10, 20), ("bytes=1000-", 1000, 1280), ("bytes=-5", 1275, 1280)],
)
async def test_range_gives_the_part_that_is_asked_for(
    api: Api, asked: str, start: int, end: int
) -> None:
    answer = await api.get((await an_artifact(api))["url"], headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_range_beyond_the_end_is_not_satisfiable(api: Api) -> None:
    answer = await api.get((await an_artifact(api))["url"], headers={"Range": "bytes=1280-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


async def test_resume_starts_over_when_the_bytes_are_others(api: Api) -> None:
    artifact = await an_artifact(api)
    headers = {"Range": "bytes=10-", "If-Range": '"other"'}
    answer = await api.get(artifact["url"], headers=headers)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    headers["If-Range"] = f'"{artifact["sha256"]}"'
    assert (await api.get(artifact["url"], headers=headers)).status_code == 206


async def test_download_is_not_modified_when_the_digest_is_known(api: Api) -> None:
    artifact = await an_artifact(api)
    known = {"If-None-Match": f'"{artifact["sha256"]}"'}
    answer = await api.get(artifact["url"], headers=known)
    assert (answer.status_code, answer.content) == (304, b"")


async def test_download_is_not_found_when_the_bytes_are_gone(api: Api) -> None:
    artifact = await an_artifact(api)
    api.services.blobs.path(artifact["sha256"]).unlink()
    answer = await api.get(artifact["url"])
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert str(api.services.settings.home) not in answer.text


async def test_unknown_artifact_is_not_found(api: Api) -> None:
    answer = await api.get("/v1/artifacts/art_none/content")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("kind", ["models", "datasets", "artifacts"])
async def test_download_that_runs_ends_with_its_key(api: Api, url: str, kind: str) -> None:
    paths = {
        "models": f"/v1/models/{given.a_model(api)}/content",
        "datasets": f"/v1/datasets/{given.a_dataset(api)}/content",
        "artifacts": (await an_artifact(api))["url"],
    }
    for blob in (path for path in api.services.blobs.root.rglob("*") if path.is_file()):
        os.truncate(blob, LARGE_BYTES)
    accounts = api.services.accounts
    key, text = accounts.issue(a_change(), KeyWish("slow", frozenset({Scope.READ}), None))
    taken_bytes = 0
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=url, trust_env=False, headers=given.bearing(text)) as client,
        client.stream("GET", paths[kind]) as answer,
    ):
        assert answer.headers["content-length"] == str(LARGE_BYTES)
        pieces = answer.aiter_raw()
        taken_bytes += len(await anext(pieces))
        accounts.revoke(a_change(), key.id)
        while api.services.watcher.is_sending():  # noqa: ASYNC110 - it ends within a round
            await asyncio.sleep(0.01)
        with suppress(httpx.RemoteProtocolError):
            async for piece in pieces:
                taken_bytes += len(piece)
    assert 0 < taken_bytes < LARGE_BYTES


async def test_download_goes_on_while_its_key_is_good(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    path = (await an_artifact(api))["url"]
    for blob in (path for path in api.services.blobs.root.rglob("*") if path.is_file()):
        os.truncate(blob, LARGE_BYTES)
    headers = given.bearing(given.a_key(api))
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=url, trust_env=False, headers=headers) as client,
        client.stream("GET", path) as answer,
    ):
        assert sum([len(piece) async for piece in answer.aiter_raw()]) == LARGE_BYTES
        while api.services.watcher.is_sending():  # noqa: ASYNC110 - the last byte is not its end
            await asyncio.sleep(0.01)
