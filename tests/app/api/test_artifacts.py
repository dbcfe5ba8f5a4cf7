"""Downloads: whole, in parts, conditional."""

import base64
import hashlib
from typing import Any

import pytest

from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

CONTENT = given.CONTENT


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
