"""A lane for each integration: its tasks take what is due in it, whatever batch that is of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LATE_INDEXES = {
    "ix_deliveries_lane": (
        "deliveries (type, priority, (COALESCE(next_attempt_at, listed_at)), id) WHERE state IN ('pending', 'retrying')"
    ),
    "ix_deliveries_turn": "deliveries (account, next_attempt_at, listed_at, id) WHERE waits_for = 'circuit'",
    "ix_deliveries_held": (
        "deliveries (worker_id) WHERE state = 'sending' OR (state IN ('pending', 'retrying') AND worker_id IS NOT NULL)"
    ),
}
"""Made after this revision is written down (`store.upkeep.late_indexes`)."""
REPLACED_INDEXES = dict.fromkeys(("ix_batches_new", "ix_batches_let_go", "ix_batches_open"), "ix_deliveries_lane")
"""Dropped there, too, when what takes their place has been made."""


def upgrade() -> None:
    op.create_table(
        "lanes",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("type", name=op.f("pk_lanes")),
    )
    op.add_column("deliveries", sa.Column("priority", sa.SmallInteger(), server_default="2", nullable=False))
    op.add_column("deliveries", sa.Column("losses", sa.SmallInteger(), server_default="0", nullable=False))
    # a version from before there was this column may still accept beside us, and its leads are due at once
    op.alter_column("deliveries", "listed_at", server_default=sa.func.now())
    # what is open: in the order in which waves would have sent it
    op.execute(
        "UPDATE deliveries d SET listed_at = b.accepted_at, priority = 2 * b.priority + LEAST(b.rounds, 1) "
        "FROM batches b WHERE b.id = d.batch_id AND b.status IN ('pending', 'processing') "
        "AND d.state IN ('pending', 'retrying') AND (d.listed_at IS NULL OR b.priority <> 1 OR b.rounds > 0)"
    )


def downgrade() -> None:
    for name in LATE_INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.alter_column("deliveries", "listed_at", server_default=None)
    op.drop_column("deliveries", "losses")
    op.drop_column("deliveries", "priority")
    op.drop_table("lanes")
    # an older version takes what no wave holds
    op.execute(
        "UPDATE batches SET status = 'pending', wave_id = NULL, let_go = false "
        "WHERE status IN ('pending', 'processing')"
    )
    op.execute("UPDATE deliveries SET state = 'pending' WHERE state = 'retrying' AND waits_for IS NULL")
