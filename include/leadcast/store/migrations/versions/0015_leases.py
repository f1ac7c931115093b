"""Who sends a delivery holds it by a lease, and not by a lock of a session."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.add_column("deliveries", sa.Column("epoch", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deliveries", sa.Column("worker_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "worker_id")
    op.drop_column("deliveries", "epoch")
    op.drop_table("workers")
