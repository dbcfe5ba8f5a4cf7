"""Whether workers confine their jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "workers",
        sa.Column("confinement", sa.String(length=16), server_default="confined", nullable=False),
    )
