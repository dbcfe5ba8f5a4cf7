"""The events of a job: as a stream that resumes, or a page at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.conditional import wants_json
from app.api.deps import ServicesDep
from app.api.paging import PageView
from app.api.rendering import event_view
from app.api.scopes import Reader
from app.api.watching import Watch
from app.errors import NotFound
from app.jobs.rows import JobEvent
from app.jobs.views import EventView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

HEARTBEAT_S = 10.0
RECONNECT_MS = 1000
EVENTS_A_READ = 500

# What happened to a job after an event, at most so many; and whether the job was final before.
News = Callable[[int, int], tuple[Sequence[JobEvent], bool]]

LastEventId = Annotated[int | None, Header(ge=0, le=2**31 - 1)]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="Only events after this `seq`.")]
EventCursor = Annotated[
    int | None, Query(ge=0, le=2**31 - 1, description="`next_cursor` of the page before.")
]
EventLimit = Annotated[int, Query(ge=1, le=1000, description="Events of one JSON page at most.")]


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "model": PageView[EventView],
            "description": "A stream: id = seq, event = type, data = the event as JSON. Or a page.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The job is final and there are no later events: do not reconnect."},
    },
)
async def read_events(
    job_id: str,
    request: Request,
    principal: Reader,
    services: ServicesDep,
    last_event_id: LastEventId = None,
    after: After = 0,
    cursor: EventCursor = None,
    limit: EventLimit = 200,
) -> Response:
    """Follow a job by Server-Sent Events, or read a page with `Accept: application/json`."""
    start = max(after, cursor or 0, last_event_id or 0)
    news = partial(services.jobs.news, principal.tenant_id, job_id)
    if wants_json(request.headers.get("accept"), rather_than="text/event-stream"):
        return await run_in_threadpool(_page, news, start, limit)
    events, is_final = await run_in_threadpool(news, start, EVENTS_A_READ)
    if is_final and not events:
        return Response(status_code=204)
    # X-Accel-Buffering: nginx would hold events back.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    watch = services.watcher.begin(principal, job_id, is_for_events=True)
    end = partial(services.watcher.end, watch)
    return Told(stream(news, start, watch), end, headers)


class Told(StreamingResponse):
    """A stream that is watched for until it ends, however it ends, begun or not."""

    def __init__(
        self, told: AsyncIterator[bytes], end: Callable[[], None], headers: Mapping[str, str]
    ) -> None:
        super().__init__(told, media_type="text/event-stream", headers=headers)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


async def stream(news: News, after: int, watch: Watch) -> AsyncIterator[bytes]:
    """Every event after this one, as soon as it is stored, until the job is final.

    It ends, too, as soon as the key that it was asked for with is not good any more, and when the
    job is deleted: its answer has begun, and can be no other one.
    While nothing happens to its job, a stream asks nothing and holds no thread.
    """
    loop = asyncio.get_running_loop()
    spoke_at = loop.time()
    yield b"retry: %d\n\n" % RECONNECT_MS
    while watch.is_key_good:
        watch.rest()
        try:
            events, is_final = await run_in_threadpool(news, after, EVENTS_A_READ)
        except NotFound:
            return
        for event in events:
            yield frame(event)
            after = event.seq
            spoke_at = loop.time()
        if events:
            continue
        if is_final:
            return
        while not await watch.is_woken(spoke_at + HEARTBEAT_S - loop.time()):
            yield b": still here\n\n"
            spoke_at = loop.time()


def frame(event: JobEvent) -> bytes:
    """One event on the wire. Its JSON is ASCII, so no reader finds a line break inside."""
    data = json.dumps(json.loads(event_view(event).model_dump_json()))
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode("ascii")


def _page(news: News, after: int, limit: int) -> Response:
    events, _ = news(after, limit)
    # Large events fill a page before there are `limit` of them.
    is_full = len(events) == limit or bool(events and news(events[-1].seq, 1)[0])
    page = PageView[EventView](
        items=[event_view(event) for event in events],
        next_cursor=str(events[-1].seq) if is_full else None,
    )
    return Response(page.model_dump_json(), media_type="application/json")
