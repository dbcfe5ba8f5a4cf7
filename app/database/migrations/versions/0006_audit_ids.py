"""Entries of the audit log have ids; a worker that does not say if it confines is not trusted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NEW_IDS = {
    "sqlite": "UPDATE audit_log SET id = 'aud_' || substr(lower(hex(randomblob(13))), 1, 26)",
    "postgresql": "UPDATE audit_log SET id = 'aud_' || substr(md5(random()::text || seq), 1, 26)",
}


def upgrade() -> None:
    op.add_column("audit_log", sa.Column("id", sa.String(length=64), nullable=True))
    op.execute(NEW_IDS[op.get_bind().dialect.name])
    with op.batch_alter_table("audit_log") as batch:
        batch.alter_column("id", existing_type=sa.String(length=64), nullable=False)
        batch.create_unique_constraint(op.f("uq_audit_log_id"), ["id"])
    with op.batch_alter_table("workers") as batch:
        batch.alter_column(
            "confinement",
            existing_type=sa.String(length=16),
            existing_nullable=False,
            server_default="unknown",
        )
