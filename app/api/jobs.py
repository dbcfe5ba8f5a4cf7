"""Jobs: check one, submit it, read and list, wait for its end, cancel it, run it again."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.accounts.keys import Unauthenticated
from app.api.conditional import none_match, preferred_wait_s
from app.api.deps import JobsDep, Services, ServicesDep
from app.api.guards import refuse_nul_in_body
from app.api.json_body import JsonRoute, Told
from app.api.paging import Cursor, Limit, PageView, link_next
from app.api.rendering import artifact_view, job_etag, job_path, job_view
from app.api.scopes import Reader, Submits, Submitter
from app.api.watching import Watch
from app.jobs.job import Job, JobState
from app.jobs.listing import JobFilter
from app.jobs.request import JobRequest
from app.jobs.service import JobDetails
from app.jobs.views import ArtifactsView, JobView, LayersView
from app.recipes.plan import Plan
from app.reports.report import Report

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=JsonRoute)

# How often it is asked whether somebody is still there who waits.
PRESENT_S = 0.25


def checked_body(body: Annotated[JobRequest, Told]) -> JobRequest:
    refuse_nul_in_body(body.model_dump(mode="json"))
    return body


JobBody = Annotated[JobRequest, Depends(checked_body)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Any text of yours. The same key and body within a day give the same job.",
    ),
]
TechniqueFilter = Annotated[str | None, Query(max_length=64)]
ModelFilter = Annotated[str | None, Query(max_length=64)]
TagFilter = Annotated[str | None, Query(max_length=321, description="`key` or `key:value`.")]
Sort = Annotated[
    Literal["-created_at", "created_at"], Query(description="A minus puts the newest first.")
]
Prefer = Annotated[
    str | None, Header(description="`wait=30` waits up to 30 s (at most 60) for news.")
]
IfNoneMatch = Annotated[str | None, Header()]


@router.post("/jobs:validate")
def validate_job(principal: Submitter, body: JobBody, jobs: JobsDep) -> Plan:
    """Say what a job would do, what it would skip and why; nothing is stored."""
    return jobs.plan(principal.tenant_id, body)


@router.post("/jobs", status_code=202)
def submit_job(
    change: Submits,
    body: JobBody,
    services: ServicesDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a job: a recipe for a model, with its data and its targets."""
    return _made(services, services.jobs.submit(change, body, idempotency_key), response)


@router.get("/jobs")
def list_jobs(
    request: Request,
    response: Response,
    principal: Reader,
    services: ServicesDep,
    state: JobState | None = None,
    technique: TechniqueFilter = None,
    model_id: ModelFilter = None,
    tag: TagFilter = None,
    sort: Sort = "-created_at",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageView[JobView]:
    """List jobs; all filters given must hold."""
    wanted = JobFilter(state, technique, model_id, tag, newest_first=sort == "-created_at")
    page = services.jobs.page(principal.tenant_id, wanted, limit, cursor)
    link_next(request, response, page.next_cursor)
    now = services.clock()
    items = [
        job_view(details, now) for details in services.jobs.details(principal.tenant_id, page.items)
    ]
    return PageView(items=items, next_cursor=page.next_cursor)


@router.get("/jobs/{job_id}", response_model=JobView, responses={304: {"description": "As known."}})
async def get_job(
    job_id: str,
    request: Request,
    principal: Reader,
    services: ServicesDep,
    response: Response,
    prefer: Prefer = None,
    if_none_match: IfNoneMatch = None,
) -> JobView | Response:
    """Read a job. With `Prefer: wait`, once it is final or other than `If-None-Match`."""
    wait_s = preferred_wait_s(prefer)
    read = partial(_read, services, principal.tenant_id, job_id)
    details = await run_in_threadpool(read)
    if wait_s and not _is_told(details, if_none_match):
        watch = services.watcher.begin(principal, job_id, is_for_events=False)
        try:
            details = await _awaited(read, watch, wait_s, if_none_match, request)
        finally:
            services.watcher.end(watch)
    headers = {"ETag": job_etag(details), "Cache-Control": "no-cache"}
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    if not none_match(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return job_view(details, services.clock())


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, change: Submits, services: ServicesDep) -> JobView:
    """Cancel a job: a queued one at once, a running one as soon as it looks; a final one stays."""
    return _shown(services, services.jobs.cancel(change, job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def delete_job(job_id: str, change: Submits, jobs: JobsDep) -> None:
    """Delete a final job with its report, its events and the files that it made."""
    jobs.delete(change, job_id)


@router.post("/jobs/{job_id}/retry", status_code=202)
def retry_job(job_id: str, change: Submits, services: ServicesDep, response: Response) -> JobView:
    """Run a final job again as a new job; while that is not final, the same one is answered."""
    return _made(services, services.jobs.retry(change, job_id), response)


@router.get("/jobs/{job_id}/report")
def get_report(job_id: str, principal: Reader, jobs: JobsDep) -> Report:
    """Read what the job changed and what it cost."""
    return Report.model_validate(jobs.report(principal.tenant_id, job_id))


@router.get("/jobs/{job_id}/layers")
def get_layers(job_id: str, principal: Reader, jobs: JobsDep) -> LayersView:
    """Read the per-layer table: shape, parameters, sparsity, bits, error."""
    return LayersView.model_validate({"items": jobs.layers(principal.tenant_id, job_id)})


@router.get("/jobs/{job_id}/artifacts")
def list_artifacts(job_id: str, principal: Reader, jobs: JobsDep) -> ArtifactsView:
    """List the files that the job made."""
    return ArtifactsView(
        items=[artifact_view(found) for found in jobs.artifacts(principal.tenant_id, job_id)]
    )


def _made(services: Services, job: Job, response: Response) -> JobView:
    response.headers["Location"] = job_path(job.id)
    return _shown(services, job)


def _shown(services: Services, job: Job) -> JobView:
    [details] = services.jobs.details(job.tenant_id, [job])
    return job_view(details, services.clock())


def _is_told(details: JobDetails, known_etag: str | None) -> bool:
    """Whether there is something to say now to who knows this much."""
    is_news = known_etag is not None and none_match(known_etag, job_etag(details))
    return details.job.state.is_final or is_news


async def _awaited(
    read: Callable[[], JobDetails],
    watch: Watch,
    wait_s: float,
    known_etag: str | None,
    request: Request,
) -> JobDetails:
    """The job when there is something to say, the time is up, or nobody waits any more.

    Raises: Unauthenticated where the key is not good any more.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        watch.rest()
        details = await run_in_threadpool(read)
        if _is_told(details, known_etag) or loop.time() >= deadline:
            return details
        while not await watch.is_woken(min(PRESENT_S, deadline - loop.time())):
            if await request.is_disconnected():
                return details
            if loop.time() >= deadline:
                break
        if not watch.is_key_good:
            raise Unauthenticated("the key was revoked, or has expired, while it waited")


def _read(services: Services, tenant_id: str, job_id: str) -> JobDetails:
    [details] = services.jobs.details(tenant_id, [services.jobs.get(tenant_id, job_id)])
    return details
