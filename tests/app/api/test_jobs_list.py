"""Lists of jobs: filters, order and pages."""

import pytest

from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio


async def listed(api: Api, query: str) -> list[str]:
    """Names of the jobs that a list shows."""
    answer = await api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 200, answer.text
    return [job["name"] for job in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["c", "b", "a"]),
        ("sort=-created_at", ["c", "b", "a"]),
        ("sort=created_at", ["a", "b", "c"]),
        ("state=queued", ["c", "a"]),
        ("state=cancelled", ["b"]),
        ("technique=magnitude_pruning", ["c", "b", "a"]),
        ("technique=fine_tuning", []),
        ("tag=team", ["c", "a"]),
        ("tag=team:vision", ["a"]),
        ("tag=team:vision&state=cancelled", []),
        ("model_id=mdl_none", []),
    ],
)
async def test_list_holds_what_fits_every_filter(api: Api, query: str, names: list[str]) -> None:
    await given.a_job(api, name="a", tags={"team": "vision"})
    api.clock.advance(1)
    job = await given.a_job(api, name="b")
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    api.clock.advance(1)
    await given.a_job(api, name="c", tags={"team": "speech"})
    assert await listed(api, query) == names


async def test_list_filters_by_model(api: Api) -> None:
    job = await given.a_job(api, name="a")
    await given.a_job(api, name="b")
    assert await listed(api, f"model_id={job['model_id']}") == ["a"]


async def test_pages_follow_the_link_until_every_job_was_seen_once(api: Api) -> None:
    for number in range(5):
        await given.a_job(api, name=str(number), tags={"a": "b&c"})
        api.clock.advance(1)
    seen: list[str] = []
    path = "/v1/jobs?limit=2&tag=a:b%26c"
    while path:
        answer = await api.get(path)
        seen += [job["name"] for job in answer.json()["items"]]
        link = answer.headers.get("link", "")
        assert (answer.json()["next_cursor"] is None) == (link == "")
        path = link.removesuffix('>; rel="next"').removeprefix("<")
    assert seen == ["4", "3", "2", "1", "0"]


async def test_pages_do_not_shift_when_jobs_are_added_between_them(api: Api) -> None:
    for name in ("a", "b"):
        await given.a_job(api, name=name)
        api.clock.advance(1)
    cursor = (await api.get("/v1/jobs?limit=1")).json()["next_cursor"]
    await given.a_job(api, name="new")
    assert await listed(api, f"cursor={cursor}") == ["a"]


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("state=done", 422, "/query/state"),
        ("limit=0", 422, "/query/limit"),
        ("limit=x", 422, "/query/limit"),
        ("sort=name", 422, "/query/sort"),
        ("stat=queued", 422, "/query/stat"),
    ],
)
async def test_list_is_refused_when_a_parameter_is_wrong(
    api: Api, query: str, status: int, pointer: str
) -> None:
    answer = await api.get(f"/v1/jobs?{query}")
    assert answer.status_code == status
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("query", ["cursor=abc", "cursor=W10", "tag=%00", "cursor=%00"])
async def test_list_is_malformed_when_a_cursor_or_text_is_no_such_thing(
    api: Api, query: str
) -> None:
    answer = await api.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
