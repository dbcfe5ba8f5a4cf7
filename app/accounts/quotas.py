"""What a tenant may have: by the settings, and by what was agreed with it in place of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, func, select, update

from app.accounts.errors import QuotaStorage
from app.database.tables import artifacts, jobs, tenants, uploads
from app.errors import TooLarge
from app.settings import Settings


class Quotas(BaseModel):
    """Null = any number. A tenant's own are stored as those of these fields that differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage_bytes: int | None = Field(
        None, ge=0, description="Of uploads, artifacts, and what is written of both and of jobs."
    )
    upload_bytes: int | None = Field(None, ge=0, description="Of one upload.")
    jobs_queued: int | None = Field(None, ge=0)
    jobs_running: int | None = Field(None, ge=0)
    run_s: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Of all jobs in a calendar month (UTC)."
    )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(**{name: getattr(settings, f"quota_{name}") for name in cls.model_fields})


NO_QUOTAS = Quotas()


@dataclass(frozen=True)
class Storage:
    """What a tenant holds: files as they were sent and made, and rows of the database."""

    uploads_bytes: int
    artifacts_bytes: int
    rows_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.uploads_bytes + self.artifacts_bytes + self.rows_bytes


@dataclass(frozen=True)
class Room:
    """What one upload may come to: by its own size, and by what is left of the storage."""

    upload_bytes: int
    storage_bytes: int | None = None

    def without(self, taken_bytes: int) -> "Room":
        """The same, where others have so many bytes of the storage meanwhile."""
        if self.storage_bytes is None:
            return self
        return replace(self, storage_bytes=self.storage_bytes - taken_bytes)

    def require(self, size_bytes: int, how: str) -> None:
        """`how`: the bytes "were announced", "have come". Raises: TooLarge, QuotaStorage."""
        if size_bytes > self.upload_bytes:
            raise TooLarge(f"{size_bytes} bytes {how}; at most {self.upload_bytes} are allowed")
        if self.storage_bytes is not None and size_bytes > max(self.storage_bytes, 0):
            raise storage_is_full(
                f"{size_bytes} bytes {how}, {max(self.storage_bytes, 0)} are left"
            )


def room_for_upload(
    connection: Connection, tenant_id: str, defaults: Quotas, most_bytes: int
) -> Room:
    """For an upload that begins now.

    Several at a time may be told of the same room; `require_storage` settles it when one is kept.
    """
    quotas = quotas_of(connection, tenant_id, defaults)
    if quotas.upload_bytes is not None:
        most_bytes = min(most_bytes, quotas.upload_bytes)
    if quotas.storage_bytes is None:
        return Room(most_bytes)
    used_bytes = storage_of(connection, tenant_id).total_bytes
    return Room(most_bytes, quotas.storage_bytes - used_bytes)


def quotas_of(connection: Connection, tenant_id: str, defaults: Quotas) -> Quotas:
    own = connection.execute(select(tenants.c.quotas).where(tenants.c.id == tenant_id)).scalar()
    return defaults.model_copy(update=own or {})


def agree_on_quotas(
    connection: Connection, tenant_id: str, changes: Mapping[str, Any], dropped: Collection[str]
) -> dict[str, Any]:
    """Other quotas for one tenant than those of the settings; `dropped` are as those again.

    Returns: all that differ now.
    """
    row = tenants.c.id == tenant_id
    there = connection.execute(select(tenants.c.quotas).where(row).with_for_update()).scalar()
    agreed = {**(there or {}), **changes}
    own = {name: value for name, value in agreed.items() if name not in dropped}
    connection.execute(update(tenants).where(row).values(quotas=own or None))
    return own


def locked_quotas(connection: Connection, tenant_id: str, defaults: Quotas) -> Quotas:
    """The same, with the tenant's row: what is counted for it stays so until the transaction ends.

    SQLite, which knows no locks of rows, has one writer at a time.
    """
    row = select(tenants.c.quotas).where(tenants.c.id == tenant_id)
    own = connection.execute(row.with_for_update(key_share=True)).scalar()
    return defaults.model_copy(update=own or {})


def require_storage(
    connection: Connection, tenant_id: str, quotas: Quotas, more_bytes: int
) -> None:
    """Raises: QuotaStorage."""
    if quotas.storage_bytes is None:
        return
    used = storage_of(connection, tenant_id).total_bytes
    if used + more_bytes > quotas.storage_bytes:
        raise storage_is_full(
            f"{used} of {quotas.storage_bytes} bytes are in use, and this takes {more_bytes} more"
        )


def holds_more_than_its_quota(connection: Connection, tenant_id: str, quotas: Quotas) -> bool:
    """Whether what its jobs have made came to more than it may have."""
    limit_bytes = quotas.storage_bytes
    if limit_bytes is None:
        return False
    return storage_of(connection, tenant_id).total_bytes > limit_bytes


def storage_of(connection: Connection, tenant_id: str) -> Storage:
    """What this tenant holds, each upload and artifact counted by itself.

    Two uploads of the same bytes count twice, though the disk holds them once: whether somebody
    has a file must not be told by what it costs to upload it.
    """
    of_uploads = select(
        func.coalesce(func.sum(uploads.c.size_bytes), 0),
        func.coalesce(func.sum(uploads.c.row_bytes), 0),
    ).where(uploads.c.tenant_id == tenant_id)
    of_artifacts = (
        select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))
        .join(jobs, jobs.c.id == artifacts.c.job_id)
        .where(jobs.c.tenant_id == tenant_id)
    )
    of_jobs = select(func.coalesce(func.sum(jobs.c.row_bytes), 0)).where(
        jobs.c.tenant_id == tenant_id
    )
    files, rows = connection.execute(of_uploads).one()
    made = connection.execute(of_artifacts).scalar_one()
    return Storage(int(files), int(made), int(rows) + int(connection.execute(of_jobs).scalar_one()))


def storage_is_full(detail: str) -> QuotaStorage:
    return QuotaStorage(
        f"the tenant's storage quota: {detail}",
        hint="Delete models, data sets and jobs that are no longer needed, or ask the operator for "
        "more. GET /v1/usage says what is used.",
    )
