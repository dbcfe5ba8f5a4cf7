"""One method a call of the API; every answer is typed."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from app.accounts.errors import TooManyStreams
from app.client.events import follow
from app.client.problems import ApiProblem
from app.client.transfers import Download, Progress, file_chunks, ignore_progress
from app.client.transport import Params, Transport
from app.jobs.job import JobState
from app.jobs.request import JobRequest
from app.jobs.views import ArtifactsView, ArtifactView, EventView, JobView, LayersView
from app.recipes.facts import DatasetOptions
from app.recipes.plan import Plan
from app.reports.report import LayerReport, Report
from app.uploads.views import DatasetView, ModelView

LONG_POLL_S = 20
NOT_READY = 503
INSPECTION_POLL_S = 0.5
# Where the service lets nobody more wait.
PLAIN_POLL_S = 2.0
OCTETS = {"Content-Type": "application/octet-stream"}

Answer = TypeVar("Answer", bound=BaseModel)
Upload = TypeVar("Upload", ModelView, DatasetView)


class Check(BaseModel):
    """One thing the service depends on."""

    status: str
    detail: str


class Readiness(BaseModel):
    """What `/readyz` says, by name: database, broker, blob store, worker, both sides' boxes."""

    status: str
    checks: dict[str, Check]

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


class Client:
    """A connection to one service.

    Calls that may be repeated are repeated while nothing answers; the others fail at once. A busy
    service is asked again when its Retry-After says, a few times, if that is within a minute.
    `api_key`: null = that of PENJING_API_KEY, if it is set. It is sent to this service alone.
    Raises, from every method: ApiProblem with the problem as the service named it,
    ServiceUnreachable if nothing answered.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(url, timeout, api_key, transport, sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def ready(self) -> Readiness:
        """Whether the service can take a job now, and if not, what is missing."""
        return _read(Readiness, self._transport.get("/readyz", also_accepted=NOT_READY))

    def version(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._transport.get("/v1/version").json()
        return answer

    def techniques(self) -> list[dict[str, Any]]:
        """Every technique with the JSON Schema of its parameters."""
        items: list[dict[str, Any]] = self._transport.get("/v1/techniques").json()["items"]
        return items

    def upload_model(
        self, path: Path, *, name: str | None = None, on_progress: Progress = ignore_progress
    ) -> ModelView:
        """Send a model file and wait for its inspection; ApiProblem if it is refused."""
        sent = self._upload("/v1/models", path, {"name": name or path.name}, on_progress)
        return self._inspected(ModelView, "/v1/models", sent)

    def upload_dataset(
        self,
        path: Path,
        *,
        name: str | None = None,
        options: DatasetOptions | None = None,
        on_progress: Progress = ignore_progress,
    ) -> DatasetView:
        """Send a data set and wait for its inspection; ApiProblem if it is refused."""
        given = options.model_dump(exclude_unset=True) if options else {}
        params = {"name": name or path.name, **given}
        sent = self._upload("/v1/datasets", path, params, on_progress)
        return self._inspected(DatasetView, "/v1/datasets", sent)

    def model(self, model_id: str) -> ModelView:
        return _read(ModelView, self._transport.get(f"/v1/models/{model_id}"))

    def dataset(self, dataset_id: str) -> DatasetView:
        return _read(DatasetView, self._transport.get(f"/v1/datasets/{dataset_id}"))

    def validate(self, request: JobRequest | Mapping[str, Any]) -> Plan:
        """What the job would do, and what it would skip and why; nothing happens."""
        return _read(Plan, self._transport.post("/v1/jobs:validate", _body(request)))

    def submit(
        self, request: JobRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> JobView:
        """Hand in a job. The key makes it one job however often the request arrives."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return _read(JobView, self._transport.post("/v1/jobs", _body(request), headers))

    def job(self, job_id: str) -> JobView:
        return _read(JobView, self._transport.get(f"/v1/jobs/{job_id}"))

    def jobs(
        self,
        *,
        state: JobState | None = None,
        technique: str | None = None,
        model_id: str | None = None,
        tag: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JobView]:
        """Every job that fits, page by page; `limit` is the size of a page."""
        params: dict[str, str | int | float | None] = {
            "state": state,
            "technique": technique,
            "model_id": model_id,
            "tag": tag,
            "sort": sort,
            "limit": limit,
        }
        while True:
            page = self._transport.get("/v1/jobs", params).json()
            for item in page["items"]:
                yield JobView.model_validate(item)
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def wait(self, job_id: str, *, limit_s: float | None = None) -> JobView:
        """The job once it is final, or as it is after `limit_s` seconds."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        may_wait = True
        while True:
            left_s = LONG_POLL_S if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                job = self._awaited(job_id, left_s) if may_wait else self.job(job_id)
            except ApiProblem as refusal:
                if not may_wait or refusal.problem.code != TooManyStreams.code:
                    raise
                may_wait = False
                continue
            if job.state.is_final or (deadline is not None and time.monotonic() >= deadline):
                return job
            if not may_wait:
                self._transport.sleep(min(PLAIN_POLL_S, left_s))

    def events(self, job_id: str, *, after: int = 0) -> Iterator[EventView]:
        """What happens to the job, as it happens, until it is final; survives lost connections."""
        return follow(self._transport, f"/v1/jobs/{job_id}/events", after)

    def cancel(self, job_id: str) -> JobView:
        return _read(JobView, self._transport.post(f"/v1/jobs/{job_id}/cancel"))

    def retry(self, job_id: str) -> JobView:
        """A new job with the same request."""
        return _read(JobView, self._transport.post_once(f"/v1/jobs/{job_id}/retry"))

    def delete_job(self, job_id: str) -> None:
        """Forget a final job, and the files that it made."""
        self._transport.delete_once(f"/v1/jobs/{job_id}")

    def report(self, job_id: str) -> Report:
        return _read(Report, self._transport.get(f"/v1/jobs/{job_id}/report"))

    def layers(self, job_id: str) -> list[LayerReport]:
        return _read(LayersView, self._transport.get(f"/v1/jobs/{job_id}/layers")).items

    def artifacts(self, job_id: str) -> list[ArtifactView]:
        return _read(ArtifactsView, self._transport.get(f"/v1/jobs/{job_id}/artifacts")).items

    def download(
        self,
        artifact: ArtifactView,
        folder: Path,
        *,
        filename: str | None = None,
        on_progress: Progress = ignore_progress,
    ) -> Path:
        """Fetch a file into `folder`, resuming and verified, under the name it is offered with."""
        return Download(self._transport, artifact, folder, on_progress).run(filename)

    def _awaited(self, job_id: str, left_s: float) -> JobView:
        """The job when there is news of it, or after a while."""
        patience_s = math.ceil(min(LONG_POLL_S, left_s))
        response = self._transport.get(
            f"/v1/jobs/{job_id}",
            headers={"Prefer": f"wait={patience_s}"},
            read_timeout_s=patience_s + self._transport.timeout_s,
        )
        return _read(JobView, response)

    def _upload(
        self, path: str, file: Path, params: Params, on_progress: Progress
    ) -> httpx.Response:
        headers = {**OCTETS, "Content-Length": str(file.stat().st_size)}
        return self._transport.post_once(
            path, params, lambda: file_chunks(file, on_progress), headers
        )

    def _inspected(self, view: type[Upload], path: str, sent: httpx.Response) -> Upload:
        upload = _read(view, sent)
        while upload.status == "inspecting":
            self._transport.sleep(INSPECTION_POLL_S)
            upload = _read(view, self._transport.get(f"{path}/{upload.id}"))
        if upload.problem:
            raise ApiProblem(upload.problem)
        return upload


def _read(view: type[Answer], response: httpx.Response) -> Answer:
    """A newer service may add fields; they are passed over."""
    return view.model_validate_json(response.content, extra="ignore")


def _body(request: JobRequest | Mapping[str, Any]) -> dict[str, Any]:
    return request.model_dump(mode="json") if isinstance(request, JobRequest) else dict(request)
