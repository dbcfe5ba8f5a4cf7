"""HEAD says of every path what GET says, and sends nothing."""

import httpx
import pytest

from app.accounts.principal import Scope
from app.api.events import read_events
from app.api.openapi import document
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

PATHS = sorted(
    route.path
    for route in given.ROUTES
    if "GET" in (route.methods or ()) and route.endpoint is not read_events
)
PASSING = {"x-request-id", "date", "content-length", "ratelimit"}


def said(answer: httpx.Response) -> tuple[int, dict[str, str]]:
    headers = {name: text for name, text in answer.headers.items() if name not in PASSING}
    return answer.status_code, headers


async def filled(api: Api, path: str) -> str:
    """The path with something that is there."""
    job = await given.a_job(api)
    given.succeeded(api, job["id"])
    [artifact] = (await api.get(f"/v1/jobs/{job['id']}")).json()["artifacts"]
    given.a_key(api)
    [key] = api.services.accounts.page("ten_default", 1, None).items
    names = {"job_id": job["id"], "model_id": job["model_id"], "artifact_id": artifact["id"]}
    dataset_id = given.a_dataset(api)
    names |= {"key_id": key.id, "dataset_id": dataset_id, "name": "magnitude_pruning"}
    return path.format(**names)


@pytest.mark.parametrize("path", PATHS)
async def test_head_says_what_get_says(api: Api, path: str) -> None:
    path = await filled(api, path)
    got, head = await api.get(path), await api.http.head(path)
    assert said(head) == said(got)
    assert head.content == b""


async def test_head_is_refused_as_get_is(asking: Api) -> None:
    assert (await asking.http.head("/v1/jobs")).status_code == 401
    reader = given.bearing(given.a_key(asking, Scope.READ))
    assert (await asking.http.head("/v1/jobs", headers=reader)).status_code == 200
    assert (await asking.http.head("/v1/api-keys", headers=reader)).status_code == 403
    admin = given.bearing(given.a_key(asking, Scope.ADMIN))
    entries = (await asking.get("/v1/audit-log", headers=admin)).json()["items"]
    assert ("api_keys.list", 403) in [(entry["action"], entry["status"]) for entry in entries]


async def test_stream_has_no_head(api: Api) -> None:
    job = await given.a_job(api)
    answer = await api.http.head(f"/v1/jobs/{job['id']}/events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_head_is_no_verb_of_what_only_takes(api: Api) -> None:
    answer = await api.http.head("/v1/jobs:validate")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = await api.http.put("/v1/jobs")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_server_sends_the_head_alone(api: Api, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        head, got = await client.head("/v1/version"), await client.get("/v1/version")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert (head.status_code, head.content) == (200, b"")


def test_openapi_says_nothing_of_head() -> None:
    assert '"head"' not in document()
