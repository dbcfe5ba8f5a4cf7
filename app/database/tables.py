"""Every table. Times are UTC; JSON columns hold what pydantic models dump."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import BigInteger


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out; SQLite, which has no zones, holds them as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Ids are 31 characters; what a client sends is never stored as an id.
Id = String(64)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What differs from the settings' quotas.
    Column("quotas", JSON(none_as_null=True)),
    # When one of its jobs was last taken: of two tenants that wait, the other one is next.
    Column("served_at", UtcDateTime),
    UniqueConstraint("name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(200), nullable=False),
    # What a key is looked up by; it is no secret.
    Column("prefix", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("made_by", Id),
    UniqueConstraint("prefix"),
    Index(None, "tenant_id", "id"),
    Index(None, "made_by"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("format", String(16), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("options", JSON, nullable=False),
    Column("inspection", JSON(none_as_null=True)),
    Column("problem", JSON(none_as_null=True)),
    Column("created_at", UtcDateTime, nullable=False),
    # Of what is written here beside the file, as the tenant's storage counts it.
    Column("row_bytes", BigInteger, nullable=False, server_default="0"),
    Index(None, "tenant_id", "kind", "id"),
    Index(None, "sha256"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("request", JSON, nullable=False),
    Column("model_id", Id, nullable=False),
    Column("dataset_id", Id),
    Column("tags", JSON, nullable=False),
    Column("phase", Text),
    Column("progress", Float, nullable=False),
    Column("verdict", String(32)),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("report", JSON(none_as_null=True)),
    Column("layers", JSON(none_as_null=True)),
    Column("retry_of", Id),
    Column("worker", String(255)),
    Column("version", Integer, nullable=False),
    Column("event_count", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("queue_expires_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("send_count", Integer, nullable=False, server_default="0"),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("lease_expires_at", UtcDateTime),
    # Of the present or the last attempt: since when it runs, and how long its tenant lets it.
    Column("claimed_at", UtcDateTime),
    Column("run_limit_s", Float),
    # Of this row, its events and labels, as the tenant's storage counts them: see `jobs.sizes`.
    Column("row_bytes", BigInteger, nullable=False, server_default="0"),
    Index(None, "tenant_id", "created_at", "id"),
    # Wide rows need not be read to add these up.
    Index(None, "tenant_id", "row_bytes"),
    Index(None, "tenant_id", "state", "queued_at"),
    Index(None, "state", "queued_at"),
    Index(None, "model_id"),
)

# The models and the data set that a job uses, however it names them.
job_uploads = Table(
    "job_uploads",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("upload_id", Id, primary_key=True),
    Index(None, "upload_id"),
)

# What jobs are looked up by, one row a value: kind "technique" (value) or "tag" (key, value).
job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", String(256), nullable=False),
    Index(None, "kind", "key", "value"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("type", String(32), nullable=False),
    Column("data", JSON, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("format", String(16), nullable=False),
    Column("filename", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "job_id"),
    Index(None, "sha256"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "created_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("confinement", String(16), nullable=False, server_default="unknown"),
    # What it found when it tried its box.
    Column("box", JSON(none_as_null=True)),
)

# How long the jobs of a tenant ran in a month ("2026-01", UTC), by the ends of their attempts.
run_times = Table(
    "run_times",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("run_s", Float, nullable=False),
)

# Rows are added, and dropped when they are old; none is changed. What they name may be gone.
audit_log = Table(
    "audit_log",
    metadata,
    # SQLite counts in 64 bits by itself, and only under this name.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # Shown instead of `seq`, which counts what all tenants do.
    Column("id", Id, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # Null where nobody was recognized.
    Column("tenant_id", Id),
    Column("key_id", Id),
    Column("action", String(64), nullable=False),
    Column("object_id", String(64)),
    Column("status", Integer, nullable=False),
    Column("address", String(64)),
    Column("request_id", String(128)),
    UniqueConstraint("id"),
    Index(None, "tenant_id", "seq"),
    Index(None, "at"),
)
