"""`/`: the dashboard, for a person; a program finds nothing there."""

from collections.abc import Mapping
from importlib.metadata import version

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.accounts.principal import Principal
from app.api.checks import ALARMS, WORKER_SEEN_S
from app.api.conditional import wants_json
from app.api.deps import Services, ServicesDep
from app.api.readiness import CheckView
from app.api.rendering import job_view
from app.api.scopes import Guest
from app.jobs.listing import JobFilter
from app.web.dashboard import STYLE, CheckLine, Dashboard, Own, WorkerLine, queue_of
from app.web.job_line import JobLine

router = APIRouter(include_in_schema=False)

MOST_JOBS = 20
NO_KEYS = (
    "NO KEYS ARE ASKED FOR: WHO REACHES THIS SERVICE MAY DO EVERYTHING (PENJING_REQUIRE_KEYS=false)"
)


@router.get("/")
async def show_dashboard(request: Request, guest: Guest, services: ServicesDep) -> HTMLResponse:
    """Whether the service is ready, and the newest jobs of who asks."""
    if wants_json(request.headers.get("accept"), rather_than="text/html"):
        raise HTTPException(404)
    checks = await services.readiness.outcomes()
    own = None
    if guest is not None and checks["database"].status == "ok":
        own = await run_in_threadpool(own_of, services, guest)
    page = Dashboard(
        version=version("penjing"),
        at=services.clock(),
        is_ready=all(check.status == "ok" for check in checks.values()),
        alarms=alarms_of(services, checks),
        checks=[
            CheckLine.of(
                name, check.detail, is_ok=check.status == "ok", is_alarm=check.detail in ALARMS
            )
            for name, check in checks.items()
        ],
        is_guest=guest is None,
        own=own,
    )
    return HTMLResponse(page.as_html(), headers={"Vary": "Accept, Authorization"})


@router.get("/dashboard.css")
def get_dashboard_style() -> Response:
    """How the dashboard looks."""
    return Response(STYLE.read_bytes(), media_type="text/css")


def alarms_of(services: Services, checks: Mapping[str, CheckView]) -> list[str]:
    said = {check.detail for check in checks.values()}
    loud = [alarm for alarm in ALARMS if alarm in said]
    return [*loud, NO_KEYS] if services.settings.require_keys is False else loud


def own_of(services: Services, principal: Principal) -> Own:
    tenant_id, now, jobs = principal.tenant_id, services.clock(), services.jobs
    page = jobs.page(tenant_id, JobFilter(), MOST_JOBS, None)
    return Own(
        tenant=services.accounts.tenant(tenant_id).name,
        is_keyless=principal.key_id is None,
        workers=[
            WorkerLine.of(worker) for worker in services.presence.live_workers(now, WORKER_SEEN_S)
        ],
        queue=queue_of(jobs.store.usage(tenant_id, now), jobs.store.quotas(tenant_id)),
        jobs=[
            JobLine.of(job_view(details, now)) for details in jobs.details(tenant_id, page.items)
        ],
        has_more_jobs=page.next_cursor is not None,
    )
