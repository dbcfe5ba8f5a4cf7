"""Which key made a key, so that it is revoked with it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("made_by", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_api_keys_made_by"), "api_keys", ["made_by"], unique=False)
