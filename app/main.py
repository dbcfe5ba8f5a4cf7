"""The API process: puts its parts together, and keeps the house while it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial

from fastapi import FastAPI

from app.accounts.audit import AuditLog
from app.accounts.quotas import Quotas
from app.accounts.rates import rates_of
from app.accounts.service import AccountService
from app.accounts.store import AccountStore
from app.api.application import make_application
from app.api.checks import check_inspection, check_nothing_of_uploads, make_checks
from app.api.deps import Services
from app.api.readiness import Check, Readiness
from app.api.watching import Watcher
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.presence import WorkerPresence
from app.jobs.queue import CeleryQueue, Queue
from app.jobs.service import JobService
from app.jobs.store import JobStore, uses
from app.logs import configure_logging
from app.settings import Settings
from app.uploads.box import Examine, InspectorBox, try_box
from app.uploads.fair_scheduler import FairScheduler
from app.uploads.inspecting import Inspector, Inspects, Uninspected
from app.uploads.service import UploadService
from app.uploads.store import UploadStore

log = logging.getLogger(__name__)

HOUSEKEEPING_EVERY_S = 300.0
# Longer than an upload may take for a MiB, than its inspection is waited for, and than a worker
# needs from a blob to the row that owns it.
SWEEP_AGE_S = 900.0
# At a time; each may take inspection_memory_bytes beside this process.
MOST_INSPECTIONS = 2
# Uploads of one tenant that wait for that.
MOST_WAITING = 32


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: Settings) -> FastAPI:
    """The API of a process of its own, its logs on standard error."""
    configure_logging()
    return assemble(settings, CeleryQueue(settings.resolved_broker_url))


def assemble(
    settings: Settings,
    queue: Queue,
    clock: Callable[[], datetime] = utc_now,
    examine: Examine = try_box,
) -> FastAPI:
    """The API with everything it works with, opened when it starts and closed when it ends.

    `examine` tries whether the box holds in which uploads are inspected.
    """
    return make_application(
        partial(run, settings=settings, queue=queue, clock=clock, examine=examine)
    )


@asynccontextmanager
async def run(
    application: FastAPI,
    settings: Settings,
    queue: Queue,
    clock: Callable[[], datetime],
    examine: Examine,
) -> AsyncIterator[None]:
    """From migrations to the last closed connection."""
    database = Database(settings.resolved_database_url)
    try:
        await asyncio.to_thread(upgrade, database)
        services = wire(settings, database, queue, clock, examine)
        application.state.services = services
        housekeeping = asyncio.create_task(keep_house(services))
        try:
            yield
        finally:
            housekeeping.cancel()
            with suppress(asyncio.CancelledError):
                await housekeeping
            await services.watcher.close()
            await services.uploads.close()
            await services.rates.close()
    finally:
        database.close()


def wire(
    settings: Settings,
    database: Database,
    queue: Queue,
    clock: Callable[[], datetime],
    examine: Examine,
) -> Services:
    blobs = BlobStore(settings.resolved_blobs)
    quotas = Quotas.from_settings(settings)
    uploads, jobs = UploadStore(database, quotas), JobStore(database, quotas)
    accounts = AccountService(AccountStore(database), clock)
    job_service = JobService(database, jobs, queue, uploads, clock)
    presence = WorkerPresence(database)
    checks = make_checks(
        database,
        settings.resolved_broker_url,
        blobs,
        presence,
        clock,
        inspection_check(settings, clock, examine),
    )
    return Services(
        settings=settings,
        accounts=accounts,
        blobs=blobs,
        uploads=make_uploads(settings, uploads, blobs, clock),
        jobs=job_service,
        presence=presence,
        rates=rates_of(settings.resolved_broker_url),
        audit=AuditLog(database, clock),
        watcher=Watcher(accounts, job_service),
        readiness=Readiness(checks, clock),
        clock=clock,
    )


def make_uploads(
    settings: Settings, store: UploadStore, blobs: BlobStore, clock: Callable[[], datetime]
) -> UploadService:
    return UploadService(
        store=store,
        blobs=blobs,
        inspector=make_inspector(settings),
        turns=FairScheduler(MOST_INSPECTIONS, MOST_WAITING),
        clock=clock,
        is_in_use=uses,
        max_bytes=settings.max_upload_bytes,
        wait_s=settings.inspection_wait_s,
        reserve_bytes=settings.disk_reserve_bytes,
    )


def inspection_check(settings: Settings, clock: Callable[[], datetime], examine: Examine) -> Check:
    if not settings.inspect_uploads:
        return check_nothing_of_uploads
    box = InspectorBox(
        partial(examine, settings.home), clock, allows_unconfined=settings.allow_unconfined
    )
    return partial(check_inspection, box)


def make_inspector(settings: Settings) -> Inspects:
    if not settings.inspect_uploads:
        log.warning("inspection.OFF", extra={"setting": "PENJING_INSPECT_UPLOADS=0"})
        return Uninspected()
    return Inspector(
        scratch=settings.home / "inspections",
        limit_s=settings.inspection_limit_s,
        memory_bytes=settings.inspection_memory_bytes,
        file_bytes=settings.max_upload_bytes,
        allows_unconfined=settings.allow_unconfined,
    )


def sweep(services: Services) -> None:
    """Remove what killed uploads and deleted rows left in the blob store."""
    referenced = services.uploads.store.referenced() | services.jobs.store.blobs_in_use()
    swept = services.blobs.sweep(referenced, services.clock(), SWEEP_AGE_S)
    if swept.temporary_files or swept.blobs:
        log.info("blobs.swept", extra=vars(swept))


async def keep_house(services: Services) -> None:
    """Take up what was left unfinished and sweep, at once and from time to time."""
    while True:
        try:
            await services.uploads.resume()
            await asyncio.to_thread(sweep, services)
            await asyncio.to_thread(services.audit.forget, services.settings.audit_days)
        except Exception:
            # The next round may succeed.
            log.exception("housekeeping.failed")
        await asyncio.sleep(HOUSEKEEPING_EVERY_S)
