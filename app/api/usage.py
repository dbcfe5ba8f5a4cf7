"""What a tenant has used of what it may."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.accounts.quotas import Quotas
from app.accounts.run_time import month_of, next_month
from app.api.deps import ServicesDep
from app.api.scopes import Reader

router = APIRouter(prefix="/v1", tags=["accounts"])


class QuotaView(BaseModel):
    """One quota; where it is reached, what would exceed it is refused with 429, 413 or 507."""

    name: Literal["storage_bytes", "upload_bytes", "jobs_queued", "jobs_running", "run_s"]
    used: float | None = Field(description="Null where it is asked of each upload by itself.")
    limit: float | None = Field(description="Null = no quota.")


class StorageView(BaseModel):
    """What the storage is used for; the quota holds for all of it together."""

    uploads_bytes: int
    artifacts_bytes: int
    rows_bytes: int = Field(
        description="In the database: requests, events and reports of jobs, inspections of uploads."
    )


class UsageView(BaseModel):
    """Storage and jobs at this moment, run time of this calendar month."""

    month: str = Field(description="Year and month in UTC.")
    month_ends_at: datetime
    quotas: list[QuotaView]
    storage: StorageView


@router.get("/usage")
def get_usage(principal: Reader, services: ServicesDep) -> UsageView:
    """Read each quota of the tenant, and how much of it is used."""
    tenant_id, now = principal.tenant_id, services.clock()
    limits = services.jobs.store.quotas(tenant_id)
    jobs = services.jobs.store.usage(tenant_id, now)
    storage = services.uploads.store.storage(tenant_id)
    used: dict[str, float | None] = {
        "storage_bytes": storage.total_bytes,
        "upload_bytes": None,
        "jobs_queued": jobs.queued,
        "jobs_running": jobs.running,
        "run_s": round(jobs.run_s, 3),
    }
    return UsageView(
        month=month_of(now),
        month_ends_at=next_month(now),
        quotas=[
            QuotaView.model_validate(
                {"name": name, "used": used[name], "limit": getattr(limits, name)}
            )
            for name in Quotas.model_fields
        ],
        storage=StorageView(**vars(storage)),
    )
