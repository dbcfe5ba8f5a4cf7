"""How much the rows of an upload and of a job hold, beside their files."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


# Stored JSON is ASCII: its length is its size. 1024 and 100 are for what stands beside it.
OF_UPLOADS = """
UPDATE uploads SET row_bytes = 1024
  + coalesce(length(CAST(inspection AS TEXT)), 0) + coalesce(length(CAST(problem AS TEXT)), 0)
"""
OF_JOBS = """
UPDATE jobs SET row_bytes = 1024 + length(CAST(request AS TEXT))
  + coalesce(length(CAST(report AS TEXT)), 0) + coalesce(length(CAST(layers AS TEXT)), 0)
  + coalesce(length(CAST(error AS TEXT)), 0)
"""
OF_EVENTS = """
UPDATE jobs SET row_bytes = row_bytes + (
  SELECT coalesce(sum(100 + length(CAST(data AS TEXT))), 0)
  FROM job_events WHERE job_id = jobs.id
) WHERE finished_at IS NOT NULL
"""


def upgrade() -> None:
    for table in ("uploads", "jobs"):
        op.add_column(
            table, sa.Column("row_bytes", sa.BigInteger(), server_default="0", nullable=False)
        )
    for statement in (OF_UPLOADS, OF_JOBS, OF_EVENTS):
        op.execute(statement)
    op.create_index(
        op.f("ix_jobs_tenant_id_row_bytes"), "jobs", ["tenant_id", "row_bytes"], unique=False
    )
