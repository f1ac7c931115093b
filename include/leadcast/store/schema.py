"""The tables. Times are `timestamptz` in UTC; ids are text; JSON columns hold what only we read."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from leadcast.core.model import BatchStatus, DeliveryState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _time(name: str, *, required: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=func.now() if required else None)


def _one_of(column: str, values: type[BatchStatus] | type[DeliveryState]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


leads = Table(
    "leads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("data", JSONB, nullable=False),
    _time("created_at", required=True),
    _time("updated_at", required=True),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lead_id", Text, nullable=False),
    # the lead as it was when accepted: what is sent never changes between attempts
    Column("lead", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("callback_url_sealed", Text),
    Column("idempotency_key", Text, unique=True),
    Column("body_sha256", Text, nullable=False),
    Column("wave_id", Text),
    Column("claims", Integer, nullable=False, server_default="0"),
    Column("critical", Text),
    _time("accepted_at", required=True),
    _time("started_at"),
    _time("finished_at"),
    _one_of("status", BatchStatus),
    Index("ix_batches_waiting", "priority", "accepted_at", postgresql_where=text("status = 'pending'")),
    Index("ix_batches_accepted_at_id", "accepted_at", "id"),
    Index("ix_batches_lead_id", "lead_id"),
    Index("ix_batches_wave_id", "wave_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("index", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("credentials_sealed", Text),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # an attempt began and its outcome is not known to have been "not executed"
    Column("in_doubt", Boolean, nullable=False, server_default=text("false")),
    Column("receipt", JSONB),
    Column("error", JSONB),
    _time("next_attempt_at"),
    _time("started_at"),
    _time("finished_at"),
    _one_of("state", DeliveryState),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("delivery_id", Text, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    Column("message", Text),
    Column("worker", Text),
    _time("started_at", required=True),
    _time("finished_at"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), index=True),
    Column("channel", Text, nullable=False),
    Column("occasion", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    _time("created_at", required=True),
    _time("next_attempt_at", required=True),
    _time("sent_at"),
    Index("ix_notifications_due", "next_attempt_at", postgresql_where=text("state = 'pending'")),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    # the run that was asked for and has not planned yet: who arrives meanwhile rides along
    Column("waiting_run_id", Text),
    _time("rung_at"),
    CheckConstraint("id = 1", name="one_row"),
)

oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("account", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    _time("updated_at", required=True),
)
