"""Runs triggered with a request: when each was noted, by the clock of the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # in two steps: what is there already was noted at another time
    op.add_column("run_requests", sa.Column("noted_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("run_requests", "noted_at", server_default=sa.func.now())


def downgrade() -> None:
    op.drop_column("run_requests", "noted_at")
