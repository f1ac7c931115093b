"""Erasures: who has asked for which lead to be erased, and what has come of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("erased", JSONB(), nullable=False),
        sa.Column("runs", JSONB(none_as_null=True)),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_open", "erasures", ["asked_at"], postgresql_where=sa.text("done_at IS NULL"))


def downgrade() -> None:
    op.drop_table("erasures")
