"""Notes: what of a lead was mended when its batch was accepted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # a constant default: no row is rewritten
    notes = sa.Column("notes", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False)
    op.add_column("batches", notes)


def downgrade() -> None:
    op.drop_column("batches", "notes")
