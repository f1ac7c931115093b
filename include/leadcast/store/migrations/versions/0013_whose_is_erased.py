"""Whose an erasure takes, and which leads more than one user has stored: nobody erases what others have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasures", sa.Column("only_of", sa.Text()))
    op.add_column("erasures", sa.Column("over_all_at", sa.DateTime(timezone=True)))
    # a constant default: so no row is written anew while others wait
    op.add_column("leads", sa.Column("others_stored", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    op.drop_column("leads", "others_stored")
    op.drop_column("erasures", "over_all_at")
    op.drop_column("erasures", "only_of")
