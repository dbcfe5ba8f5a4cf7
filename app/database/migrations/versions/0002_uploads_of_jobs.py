"""What uploads a job uses, in rows: a job may name several models."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_uploads",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_uploads_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "upload_id", name=op.f("pk_job_uploads")),
    )
    op.create_index(op.f("ix_job_uploads_upload_id"), "job_uploads", ["upload_id"], unique=False)
    op.execute(
        "INSERT INTO job_uploads (job_id, upload_id) "
        "SELECT id, model_id FROM jobs "
        "UNION SELECT id, dataset_id FROM jobs WHERE dataset_id IS NOT NULL"
    )
    op.drop_index(op.f("ix_jobs_dataset_id"), table_name="jobs")
