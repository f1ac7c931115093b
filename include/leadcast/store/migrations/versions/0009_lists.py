"""Indexes that have what is listed in its order: a lead's batches, and those of an integration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LATE_VALUES = {
    "deliveries": ("listed_at", "SELECT b.accepted_at FROM batches b WHERE b.id = deliveries.batch_id"),
}
"""Filled in after this revision is written down (`store.upkeep.late_values`)."""
LATE_INDEXES = {
    "ix_batches_lead_id_accepted_at_id": "batches (lead_id, accepted_at, id)",
    "ix_deliveries_type_listed_at_batch_id": "deliveries (type, listed_at, batch_id)",
}
"""Made after that (`store.upkeep.late_indexes`)."""
REPLACED_INDEXES = {
    "ix_batches_lead_id": "ix_batches_lead_id_accepted_at_id",
    "ix_deliveries_type_batch_id": "ix_deliveries_type_listed_at_batch_id",
}
"""Dropped there, too, when what takes their place has been made."""


def upgrade() -> None:
    # without a default: so no row is written anew while others wait
    op.add_column("deliveries", sa.Column("listed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for name in LATE_INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.create_index("ix_batches_lead_id", "batches", ["lead_id"], if_not_exists=True)
    op.drop_column("deliveries", "listed_at")
