"""Who has sent a batch, and who has stored a lead: what is a user's own, he may see and undo."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # without a default: so no row is written anew while others wait
    op.add_column("batches", sa.Column("sent_by", sa.Text()))
    op.add_column("leads", sa.Column("stored_by", sa.Text()))


def downgrade() -> None:
    op.drop_column("leads", "stored_by")
    op.drop_column("batches", "sent_by")
