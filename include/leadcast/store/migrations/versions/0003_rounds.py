"""Rounds: what is sent again by a person or by the schedule; what was cancelled; whose personal data was erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("rounds", "asks"):
        op.add_column("batches", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    for name in ("cancelled_at", "erased_at"):
        op.add_column("batches", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "asked_at")
    for name in ("erased_at", "cancelled_at", "asks", "rounds"):
        op.drop_column("batches", name)
