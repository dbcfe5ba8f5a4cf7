"""What one request may cost: bytes, time to arrive, and work to say what is wrong with it."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.api import body_limit
from app.api.body_limit import MAX_JSON_BYTES, announced_bytes, in_time
from app.api.complaints import MOST_COMPLAINTS, without_followers
from app.api.json_body import MOST_MISTAKES, MOST_VALUES, JsonRoute
from app.errors import Complaint
from app.jobs import listing
from app.recipes.patterns import MOST_PATTERNS
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.api.given import ROUTES

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
# Processor time; what is held off here took 1 to 26 s.
LIMIT_S = 0.3


async def validated(api: Api, content: str) -> tuple[httpx.Response, float]:
    """The answer, and the processor time that it took."""
    assert len(content) <= MAX_JSON_BYTES
    begun_at = time.process_time()
    answer = await api.post("/v1/jobs:validate", content=content, headers=JSON)
    return answer, time.process_time() - begun_at


def unknown_fields(count: int) -> str:
    return json.dumps({f"{n:x}": 1 for n in range(count)}, separators=(",", ":"))


def a_step_with(**fields: Any) -> str:
    return json.dumps({"recipe": {"steps": [{"technique": "fine_tuning", **fields}]}})


@pytest.mark.parametrize(
    "content",
    [
        unknown_fields(MOST_VALUES),
        json.dumps({"tags": {f"{n} ": 1 for n in range(MOST_VALUES - 1)}}),
        a_step_with(class_weights={f"{n:x}g": "" for n in range(MOST_VALUES - 5)}),
        json.dumps({"recipe": {"steps": [1] * (MOST_VALUES - 2)}}),
        json.dumps({"outputs": [1] * (MOST_VALUES - 1)}),
        json.dumps({"recipe": {"steps": [{"technique": "x" * 7_000}] * 32}}),
        json.dumps({"x" * 250_000: 1}),
        '{"a":' * 900 + "1" + "}" * 900,
    ],
    ids=[
        *("unknown fields", "tags", "class weights", "steps", "outputs"),
        *("techniques", "one long name", "deep"),
    ],
)
async def test_body_full_of_mistakes_takes_no_time(api: Api, content: str) -> None:
    answer, seconds = await validated(api, content)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= MOST_COMPLAINTS
    assert seconds < LIMIT_S


async def test_all_mistakes_are_counted_though_few_are_told(api: Api) -> None:
    answer, _ = await validated(api, unknown_fields(MOST_MISTAKES - 2))
    # Two more are missing: model_id and recipe.
    assert answer.json()["detail"].endswith(f"(and {MOST_MISTAKES - 1} more)")


BODIES = [route for route in ROUTES if route.body_field]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
async def test_mistakes_are_only_counted_when_there_are_too_many(api: Api, route: APIRoute) -> None:
    content = unknown_fields(MOST_MISTAKES + 1)
    answer = await api.post(route.path, content=content, headers=JSON)
    [found] = answer.json()["errors"]
    assert (answer.status_code, found["pointer"]) == (422, "")
    assert found["detail"].startswith("has 1003 mistakes")


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
@pytest.mark.parametrize("content", ["[%s]", '{"scopes": [%s]}', '{"a": {"b": [%s]}}'])
async def test_body_of_many_values_is_refused_unread(
    api: Api, route: APIRoute, content: str
) -> None:
    assert isinstance(route, JsonRoute)
    given_values = content % ",".join("1" * MOST_VALUES + "1")
    answer = await api.post(route.path, content=given_values, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert f"may hold {MOST_VALUES} values" in answer.json()["detail"]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
async def test_body_that_has_a_name_twice_is_refused(api: Api, route: APIRoute) -> None:
    content = '{"name": "", "limits": {"run_s": 1, "queue_s": 2, "run_s": 3}}'
    answer = await api.post(route.path, content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "the name 'run_s' twice" in answer.json()["detail"]


async def test_query_that_has_a_name_twice_is_refused(api: Api) -> None:
    answer = await api.get("/v1/jobs?limit=1&limit=2")
    assert answer.status_code == 422
    assert [found["pointer"] for found in answer.json()["errors"]] == ["/query/limit"]


def test_complaints_that_only_follow_are_found_in_one_pass() -> None:
    pointers = [f"/{n}/{'x/' * (n % 5)}a" for n in range(40_000)]
    found = [Complaint(pointer=pointer, detail="wrong") for pointer in [*pointers, "/7", ""]]
    begun_at = time.process_time()
    assert [one.pointer for one in without_followers(found)] == pointers
    assert time.process_time() - begun_at < 1.0


async def test_query_full_of_mistakes_takes_no_time(api: Api) -> None:
    query = "&".join(f"{n:x}" + "=1" for n in range(7_000))
    begun_at = time.process_time()
    answer = await api.get(f"/v1/jobs?{query}")
    assert time.process_time() - begun_at < 1.0
    assert answer.json()["detail"].endswith("(and 6999 more)")


# Layer patterns


def a_step(patterns: list[str]) -> dict[str, Any]:
    return {"technique": "magnitude_pruning", "sparsity": 0.5, "include": patterns}


async def test_patterns_at_their_longest_take_no_time(api: Api) -> None:
    patterns = [r"(\pL\pN){40}" + f"{n}" for n in range(MOST_PATTERNS)]
    steps = [a_step(patterns[n : n + 64]) for n in range(0, MOST_PATTERNS, 64)]
    body = given.a_body(given.a_model(api), recipe={"steps": steps})
    answer, seconds = await validated(api, json.dumps(body))
    assert "it stands for too much" in answer.json()["errors"][0]["detail"]
    assert seconds < LIMIT_S


async def test_patterns_of_all_steps_together_are_counted_before_one_is_compiled(api: Api) -> None:
    steps = [a_step(["("] * 64)] * (MOST_PATTERNS // 64 + 1)
    body = given.a_body("mdl_x", recipe={"steps": steps})
    answer, _ = await validated(api, json.dumps(body))
    [refused] = answer.json()["errors"]
    assert refused["pointer"] == "/recipe/steps"
    assert "together may be 256 at most; given 320. One pattern can match many" in refused["detail"]


# How a body arrives


async def test_body_that_stalls_is_refused(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "IDLE_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
    writer.write(b"Content-Type: application/json\r\n\r\n{")
    async with asyncio.timeout(60):
        answer = await reader.read()  # to its end: the connection is closed
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_stalled"' in answer


async def test_body_that_trickles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loop = 0.0, asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: now)

    async def receive_after_a_while() -> Message:
        nonlocal now
        now += 15.0
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" ", "more_body": True}

    receive = in_time(receive_after_a_while)
    for _ in range(4):
        await receive()
    with pytest.raises(HTTPException) as refused:
        await receive()
    assert (refused.value.status_code, now) == (408, 75.0)


async def test_client_that_waits_for_its_answer_is_not_hurried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body_limit, "IDLE_S", 0.01)
    monkeypatch.setattr(body_limit, "WHOLE_S", 0.01)
    messages: list[Message] = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        if len(messages) == 1:
            await asyncio.sleep(0.05)
        return messages.pop(0)

    bounded = in_time(receive)
    assert [(await bounded())["type"] for _ in "12"] == ["http.request", "http.disconnect"]


@pytest.mark.parametrize(
    ("given_length", "read"),
    [("12", 12), ("", None), ("-1", None), ("1_0", None), ("9" * 5000, 10**19 - 1)],
)
def test_length_is_read_when_it_is_a_number(given_length: str, read: int | None) -> None:
    assert announced_bytes(httpx.Headers({"content-length": given_length})) == read  # type: ignore[arg-type]


# How much comes back


async def test_page_of_jobs_ends_early_when_they_are_long(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await given.a_job(api, name=str(n)))["id"] for n in range(3)]
    [job] = api.services.jobs.page("ten_default", listing.JobFilter(), 1, None).items
    monkeypatch.setattr(listing, "MOST_PAGE_CHARS", len(json.dumps(job.request)) * 2 + 100)
    first = (await api.get("/v1/jobs?limit=200&sort=created_at")).json()
    cursor = first["next_cursor"]
    second = (await api.get(f"/v1/jobs?limit=200&sort=created_at&cursor={cursor}")).json()
    pages = [[item["id"] for item in page["items"]] for page in (first, second)]
    assert pages == [ids[:2], ids[2:]]
    assert second["next_cursor"] is None


async def test_page_holds_a_job_though_it_is_too_long_for_one(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await given.a_job(api, name=str(n)))["id"] for n in range(2)]
    monkeypatch.setattr(listing, "MOST_PAGE_CHARS", 1)
    page = (await api.get("/v1/jobs?sort=created_at")).json()
    assert [item["id"] for item in page["items"]] == ids[:1]
    assert page["next_cursor"]


# Cursors


@pytest.mark.parametrize(
    "cursor", ["9" * 19, "9" * 50, "0" * 20 + "9" * 30, "-1", "1_0", "٣", "0x1", ""]
)
async def test_cursor_of_the_audit_log_is_refused_when_it_is_none(api: Api, cursor: str) -> None:
    answer = await api.get("/v1/audit-log", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
