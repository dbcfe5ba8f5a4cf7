"""Tenants and their keys; whose each upload, job and idempotency key is."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Everything that was there before belongs to it.
DEFAULT_TENANT = "ten_default"


def upgrade() -> None:
    _create_tenants()
    _create_api_keys()
    for table in ("uploads", "jobs", "idempotency_keys"):
        _add_tenant_id(table)
    op.drop_index(op.f("ix_uploads_kind_created_at_id"), table_name="uploads")
    op.create_index(
        op.f("ix_uploads_tenant_id_kind_id"), "uploads", ["tenant_id", "kind", "id"], unique=False
    )
    op.drop_index(op.f("ix_jobs_created_at_id"), table_name="jobs")
    op.create_index(
        op.f("ix_jobs_tenant_id_created_at_id"),
        "jobs",
        ["tenant_id", "created_at", "id"],
        unique=False,
    )
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        batch.create_primary_key(op.f("pk_idempotency_keys"), ["tenant_id", "key"])


def _create_tenants() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quotas", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    now = datetime.now(UTC)
    if op.get_bind().dialect.name == "sqlite":
        now = now.replace(tzinfo=None)
    op.bulk_insert(tenants, [{"id": DEFAULT_TENANT, "name": "default", "created_at": now}])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_tenant_id_id"), "api_keys", ["tenant_id", "id"], unique=False)


def _add_tenant_id(table: str) -> None:
    """Whose each row is, never null: a default for what is there, and none for what comes."""
    with op.batch_alter_table(table) as batch:
        batch.add_column(
            sa.Column(
                "tenant_id", sa.String(length=64), nullable=False, server_default=DEFAULT_TENANT
            )
        )
    with op.batch_alter_table(table) as batch:
        batch.alter_column("tenant_id", server_default=None)
        batch.create_foreign_key(op.f(f"fk_{table}_tenant_id"), "tenants", ["tenant_id"], ["id"])
