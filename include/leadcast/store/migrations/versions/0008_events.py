"""Events: how a batch stood when there was something to tell of it. Receivers that do not answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LATE_INDEXES = {
    "ix_notifications_waiting": ("notifications (channel, host, next_attempt_at, id, place) WHERE state = 'pending'"),
}
"""Made after this revision is written down (`store.late_indexes`)."""
REPLACED_INDEXES = {"ix_notifications_due": "ix_notifications_waiting"}
"""Dropped there, too, when what takes their place has been made."""
_PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("snapshot", JSONB(), nullable=False),
        sa.Column("answers", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "sequence", name=op.f("pk_events")),
    )
    op.create_table(
        "places",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rests_until", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "place", name=op.f("pk_places")),
    )
    for name in ("host", "place"):
        op.add_column("notifications", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("notifications", sa.Column("sequence", sa.Integer()))
    # which receivers these go to is sealed: none shall wait for another's. Few hosts are gone through faster than many
    op.execute(
        "UPDATE notifications SET host = left(md5(batch_id), 2), place = md5(batch_id) "
        "WHERE channel = 'callback_url' AND state = 'pending'"
    )
    # last, since who accepts a batch waits for it
    op.create_foreign_key(
        op.f("fk_events_batch_id_batches"), "events", "batches", ["batch_id"], ["id"], ondelete="CASCADE"
    )


def downgrade() -> None:
    for name in LATE_INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.create_index(
        "ix_notifications_due", "notifications", ["next_attempt_at"], postgresql_where=_PENDING, if_not_exists=True
    )
    for name in ("sequence", "place", "host"):
        op.drop_column("notifications", name)
    op.drop_table("places")
    op.drop_table("events")
