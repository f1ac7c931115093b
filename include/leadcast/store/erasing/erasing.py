"""Erasing: what of batches and deliveries is personal goes; statuses, types, times and counts stay.

Nothing is erased that is still to be sent: only what rests. Who begins an attempt locks its delivery, and so do we.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, case, cast, func, null, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from leadcast.core.model import DeliveryState
from leadcast.store.outbox import OutboxState
from leadcast.store.paces import Channel
from leadcast.store.schema import attempts, batches, circuits, deliveries, events, notifications

ERASED = "Erased."
"""What stands where words stood that may have repeated personal data."""
WORDLESS_CIRCUIT: Mapping[str, Any] = {"reason": ERASED, "code": ""}
"""What a circuit says of its account without a service's words."""
_OPEN = [state.value for state in DeliveryState if not state.is_final]
_EMPTY: ColumnElement[Any] = cast({}, JSONB)


def nothing_of(chosen: Select[Any]) -> ColumnElement[bool]:
    """Whether a batch has none of these rows: asked of each batch that is looked at. A `NOT EXISTS` becomes a join,
    which reads the rows of all batches that there ever were."""
    return chosen.limit(1).scalar_subquery().is_(None)


RESTS: ColumnElement[bool] = nothing_of(
    select(deliveries.c.id).where(deliveries.c.batch_id == batches.c.id, deliveries.c.state.in_(_OPEN))
)
"""Nobody works on the batch. Its status does not tell: a person may have started a task of one that has ended."""
HOLDS_LEAD: ColumnElement[bool] = cast(batches.c.lead, Text) != "{}"


@dataclass(frozen=True, kw_only=True)
class Erased:
    """How many rows held something that was erased. `callbacks`: callers who are not told any more how it went, since
    their address went, too."""

    leads: int = 0
    batches: int = 0
    deliveries: int = 0
    attempts: int = 0
    notifications: int = 0
    callbacks: int = 0

    def __add__(self, other: Erased) -> Erased:
        mine, theirs = asdict(self), asdict(other)
        return Erased(**{name: mine[name] + theirs[name] for name in mine})


def lock_resting(connection: Connection, batch_ids: Collection[str]) -> list[str]:
    """Locks these batches and their deliveries, in the order that all use, and says which of them rest."""
    chosen = batches.c.id.in_(batch_ids)
    connection.execute(select(batches.c.id).where(chosen).order_by(batches.c.id).with_for_update())
    theirs = select(deliveries.c.id).where(deliveries.c.batch_id.in_(batch_ids)).order_by(deliveries.c.id)
    connection.execute(theirs.with_for_update())
    # asked with the locks held: what they were waited for with may have changed it
    return list(connection.execute(select(batches.c.id).where(chosen, RESTS).order_by(batches.c.id)).scalars())


def erase(connection: Connection, batch_ids: Sequence[str], *, now: datetime, thoroughly: bool) -> Erased:
    """Erases what is personal in batches that rest and are locked (`lock_resting`). Done again, it finds nothing.

    Args:
        thoroughly: also what points to the person elsewhere: the ids that services gave the lead, and what they have
            said of the accounts it went to.
    """
    if not batch_ids:
        return Erased()
    of_batches = deliveries.c.batch_id.in_(batch_ids)
    their_attempts = attempts.c.delivery_id.in_(select(deliveries.c.id).where(of_batches))
    has_words = or_(attempts.c.code.is_not(None), attempts.c.message.is_not(None))
    count = Erased(
        batches=_erase_batches(connection, batch_ids, now=now),
        deliveries=_erase_deliveries(connection, of_batches, thoroughly=thoroughly),
        attempts=_changed(
            connection, update(attempts).where(their_attempts, has_words).values(code=None, message=None)
        ),
    )
    _erase_events(connection, batch_ids)
    if thoroughly:
        _erase_words_of_accounts(connection, of_batches)
    return count + erase_notifications(connection, notifications.c.batch_id.in_(batch_ids))


def _erase_batches(connection: Connection, batch_ids: Sequence[str], *, now: datetime) -> int:
    # the hash of the body too: whoever knows the rest of the body finds a phone in it by trying
    has_notes = batches.c.notes != cast([], JSONB)
    holds = or_(HOLDS_LEAD, has_notes, batches.c.callback_url_sealed.is_not(None), batches.c.body_sha256 != "")
    values: dict[str, Any] = {"lead": {}, "notes": [], "callback_url_sealed": None, "body_sha256": "", "erased_at": now}
    return _changed(connection, update(batches).where(batches.c.id.in_(batch_ids), holds).values(values))


def _erase_events(connection: Connection, batch_ids: Sequence[str]) -> None:
    """What services answered, and the notes, which name fields as the caller does."""
    snapshot, bare = events.c.snapshot, cast({"notes": []}, JSONB)
    holds = or_(events.c.answers != _EMPTY, snapshot.concat(bare) != snapshot)
    values = {"answers": _EMPTY, "snapshot": snapshot.concat(bare)}
    connection.execute(update(events).where(events.c.batch_id.in_(batch_ids), holds).values(values))


def _erase_deliveries(connection: Connection, of_batches: ColumnElement[bool], *, thoroughly: bool) -> int:
    receipt, error = deliveries.c.receipt, deliveries.c.error
    bare: dict[str, Any] = {"detail": {}} | ({"external_id": ""} if thoroughly else {})
    wordless = {"code": "", "message": ERASED, "detail": "", "may_pass": False}
    holds = or_(
        cast(deliveries.c.settings, Text) != "{}",
        deliveries.c.credentials_sealed.is_not(None),
        _is_object(deliveries.c.kept),
        and_(_is_object(receipt), receipt.concat(cast(bare, JSONB)) != receipt),
        and_(_is_object(error), error.concat(cast(wordless, JSONB)) != error),
    )
    values: dict[str, Any] = {
        "settings": {},
        "credentials_sealed": None,
        "kept": null(),
        "receipt": case((_is_object(receipt), receipt.concat(cast(bare, JSONB)))),
        "error": case((_is_object(error), error.concat(cast(wordless, JSONB)))),
    }
    return _changed(connection, update(deliveries).where(of_batches, holds).values(values))


def _is_object(column: ColumnElement[Any]) -> ColumnElement[bool]:
    # nothing is kept as NULL by some writers, and as JSON's null by others
    return func.coalesce(func.jsonb_typeof(column), "") == "object"


def erase_notifications(connection: Connection, chosen: ColumnElement[bool]) -> Erased:
    """Erases the words in rows of the outbox, and gives up those that go to a `callback_url`.

    What is still to be told to others goes out: it holds nothing but ids, statuses, and a reason of ours.
    """
    given_up = _changed(
        connection,
        update(notifications)
        .where(chosen, notifications.c.channel == Channel.CALLBACK_URL, notifications.c.state == OutboxState.PENDING)
        .values(state=OutboxState.ERASED),
    )
    is_over = notifications.c.state != OutboxState.PENDING
    holds = or_(notifications.c.error.is_not(None), and_(is_over, notifications.c.payload != _EMPTY))
    payload = case((is_over, _EMPTY), else_=notifications.c.payload)
    changed = update(notifications).where(chosen, holds).values(payload=payload, error=None)
    return Erased(notifications=_changed(connection, changed), callbacks=given_up)


def _erase_words_of_accounts(connection: Connection, of_batches: ColumnElement[bool]) -> None:
    """What a service has said of an account, and people were told of it, may repeat the lead it was about."""
    query = select(deliveries.c.account).where(of_batches, deliveries.c.account.is_not(None))
    for account in list(connection.execute(query.distinct().order_by(deliveries.c.account)).scalars()):
        connection.execute(update(circuits).where(circuits.c.account == account).values(WORDLESS_CIRCUIT))
        told = and_(notifications.c.batch_id.is_(None), notifications.c.key.startswith(f"account:{account}:"))
        connection.execute(update(notifications).where(told).values(payload={"reason": ERASED}, error=None))


def _changed(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).rowcount)
