"""The client against a service that answers, refuses, and loses connections as it is told."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import ApiProblem, Client, DownloadCorrupt, ServiceUnreachable
from app.errors import Malformed
from app.jobs.job import JobState
from app.jobs.views import ArtifactView
from app.recipes.facts import DatasetOptions

URL = "http://penjing.test"
CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, sleeps: list[float] | None = None) -> Client:
    slept = sleeps if sleeps is not None else []
    return Client(URL, transport=httpx.MockTransport(handler), sleep=slept.append)


def job_json(**known: Any) -> dict[str, Any]:
    return {
        "id": "job_1",
        "name": "",
        "state": "queued",
        "phase": None,
        "progress": 0.0,
        "queue_position": 1,
        "eta_s": None,
        "verdict": None,
        "attempt": 0,
        "cancel_requested": False,
        "model_id": "mdl_1",
        "dataset_id": None,
        "teacher_model_id": None,
        "student_model_id": None,
        "recipe": {"seed": 0, "steps": []},
        "constraints": {},
        "outputs": ["tflite"],
        "control": False,
        "limits": {"queue_s": 1, "run_s": 1},
        "tags": {},
        "error": None,
        "report": None,
        "artifacts": [],
        "retry_of": None,
        "created_at": "2026-11-24T00:00:00Z",
        "started_at": None,
        "finished_at": None,
        **known,
    }


def model_json(**known: Any) -> dict[str, Any]:
    return {
        "id": "mdl_1",
        "name": "net.keras",
        "format": "keras",
        "size_bytes": 4,
        "sha256": "00",
        "status": "ready",
        "problem": None,
        "created_at": "2026-11-24T00:00:00Z",
        "inspection": None,
        **known,
    }


def problem_json(**known: Any) -> dict[str, Any]:
    return {
        "type": "urn:penjing:problem:invalid",
        "title": "Cannot be done",
        "status": 422,
        "detail": "sparsity is 2",
        "instance": "/v1/jobs",
        "code": "invalid",
        "stage": None,
        "errors": [{"pointer": "/recipe/steps/0/sparsity", "detail": "must be below 1"}],
        "retryable": False,
        "hint": "Give a share.",
        "request_id": "req_1",
        **known,
    }


def event_frame(seq: int, **data: Any) -> bytes:
    event = {"seq": seq, "at": "2026-11-24T00:00:00Z", "type": "progress", "data": data}
    return f"id: {seq}\nevent: progress\ndata: {json.dumps(event)}\n\n".encode()


class CutOff(httpx.SyncByteStream):
    """A body whose connection is lost after the given chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("connection reset")


# Refusals


def test_problem_carries_every_field_when_a_call_is_refused() -> None:
    service = client(lambda request: httpx.Response(422, json=problem_json()))
    with service, pytest.raises(ApiProblem, match="sparsity is 2") as caught:
        service.submit({"recipe": {}})
    problem = caught.value.problem
    assert (problem.status, problem.code, problem.request_id) == (422, "invalid", "req_1")
    assert problem.errors[0].pointer == "/recipe/steps/0/sparsity"
    assert problem.hint == "Give a share."
    assert caught.value.as_problem().code == "invalid"


def test_answer_without_problem_details_becomes_a_problem_of_its_status() -> None:
    service = client(lambda request: httpx.Response(502, text="<html>"))
    with service, pytest.raises(ApiProblem, match="is this a Penjing service") as caught:
        service.job("job_1")
    assert caught.value.problem.code == "http_502"
    assert caught.value.problem.retryable


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://a:b", ""])
def test_client_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(Malformed):
        Client(url)


# Repetition


def test_reading_is_repeated_when_nothing_answers() -> None:
    tries: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.path)
        if len(tries) < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=job_json())

    sleeps: list[float] = []
    with client(handler, sleeps) as service:
        assert service.job("job_1").id == "job_1"
    assert tries == ["/v1/jobs/job_1"] * 3
    assert sleeps == sorted(sleeps)
    assert len(sleeps) == 2


def test_reading_fails_with_the_address_when_nothing_ever_answers() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with client(handler) as service, pytest.raises(ServiceUnreachable, match=r"penjing\.test"):
        service.job("job_1")


def test_submitting_repeats_one_idempotency_key() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        match len(keys):
            case 1:
                raise httpx.ReadError("connection reset")
            case 2:
                busy = problem_json(status=409, code="request_in_flight", retryable=True)
                return httpx.Response(409, json=busy)
        return httpx.Response(202, json=job_json())

    with client(handler) as service:
        service.submit({"recipe": {}})
        service.submit({"recipe": {}})
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


def test_upload_is_not_repeated_when_the_connection_is_lost(tmp_path: Path) -> None:
    tries: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.path)
        raise httpx.ReadError("connection reset")

    (tmp_path / "net.keras").write_bytes(b"four")
    with client(handler) as service, pytest.raises(ServiceUnreachable):
        service.upload_model(tmp_path / "net.keras")
    assert tries == ["/v1/models"]


# Uploads


def test_upload_streams_the_file_and_tells_its_progress(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def handler(request: httpx.Request) -> httpx.Response:
        seen["content"] = request.read()
        seen["length"] = request.headers["Content-Length"]
        seen["query"] = dict(request.url.params)
        body = model_json(options={}, format="npz", id="dst_1")
        return httpx.Response(201, json=body)

    progress: list[tuple[int, int]] = []
    (tmp_path / "digits.npz").write_bytes(b"four")
    with client(handler) as service:
        dataset = service.upload_dataset(
            tmp_path / "digits.npz",
            options=DatasetOptions(scale=0.5),
            on_progress=lambda done, total: progress.append((done, total)),
        )
    assert dataset.id == "dst_1"
    assert seen == {
        "content": b"four",
        "length": "4",
        "query": {"name": "digits.npz", "scale": "0.5"},
    }
    assert progress == [(4, 4)]


def test_upload_waits_while_it_is_inspected(tmp_path: Path) -> None:
    answers = iter(
        [
            httpx.Response(201, json=model_json(status="inspecting")),
            httpx.Response(200, json=model_json(status="inspecting")),
            httpx.Response(200, json=model_json(status="ready")),
        ]
    )
    (tmp_path / "net.keras").write_bytes(b"four")
    with client(lambda request: next(answers)) as service:
        assert service.upload_model(tmp_path / "net.keras").status == "ready"
    assert next(answers, None) is None


def test_upload_fails_with_its_problem_when_inspection_rejects_it(tmp_path: Path) -> None:
    rejected = model_json(status="rejected", problem=problem_json(code="rejected_upload"))
    (tmp_path / "net.keras").write_bytes(b"four")
    service = client(lambda request: httpx.Response(201, json=rejected))
    with service, pytest.raises(ApiProblem) as caught:
        service.upload_model(tmp_path / "net.keras")
    assert caught.value.problem.code == "rejected_upload"


# Jobs


def test_jobs_are_read_page_by_page() -> None:
    queries: list[dict[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        queries.append(dict(request.url.params))
        is_last = "cursor" in request.url.params
        item = job_json(id="job_2" if is_last else "job_1")
        return httpx.Response(200, json={"items": [item], "next_cursor": None if is_last else "c"})

    with client(handler) as service:
        ids = [job.id for job in service.jobs(state=JobState.QUEUED, limit=1)]
    assert ids == ["job_1", "job_2"]
    assert queries == [
        {"state": "queued", "limit": "1"},
        {"state": "queued", "limit": "1", "cursor": "c"},
    ]


def test_waiting_ends_when_the_job_is_final() -> None:
    states = iter(["queued", "running", "succeeded"])

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Prefer"] == "wait=20"
        return httpx.Response(200, json=job_json(state=next(states)))

    with client(handler) as service:
        assert service.wait("job_1").state is JobState.SUCCEEDED


def test_waiting_ends_when_its_limit_is_over() -> None:
    with client(lambda request: httpx.Response(200, json=job_json())) as service:
        assert service.wait("job_1", limit_s=0).state is JobState.QUEUED


def test_unknown_fields_of_a_newer_service_are_passed_over() -> None:
    with client(lambda request: httpx.Response(200, json=job_json(mood="good"))) as service:
        assert service.job("job_1").id == "job_1"


def test_readiness_names_what_is_missing_when_the_service_is_not_ready() -> None:
    body = {
        "status": "not_ready",
        "checks": {"worker": {"status": "failing", "detail": "none"}},
    }
    with client(lambda request: httpx.Response(503, json=body)) as service:
        readiness = service.ready()
    assert not readiness.is_ready
    assert readiness.checks["worker"].detail == "none"


# Events


def test_events_resume_after_the_last_one_when_the_connection_is_lost() -> None:
    asked: list[str] = []
    torn = event_frame(3)[:20]

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Last-Event-ID"])
        match len(asked):
            case 1:
                return httpx.Response(200, stream=CutOff(event_frame(1), event_frame(2), torn))
            case 2:
                raise httpx.ConnectError("refused")
            case 3:
                return httpx.Response(200, content=b": still here\n\n" + event_frame(3))
        return httpx.Response(204)

    with client(handler) as service:
        events = list(service.events("job_1"))
    assert [event.seq for event in events] == [1, 2, 3]
    assert asked == ["0", "2", "2", "3"]


def test_events_fail_when_reconnecting_never_works() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    sleeps: list[float] = []
    with client(handler, sleeps) as service, pytest.raises(ServiceUnreachable):
        list(service.events("job_1"))
    assert sum(sleeps) > 15


def test_events_of_an_unknown_job_are_refused() -> None:
    refusal = problem_json(status=404, code="not_found")
    service = client(lambda request: httpx.Response(404, json=refusal))
    with service, pytest.raises(ApiProblem):
        list(service.events("job_1"))


# Downloads


ARTIFACT = ArtifactView(
    id="art_1",
    kind="tflite",
    format="tflite",
    size_bytes=len(CONTENT),
    sha256=SHA256,
    url="/v1/artifacts/art_1/content",
)


def sent(
    content: bytes | httpx.SyncByteStream, status: int = 200, filename: str = "net%201.tflite"
) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    headers = {
        "ETag": f'"{SHA256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": f"attachment; filename=\"n.tflite\"; filename*=UTF-8''{filename}",
    }
    if isinstance(content, bytes):
        return httpx.Response(status, content=content, headers=headers)
    return httpx.Response(status, stream=content, headers=headers)


def test_download_has_the_offered_name_and_the_right_bytes(tmp_path: Path) -> None:
    with client(lambda request: sent(CONTENT)) as service:
        path = service.download(ARTIFACT, tmp_path / "new")
    assert path == tmp_path / "new" / "net 1.tflite"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_download_resumes_when_the_connection_is_lost(tmp_path: Path) -> None:
    ranges: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        ranges.append(request.headers.get("Range"))
        if len(ranges) == 1:
            return sent(CutOff(CONTENT[:1000]))
        assert request.headers["If-Range"] == f'"{SHA256}"'
        return sent(CONTENT[1000:], 206)

    with client(handler) as service:
        path = service.download(ARTIFACT, tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges == [None, "bytes=1000-"]


def test_download_begins_anew_when_the_service_sends_everything(tmp_path: Path) -> None:
    answers = iter([sent(CutOff(CONTENT[:1000])), sent(CONTENT)])
    with client(lambda request: next(answers)) as service:
        assert service.download(ARTIFACT, tmp_path).read_bytes() == CONTENT


def test_download_leaves_nothing_when_the_bytes_are_wrong(tmp_path: Path) -> None:
    service = client(lambda request: sent(CONTENT[::-1]))
    with service, pytest.raises(DownloadCorrupt, match=SHA256):
        service.download(ARTIFACT, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("offered", "name"), [("..%2F..%2Fetc%2Fpasswd", "passwd"), ("..", "art_1"), ("%2F", "art_1")]
)
def test_download_stays_in_its_folder_when_the_offered_name_is_a_path(
    tmp_path: Path, offered: str, name: str
) -> None:
    with client(lambda request: sent(CONTENT, filename=offered)) as service:
        assert service.download(ARTIFACT, tmp_path / "in") == tmp_path / "in" / name


def test_job_is_deleted_once() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(204)

    with Client("http://api", transport=httpx.MockTransport(answer)) as client:
        client.delete_job("job_1")
    assert asked == [("DELETE", "/v1/jobs/job_1")]
