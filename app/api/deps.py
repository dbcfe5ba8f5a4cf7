"""What the handlers are given. `app.main` puts it together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from app.accounts.audit import AuditLog
from app.accounts.rates import RateStore
from app.accounts.service import AccountService
from app.api.readiness import Readiness
from app.api.watching import Watcher
from app.blobs.store import BlobStore
from app.jobs.presence import WorkerPresence
from app.jobs.service import JobService
from app.settings import Settings
from app.uploads.service import UploadService


@dataclass(frozen=True)
class Services:
    """Everything the API can call on."""

    settings: Settings
    accounts: AccountService
    blobs: BlobStore
    uploads: UploadService
    jobs: JobService
    presence: WorkerPresence
    rates: RateStore
    audit: AuditLog
    watcher: Watcher
    readiness: Readiness
    clock: Callable[[], datetime]


async def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


async def jobs_of(services: ServicesDep) -> JobService:
    return services.jobs


JobsDep = Annotated[JobService, Depends(jobs_of)]
