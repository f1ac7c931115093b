"""Indexes that find what is open, and pages of what is listed, however much has ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LATE_INDEXES = {
    "ix_batches_status_accepted_at_id": "batches (status, accepted_at, id)",
    "ix_batches_erased_at": "batches (erased_at) WHERE erased_at IS NOT NULL",
    "ix_notifications_troubled": "notifications (state, next_attempt_at, channel) WHERE error IS NOT NULL",
}
"""Made after this revision is written down (`store.upkeep.late_indexes`)."""
REPLACED_INDEXES = {"ix_batches_waiting": "ix_batches_status_accepted_at_id"}
"""Dropped there, too, when what takes their place has been made."""


def upgrade() -> None:
    """Nothing in the tables themselves."""


def downgrade() -> None:
    for name in (*LATE_INDEXES, "ix_batches_new", "ix_batches_let_go", "ix_batches_open"):
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.create_index(
        "ix_batches_waiting",
        "batches",
        ["priority", "accepted_at"],
        postgresql_where=sa.text("status = 'pending'"),
        if_not_exists=True,
    )
