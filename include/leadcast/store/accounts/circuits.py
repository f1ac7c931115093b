"""Circuits: which accounts are left alone for a while, kept in the store and so the same for all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.circuit import WAITS_FOR_CIRCUIT, failures_to_open, open_for_s
from leadcast.core.errors import Blocked, DeliveryError, Postponed
from leadcast.core.settings import Settings
from leadcast.store.schema import circuits, deliveries

SHOWN = 100
CLOCKS_DIFFER_BY = timedelta(seconds=5)
"""Who comes so much too early is on time: the delivery that tries an account again comes exactly when it may."""

_REASON_CHARS = 500
"""So long are our own sentences at most: one that is cut is found in no other language."""


@dataclass(frozen=True, kw_only=True)
class AccountRef:
    """An account as its circuit knows it. `id`: a hash; `label`: what people know it by."""

    id: str
    type: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """An account that is left alone. `until` None: until a person closes it. `waiting`: deliveries that wait for it."""

    account: AccountRef
    failures: int
    opened_at: datetime
    until: datetime | None
    reason: str
    waiting: int = 0
    is_news: bool = False


def admit(connection: Connection, account: AccountRef, *, now: datetime, lease_s: float | None) -> bool:
    """Lets a delivery pass, or says why not. The first that comes once the time is over passes as the probe.

    Args:
        lease_s: seconds that the probe has before another one may try; None: it only asks, and is not the probe yet.

    Returns:
        Whether it is the probe.

    Raises:
        Postponed: the circuit is open.
        Blocked: the receiver wants nothing more; only a person lets deliveries pass again.
    """
    row = connection.execute(select(circuits).where(circuits.c.account == account.id)).one_or_none()
    if row is None or row.opened_at is None:
        return False
    if row.open_until is None:
        raise Blocked(
            f"{account.label} wants no more ({row.code}), so nothing is sent to it. If it does again: "
            f"leadcast circuits --close {account.id[:8]}",
            code="stopped",
        )
    if row.open_until <= now + CLOCKS_DIFFER_BY:
        if lease_s is None:
            return False
        taken = connection.execute(
            update(circuits)
            .where(circuits.c.account == account.id, circuits.c.open_until == row.open_until)
            .values(open_until=now + timedelta(seconds=lease_s))
        )
        if taken.rowcount == 1:
            return True
    raise Postponed(
        f"{account.label} is left alone after {row.failures} failures in a row, the last: {row.reason}",
        wait_s=max((row.open_until - now).total_seconds(), 1.0),
        code=WAITS_FOR_CIRCUIT,
    )


def holds(connection: Connection, account_id: str) -> bool:
    """Whether the circuit is open, and stays so until this transaction has ended."""
    query = select(circuits.c.opened_at).where(circuits.c.account == account_id).with_for_update(read=True)
    return connection.execute(query).scalar() is not None


def failed(
    connection: Connection,
    account: AccountRef,
    error: DeliveryError,
    *,
    is_probe: bool,
    settings: Settings,
    now: datetime,
) -> Circuit | None:
    """One more failure in a row. Returns the circuit if it is open now."""
    said = {"code": error.code, "reason": error.message[:_REASON_CHARS]}
    row = connection.execute(
        insert(circuits)
        .values(account=account.id, type=account.type, label=account.label, failures=1, **said)
        .on_conflict_do_update(
            index_elements=[circuits.c.account],
            set_={**said, "failures": circuits.c.failures + 1, "label": account.label, "updated_at": func.now()},
        )
        .returning(circuits)
    ).one()
    is_open = row.opened_at is not None
    if is_open and row.open_until is None:
        return None
    if not is_open and row.failures < failures_to_open(error, in_a_row=settings.circuit_failures):
        return None
    if is_open and not is_probe and row.open_until > now:  # on its way when it opened: that is nothing new
        return _circuit(row)
    wait_s = open_for_s(row.openings + 1, first_s=settings.circuit_open_s, longest_s=settings.circuit_longest_s)
    opened = connection.execute(
        update(circuits)
        .where(circuits.c.account == account.id)
        .values(openings=row.openings + 1, opened_at=row.opened_at or now, open_until=now + timedelta(seconds=wait_s))
        .returning(circuits)
    ).one()
    return _circuit(opened, is_news=not is_open)


def hand_on(connection: Connection, account: AccountRef, *, now: datetime) -> None:
    """The probe has found out nothing: another one may try at once."""
    connection.execute(
        update(circuits).where(circuits.c.account == account.id, circuits.c.open_until > now).values(open_until=now)
    )


def stop(connection: Connection, account: AccountRef, error: DeliveryError, *, now: datetime) -> Circuit:
    """The receiver wants no more: its circuit stays open until a person closes it."""
    connection.execute(
        insert(circuits)
        .values(account=account.id, type=account.type, label=account.label, failures=1)
        .on_conflict_do_nothing(index_elements=[circuits.c.account])
    )
    before = connection.execute(select(circuits).where(circuits.c.account == account.id).with_for_update()).one()
    is_stopped = before.opened_at is not None and before.open_until is None
    row = connection.execute(
        update(circuits)
        .where(circuits.c.account == account.id)
        .values(
            opened_at=before.opened_at if is_stopped else now,
            open_until=None,
            code=error.code,
            reason=error.message[:_REASON_CHARS],
            updated_at=func.now(),
        )
        .returning(circuits)
    ).one()
    return _circuit(row, is_news=not is_stopped)


def succeeded(connection: Connection, account: AccountRef, *, now: datetime) -> bool:
    """The service takes this account: closes its circuit, and what waits for it is due. Says if it was open."""
    was_open = connection.execute(
        delete(circuits).where(circuits.c.account == account.id).returning(circuits.c.opened_at)
    ).scalar()
    if was_open is None:
        return False
    _make_due(connection, account.id, now=now)
    return True


def close(connection: Connection, account_id: str, *, now: datetime) -> list[Circuit]:
    """A person closes the circuits whose id begins so. Returns those that were there."""
    # startswith: the id is hexadecimal, so there is nothing to escape in it
    rows = connection.execute(
        delete(circuits).where(circuits.c.account.startswith(account_id, autoescape=True)).returning(circuits)
    ).all()
    for row in rows:
        _make_due(connection, row.account, now=now)
    return [_circuit(row) for row in rows if row.opened_at is not None]


def open_by_type(connection: Connection) -> dict[str, int]:
    """Integration → how many of its accounts are left alone."""
    rows = connection.execute(
        select(circuits.c.type, func.count()).where(circuits.c.opened_at.is_not(None)).group_by(circuits.c.type)
    )
    return {row[0]: row[1] for row in rows}


def listing(connection: Connection, *, limit: int = SHOWN) -> Sequence[Circuit]:
    """The circuits that are open, those that were opened last first, each with how many deliveries wait for it."""
    waiting = (
        select(deliveries.c.account, func.count().label("count"))
        .where(deliveries.c.waits_for == WAITS_FOR_CIRCUIT)
        .group_by(deliveries.c.account)
        .subquery()
    )
    rows = connection.execute(
        select(circuits, func.coalesce(waiting.c.count, 0).label("waiting"))
        .outerjoin(waiting, waiting.c.account == circuits.c.account)
        .where(circuits.c.opened_at.is_not(None))
        .order_by(circuits.c.opened_at.desc())
        .limit(limit)
    )
    return [_circuit(row, waiting=row.waiting) for row in rows]


def forget_old(connection: Connection, *, before: datetime, stopped_before: datetime) -> None:
    """Drops failures that nothing has followed, so they are not in a row with what comes, and what stopped long ago."""
    is_stopped = circuits.c.opened_at.is_not(None) & circuits.c.open_until.is_(None)
    is_old = or_(and_(circuits.c.updated_at < before, ~is_stopped), circuits.c.updated_at < stopped_before)
    connection.execute(delete(circuits).where(is_old))


def _make_due(connection: Connection, account_id: str, *, now: datetime) -> None:
    # locked by their ids, as all do who lock several
    waits = deliveries.c.waits_for == WAITS_FOR_CIRCUIT, deliveries.c.account == account_id
    in_order = select(deliveries.c.id).where(*waits).order_by(deliveries.c.id).with_for_update()
    connection.execute(update(deliveries).where(deliveries.c.id.in_(in_order)).values(next_attempt_at=now))


def _circuit(row: Row[Any], *, waiting: int = 0, is_news: bool = False) -> Circuit:
    return Circuit(
        account=AccountRef(id=row.account, type=row.type, label=row.label),
        failures=row.failures,
        opened_at=row.opened_at,
        until=row.open_until,
        reason=row.reason or "",
        waiting=waiting,
        is_news=is_news,
    )
