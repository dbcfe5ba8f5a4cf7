"""The client where the service is busy and says when to ask again."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import ApiProblem
from app.client.transport import MOST_RETURNS
from app.jobs.job import JobState
from tests.app.test_client import client, event_frame, job_json, model_json, problem_json


def busy(status: int = 429, retry_after: str | None = "7", **known: Any) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(
        status,
        json=problem_json(status=status, **{"code": "too_many_requests", **known}),
        headers=headers,
    )


@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_when_it_says(status: int) -> None:
    answers = [busy(status), busy(status, "2"), httpx.Response(200, json=job_json())]
    sleeps: list[float] = []
    with client(lambda request: answers.pop(0), sleeps) as service:
        assert service.job("job_1").id == "job_1"
    assert sleeps == [7, 2]


def test_service_that_stays_busy_is_given_up() -> None:
    sleeps: list[float] = []
    with client(lambda request: busy(), sleeps) as service, pytest.raises(ApiProblem):
        service.job("job_1")
    assert sleeps == [7] * MOST_RETURNS


@pytest.mark.parametrize("retry_after", [None, "61", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"])
def test_nobody_waits_for_what_is_far_or_not_said(retry_after: str | None) -> None:
    sleeps: list[float] = []
    with (
        client(lambda request: busy(retry_after=retry_after), sleeps) as service,
        pytest.raises(ApiProblem),
    ):
        service.job("job_1")
    assert sleeps == []


@pytest.mark.parametrize("status", [429, 503])
def test_upload_is_sent_again_from_its_beginning(tmp_path: Path, status: int) -> None:
    file = tmp_path / "net.keras"
    file.write_bytes(b"PK12")
    answers = [busy(status), httpx.Response(201, json=model_json())]
    bodies: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return answers.pop(0)

    sleeps: list[float] = []
    with client(handle, sleeps) as service:
        assert service.upload_model(file).id == "mdl_1"
    assert (bodies, sleeps) == ([b"PK12", b"PK12"], [7])


def test_what_may_have_been_done_is_not_sent_again() -> None:
    sleeps: list[float] = []
    with client(lambda request: busy(503), sleeps) as service:
        with pytest.raises(ApiProblem):
            service.retry("job_1")
        with pytest.raises(ApiProblem):
            service.delete_job("job_1")
    assert sleeps == []


def test_events_go_on_after_a_refusal() -> None:
    answers = [
        busy(code="too_many_streams"),
        httpx.Response(200, content=event_frame(1)),
        httpx.Response(204),
    ]
    sleeps: list[float] = []
    with client(lambda request: answers.pop(0), sleeps) as service:
        assert [event.seq for event in service.events("job_1")] == [1]
    assert sleeps[0] == 7


def test_events_are_given_up_where_every_connection_is_refused() -> None:
    sleeps: list[float] = []
    with client(lambda request: busy(), sleeps) as service, pytest.raises(ApiProblem):
        list(service.events("job_1"))
    assert sleeps == [7] * MOST_RETURNS


def test_wait_polls_where_no_more_may_wait() -> None:
    asked: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Prefer"))
        if "Prefer" in request.headers:
            return busy(code="too_many_streams")
        return httpx.Response(
            200, json=job_json(state="running" if len(asked) < 3 else "succeeded")
        )

    sleeps: list[float] = []
    with client(handle, sleeps) as service:
        assert service.wait("job_1").state is JobState.SUCCEEDED
    assert asked == ["wait=20", None, None]
    assert sleeps == [2]
