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
"""Made after this revision is written down (`store.upkeep.late_indexes`)."""
REPLACED_INDEXES = {"ix_notifications_due": "ix_notifications_waiting"}
"""Dropped there, too, when what takes their place has been made."""
_PENDING = sa.text("state = 'pending'")

_STILL_TRUE = """
WITH still_true AS (
    SELECT n.id, n.batch_id
    FROM notifications n JOIN batches b ON b.id = n.batch_id
    WHERE n.state = 'pending' AND n.channel <> 'lead_status'
        -- turns are of this version, which somebody has gone back from
        AND regexp_replace(n.key, '\\:turn[0-9]+$', '')
            = concat_ws(':', b.id, n.channel, n.occasion, b.status, nullif(b.asks, 0))
), written AS (
    INSERT INTO events (batch_id, sequence, at, snapshot, answers)
    SELECT
        b.id, 1, coalesce(b.finished_at, now()),
        jsonb_build_object(
            'id', b.id, 'lead_id', b.lead_id, 'status', b.status,
            'priority', CASE b.priority WHEN 0 THEN 'high' WHEN 1 THEN 'normal' ELSE 'low' END,
            'run_id', b.wave_id, 'critical', b.critical, 'accepted_at', b.accepted_at, 'started_at', b.started_at,
            'finished_at', b.finished_at, 'cancelled_at', b.cancelled_at, 'notes', b.notes, 'waits', false,
            'is_erased', b.erased_at IS NOT NULL, 'deliveries', coalesce(its.deliveries, '[]')
        ),
        coalesce(its.answers, '{}')
    FROM batches b CROSS JOIN LATERAL (
        SELECT
            jsonb_agg(
                jsonb_build_object(
                    'id', d.id, 'type', d.type, 'queue', '', 'state', d.state, 'attempts', d.attempts,
                    'next_attempt_at', d.next_attempt_at, 'started_at', d.started_at, 'finished_at', d.finished_at,
                    'waits_for', d.waits_for, 'history', '[]'::jsonb
                ) ORDER BY d.index
            ) AS deliveries,
            jsonb_object_agg(d.id, jsonb_build_object('receipt', d.receipt, 'error', d.error)) AS answers
        FROM deliveries d WHERE d.batch_id = b.id
    ) its
    WHERE b.id IN (SELECT batch_id FROM still_true)
)
UPDATE notifications n SET sequence = 1 FROM still_true WHERE n.id = still_true.id
"""
"""What waits to be told, and is how its batch stands, is written down before that goes on."""
_NO_LONGER_TRUE = """
DELETE FROM notifications
WHERE state = 'pending' AND channel <> 'lead_status' AND batch_id IS NOT NULL AND sequence IS NULL
"""
"""Nobody knows any more how its batch stood. That has gone on since, and what it has ended with, or will, is told."""


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
    op.execute(_STILL_TRUE)
    op.execute(_NO_LONGER_TRUE)
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
