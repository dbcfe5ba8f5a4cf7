"""Every error is a problem, whoever raises it."""

import logging
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from app import errors
from app.api.body_limit import MAX_JSON_BYTES
from app.api.problems import MEDIA_TYPE, status_of
from app.api.receiving import BodyStalled
from app.errors import PenjingError
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

KEY = f"pj_{'0a' * 6}_{'0a' * 32}"
FIELDS = {
    *("type", "title", "status", "detail", "instance", "code", "stage", "errors", "retryable"),
    *("hint", "layer", "request_id"),
}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Malformed, 400),
        (errors.NotFound, 404),
        (BodyStalled, 408),
        (errors.InUse, 409),
        (errors.TooLarge, 413),
        (errors.UnsupportedFormat, 415),
        (errors.RangeNotSatisfiable, 416),
        (errors.IdempotencyKeyReused, 422),
        (errors.ChildCrashed, 500),
        (errors.PenjingError, 500),
        (errors.StoreUnwritable, 503),
        (errors.StorageFull, 507),
    ],
)
def test_status_is_that_of_the_family(kind: type[PenjingError], status: int) -> None:
    assert status_of(kind) == status


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "no_such_path"),
        ("GET", "/v1/jobs/", 404, "no_such_path"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/job_none", 404, "not_found"),
        ("GET", "/v1/jobs/%00", 400, "malformed"),
        ("POST", "/v1/jobs", 422, "invalid"),
        ("GET", "/livez?verbose=1", 422, "invalid"),
    ],
)
async def test_refusal_is_a_whole_problem(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.http.request(method, path, headers={"X-Request-ID": "mine-1"})
    problem = answer.json()
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert set(problem) == FIELDS
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:penjing:problem:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine-1"


async def test_wrong_method_is_told_every_right_one(api: Api) -> None:
    answer = await api.http.delete("/v1/jobs")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_unforeseen_error_says_nothing_of_the_inside(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        type(api.services.jobs), "get", raising(RuntimeError("secret /path/to/database"))
    )
    with caplog.at_level(logging.ERROR):
        answer = await api.get("/v1/jobs/job_1", headers={"X-Request-ID": "mine-2"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine-2"
    assert "secret" not in answer.text
    assert [record.__dict__["request_id"] for record in caplog.records] == ["mine-2"]


@pytest.mark.parametrize(
    "given_id", ["a b", "x" * 200, "a\tb", "<script>", KEY, f"job_x{KEY.upper()}"]
)
async def test_request_id_is_a_new_one_when_the_callers_is_not_decent(
    api: Api, given_id: str
) -> None:
    answer = await api.get("/livez", headers={"X-Request-ID": given_id})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_json_body_is_too_large_when_it_says_so(api: Api) -> None:
    content = b'{"name": "' + b"x" * MAX_JSON_BYTES + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/v1/jobs", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_json_body_is_too_large_when_it_turns_out_so(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/v1/jobs", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "error", [errors.StorageFull, errors.StoreUnwritable, errors.NotReady, errors.RequestInFlight]
)
async def test_caller_is_told_when_to_come_again_when_that_may_help(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: type[PenjingError]
) -> None:
    monkeypatch.setattr(type(api.services.jobs), "get", raising(error("not now")))
    answer = await api.get("/v1/jobs/job_1")
    assert (answer.status_code, answer.json()["retryable"]) == (status_of(error), True)
    assert answer.headers["retry-after"] == "5"


async def test_caller_is_not_told_to_come_again_when_that_is_no_use(api: Api) -> None:
    assert "retry-after" not in (await api.get("/v1/jobs/job_none")).headers


def raising(error: Exception) -> Callable[[object, str, str], object]:
    def method(_self: object, _tenant_id: str, _job_id: str) -> object:
        raise error

    return method


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b'"' * 2**16


async def test_failing_database_is_no_fault_of_the_caller(api: Api) -> None:
    with api.services.jobs.database.write() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO moved"))

    answer = await api.http.get("/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "moved" not in answer.text


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT secret", {}, Exception("the server is gone")),
        InterfaceError("SELECT secret", {}, Exception("the connection is closed")),
        NoFreeConnection("secret: every connection is taken"),
    ],
)
async def test_lost_database_is_unavailable_and_not_quoted(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(type(api.services.jobs), "get", raising(error))
    answer = await api.get("/v1/jobs/job_1")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text
