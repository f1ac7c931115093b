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
from sqlalchemy.dialects.postgresql import JSON, JSONB

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
    # JSON, not JSONB, where people read it in the order in which it was written
    Column("data", JSON, nullable=False),
    # the user of Airflow's who has stored it last. Null: an older version has stored it, or nobody knows who
    Column("stored_by", Text),
    # somebody else has stored it before, or nobody knows who
    Column("others_stored", Boolean, nullable=False, server_default=text("false")),
    _time("created_at", required=True),
    _time("updated_at", required=True),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lead_id", Text, nullable=False),
    # the lead as it was when accepted: what is sent never changes between attempts
    Column("lead", JSON, nullable=False),
    # what of it was mended: ways to fields, never values
    Column("notes", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("status", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("callback_url_sealed", Text),
    Column("idempotency_key", Text, unique=True),
    Column("body_sha256", Text, nullable=False),
    # the run in which it was begun, in this round, or which goes on with it
    Column("wave_id", Text),
    # older versions': what is open in it waits, and its wave holds it no longer
    Column("let_go", Boolean, nullable=False, server_default=text("false")),
    # the user of Airflow's who has sent it. Null: an older version has written it, or nobody knows who
    Column("sent_by", Text),
    Column("claims", Integer, nullable=False, server_default="0"),  # older versions'
    # how often the schedule has sent again what had failed, since a person last did
    Column("rounds", Integer, nullable=False, server_default="0"),
    # how often a person has
    Column("asks", Integer, nullable=False, server_default="0"),
    Column("critical", Text),
    _time("accepted_at", required=True),
    _time("started_at"),
    _time("finished_at"),
    # what is not being sent yet is not to be sent any more
    _time("cancelled_at"),
    # its personal data is gone: it can be counted, and not be sent again
    _time("erased_at"),
    _one_of("status", BatchStatus),
    Index("ix_batches_accepted_at_id", "accepted_at", "id"),
    Index("ix_batches_status_accepted_at_id", "status", "accepted_at", "id"),
    Index("ix_batches_lead_id_accepted_at_id", "lead_id", "accepted_at", "id"),
    Index("ix_batches_wave_id", "wave_id"),
    Index("ix_batches_erased_at", "erased_at", postgresql_where=text("erased_at IS NOT NULL")),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("index", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("credentials_sealed", Text),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # the fencing token: one more with each attempt, so that one that was given up for dead can change nothing
    Column("epoch", Integer, nullable=False, server_default="0"),
    # the worker (of `workers`) that has taken it, or sends it. Null while it is sent: an older version sends it
    Column("worker_id", BigInteger),
    # its place in its lane: its batch's priority, and behind all of the same the rounds that the schedule has begun
    Column("priority", SmallInteger, nullable=False, server_default="2"),
    # how many processes have died with it, in this round
    Column("losses", SmallInteger, nullable=False, server_default="0"),
    # an attempt began and its outcome is not known to have been "not executed"
    Column("in_doubt", Boolean, nullable=False, server_default=text("false")),
    # attempts that count against the integration's tries, in this round: a person who starts it again begins a new one
    Column("tries", Integer, nullable=False, server_default="0"),
    _time("round_at"),
    # which clear of its task the round was begun for: a person has decided once, whatever Airflow repeats after it
    Column("asked", Text),
    # when a person last wanted it sent
    _time("asked_at"),
    # what a delivery waits for that no run holds on to; the next wave after `next_attempt_at` carries it on
    Column("waits_for", Text),
    # the account (a hash) that the last attempt was for
    Column("account", Text),
    # progress over its attempts, as the integration writes it: who of an e-mail's recipients has been mailed, say
    Column("kept", JSONB),
    Column("receipt", JSONB),
    Column("error", JSONB),
    _time("next_attempt_at"),
    # its batch's `accepted_at`, which lists of a type go by, and its lane. Null: an older version has written it
    Column("listed_at", DateTime(timezone=True), server_default=func.now()),
    _time("started_at"),
    _time("finished_at"),
    _one_of("state", DeliveryState),
    Index("ix_deliveries_waiting", "next_attempt_at", postgresql_where=text("waits_for IS NOT NULL")),
    Index("ix_deliveries_type_listed_at_batch_id", "type", "listed_at", "batch_id"),
    Index(
        "ix_deliveries_lane",
        *("type", "priority", text("(COALESCE(next_attempt_at, listed_at))"), "id"),
        postgresql_where=text("state IN ('pending', 'retrying')"),
    ),
    Index(
        "ix_deliveries_turn",
        *("account", "next_attempt_at", "listed_at", "id"),
        postgresql_where=text("waits_for = 'circuit'"),
    ),
    Index(
        "ix_deliveries_held",
        "worker_id",
        postgresql_where=text("state = 'sending' OR (state IN ('pending', 'retrying') AND worker_id IS NOT NULL)"),
    ),
)

# attempts under way: a row holds what its worker has begun; without it, or once its lease is over, nothing does
workers = Table(
    "workers",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    # by the clock of the store
    Column("lease_until", DateTime(timezone=True), nullable=False),
)

# what an integration's tasks have been asked for: one that waits for its slot will find all that has come by then
lanes = Table(
    "lanes",
    metadata,
    Column("type", Text, primary_key=True),
    # the run that has tasks for it which have not begun, how many, and when it was planned
    Column("run_id", Text, nullable=False),
    Column("waiting", Integer, nullable=False),
    _time("planned_at", required=True),
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

events = Table(
    "events",
    metadata,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    # in the order in which a batch's statuses were written, from 1 on
    Column("sequence", Integer, primary_key=True),
    _time("at", required=True),
    # the batch as it was, and the receipts and errors of its deliveries: what services have said may be personal
    Column("snapshot", JSONB, nullable=False),
    Column("answers", JSONB, nullable=False),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), index=True),
    Column("channel", Text, nullable=False),
    # where the receiver is, and which one there: hashes; empty: the channel's are all one
    Column("host", Text, nullable=False, server_default=""),
    Column("place", Text, nullable=False, server_default=""),
    Column("occasion", Text, nullable=False),
    # the batch's event that it tells of; without one it tells of what is true when it is told
    Column("sequence", Integer),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    _time("created_at", required=True),
    _time("next_attempt_at", required=True),
    _time("sent_at"),
    Index(
        "ix_notifications_waiting",
        *("channel", "host", "next_attempt_at", "id", "place"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_notifications_troubled",
        *("state", "next_attempt_at", "channel"),
        postgresql_where=text("error IS NOT NULL"),
    ),
)

places = Table(
    "places",
    metadata,
    # receivers of the outbox, and hosts of some, that do not answer, and until when they are left alone
    Column("channel", Text, primary_key=True),
    Column("place", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    _time("rests_until", required=True),
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

erasures = Table(
    "erasures",
    metadata,
    Column("lead_id", Text, primary_key=True),
    # when, and by which user of Airflow's, it was last asked for that nothing of this lead is kept
    _time("asked_at", required=True),
    Column("asked_by", Text, nullable=False),
    # the user whose alone is erased. Null: everybody's is
    Column("only_of", Text),
    # where it is one user's: when everybody's was last to be erased
    _time("over_all_at"),
    # what was erased, in all: kind of row → how many
    Column("erased", JSONB, nullable=False),
    # ids of Airflow's runs that hold the lead still, sealed; null: they have not all been looked for
    Column("runs", JSONB(none_as_null=True)),
    # rows of Airflow's audit log have not all been looked at
    Column("audit_log_left", Boolean, nullable=False, server_default=text("false")),
    # nothing is left
    _time("done_at"),
    Index("ix_erasures_open", "asked_at", postgresql_where=text("done_at IS NULL")),
)

run_requests = Table(
    "run_requests",
    metadata,
    # that was triggered with a request of which no batch has come yet
    Column("run_id", Text, primary_key=True),
    # when it was asked last how that run stands
    _time("looked_at", required=True),
    # when it was noted, by the clock of the store. Null: by an older version
    Column("noted_at", DateTime(timezone=True), server_default=func.now()),
)

oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("account", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    _time("updated_at", required=True),
)

# Limits, circuits and memory: what all processes share about the accounts of the services. Accounts and limits are
# known by a hash.

limits = Table(
    "limits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", JSONB, nullable=False),
    _time("updated_at", required=True),
    prefixes=["UNLOGGED"],  # written at every call, and of no use after a crash
)

# what a service has asked for is written once in a while, and meant: kept beside `limits`, for when those are lost
pauses = Table(
    "pauses",
    metadata,
    Column("name", Text, primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
)

circuits = Table(
    "circuits",
    metadata,
    Column("account", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("label", Text, nullable=False),
    # in a row, on credentials or network
    Column("failures", Integer, nullable=False, server_default="0"),
    # how often it was opened since the last success: the longer it stays open
    Column("openings", Integer, nullable=False, server_default="0"),
    _time("opened_at"),
    # without it, one that was opened is so until a person closes it: the receiver wants no more
    _time("open_until"),
    Column("code", Text),
    Column("reason", Text),
    _time("updated_at", required=True),
)

memory = Table(
    "memory",
    metadata,
    Column("account", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    _time("good_until"),
    _time("updated_at", required=True),
)
