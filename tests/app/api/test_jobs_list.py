"""Lists of jobs: filters, order and pages."""

from typing import Any

import pytest
from sqlalchemy import event

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


async def test_list_shows_places_and_files_of_every_job(api: Api) -> None:
    done = await given.a_job(api, name="done")
    given.succeeded(api, done["id"])
    waiting = [await given.a_job(api, name=name) for name in ("first", "second")]
    listed = {job["name"]: job for job in (await api.get("/v1/jobs")).json()["items"]}
    assert [listed[name]["queue_position"] for name in ("first", "second", "done")] == [1, 2, None]
    assert [len(listed[name]["artifacts"]) for name in ("first", "second", "done")] == [0, 0, 1]
    for job in (done, *waiting):
        assert listed[job["name"]] == (await api.get(f"/v1/jobs/{job['id']}")).json()


async def test_list_asks_the_database_as_often_for_many_jobs_as_for_one(api: Api) -> None:
    given.succeeded(api, (await given.a_job(api))["id"])
    await given.a_job(api)
    few = await statements_of(api, "/v1/jobs")
    for _ in range(4):
        given.succeeded(api, (await given.a_job(api))["id"])
        await given.a_job(api)
    many = await statements_of(api, "/v1/jobs")
    assert len(many) == len(few)
    assert not [statement for statement in many if "layers" in statement]


async def test_events_are_polled_without_reading_the_report(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    given.succeeded(api, job_id)
    statements = await statements_of(api, f"/v1/jobs/{job_id}/events")
    assert not [statement for statement in statements if "report" in statement]


async def test_retry_asks_the_database_as_often_after_many_retries_as_after_one(api: Api) -> None:
    path = f"/v1/jobs/{(await given.a_job(api))['id']}"
    asked: list[int] = []
    made: list[str] = []
    for _ in range(12):
        await api.post(f"/v1/jobs/{made[-1]}/cancel" if made else f"{path}/cancel")
        statements = await statements_of(api, f"{path}/retry", "POST", status=202)
        made.append((await api.post(f"{path}/retry")).json()["id"])
        asked.append(len(statements))
    assert len(set(made)) == 12
    assert len(set(asked)) == 1


async def statements_of(
    api: Api, path: str, method: str = "GET", *, status: int = 200
) -> list[str]:
    """What a request asks the database."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    engine = api.services.jobs.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert (await api.http.request(method, path)).status_code == status
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return asked


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
