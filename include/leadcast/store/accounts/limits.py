"""The rate limits of the services, kept in the store: all processes together stay under what each service publishes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Float, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.core import limits as slots
from leadcast.core.digest import digest
from leadcast.core.errors import Postponed
from leadcast.core.limits import Limit
from leadcast.store.database import Store
from leadcast.store.schema import limits as table
from leadcast.store.schema import pauses

LIMIT = "limit"
"""Code of what waits for its turn under a limit."""
_ROUNDS = 5
"""Each limit may push the slot of another one further; it settles after as many rounds as there are limits."""


class StoredLimits:
    """Gives out slots. Time is the database's, since machines' clocks differ by more than a slot."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(
        self, limits: Sequence[Limit], *, may_wait_s: float, has_place: bool = False, gives_up_in_s: float | None = None
    ) -> float:
        """Takes one slot of every limit.

        Args:
            has_place: it was told to come back before, and passes those who come now for the first time.
            gives_up_in_s: it will not come back later than that, so it takes no place behind those who wait.

        Returns:
            Seconds to sleep until the call may go out, at most `may_wait_s`.

        Raises:
            Postponed: the slot is further away. None was taken; says when to come back.
        """
        if not limits:
            return 0.0
        by_name = {_hash(limit.name): limit for limit in limits}
        with self._store.begin() as connection:
            now, states = _locked(connection, by_name)
            at = _common_slot(states, by_name, now=now)
            queue_s = 0.0 if has_place else max(slots.queued_until(state) for state in states.values()) - now
            if max(at - now, queue_s) <= may_wait_s:
                at = max(at, now + queue_s)
                at = _common_slot(states, by_name, now=at)
                taken = {name: slots.with_call(states[name], limit, at=at, now=now) for name, limit in by_name.items()}
                _write(connection, taken)
                return max(0.0, at - now)
            # the limit that holds it up longest is the one to queue for
            name = max(by_name, key=lambda name: _held_up_until(states[name], by_name[name], now=now))
            back_at = at
            if not has_place:
                back_at, state = slots.queued(states[name], by_name[name], slot=at)
                if gives_up_in_s is None or back_at - now <= gives_up_in_s:
                    _write(connection, {name: state})
        raise Postponed(
            f"The limit of {by_name[name].name} is reached; it waits for its turn.", wait_s=back_at - now, code=LIMIT
        )

    def pause(self, limit: Limit, *, pause_s: float) -> None:
        """The service has asked to wait: nobody calls it under this limit until then."""
        name = _hash(limit.name)
        with self._store.begin() as connection:
            now, states = _locked(connection, {name: limit})
            paused = slots.with_pause(states[name], until=now + pause_s)
            _write(connection, {name: paused})
            _write_pause(connection, name, until=paused["not_before"])

    def forget(self, *, older_than: timedelta) -> None:
        """Drops what has not been used for so long."""
        with self._store.begin() as connection:
            connection.execute(delete(table).where(table.c.updated_at < func.now() - older_than))
            connection.execute(delete(pauses).where(pauses.c.until < func.now()))


def _locked(connection: Connection, limits: Mapping[str, Limit]) -> tuple[float, dict[str, dict[str, Any]]]:
    """The time now, and the limits' states, locked. In one order, so that two processes do not wait for each other."""
    rows = connection.execute(
        insert(table)
        .values([{"name": name, "state": {}} for name in sorted(limits)])
        .on_conflict_do_update(index_elements=[table.c.name], set_={"updated_at": func.clock_timestamp()})
        .returning(table.c.name, table.c.state, cast(func.extract("epoch", func.clock_timestamp()), Float).label("at"))
    ).all()
    states = {row.name: row.state for row in rows}
    fresh = [name for name, state in states.items() if not state]
    # used for the first time, or lost in a crash
    return max(row.at for row in rows), states | _paused(connection, fresh)


def _paused(connection: Connection, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """States of those limits among these of which a pause is on record."""
    if not names:
        return {}
    until = cast(func.extract("epoch", pauses.c.until), Float)
    rows = connection.execute(select(pauses.c.name, until.label("until")).where(pauses.c.name.in_(names)))
    return {row.name: slots.with_pause({}, until=row.until) for row in rows}


def _write_pause(connection: Connection, name: str, *, until: float) -> None:
    statement = insert(pauses).values(name=name, until=func.to_timestamp(until))
    connection.execute(
        statement.on_conflict_do_update(index_elements=[pauses.c.name], set_={"until": statement.excluded.until})
    )


def _held_up_until(state: Mapping[str, Any], limit: Limit, *, now: float) -> float:
    return max(slots.next_slot(state, limit, now=now), slots.queued_until(state))


def _common_slot(states: Mapping[str, Mapping[str, Any]], limits: Mapping[str, Limit], *, now: float) -> float:
    at = now
    for _ in range(_ROUNDS):
        later = max(slots.next_slot(states[name], limit, now=at) for name, limit in limits.items())
        if later <= at:
            break
        at = later
    return at


def _write(connection: Connection, states: Mapping[str, Mapping[str, Any]]) -> None:
    for name, state in states.items():
        connection.execute(update(table).where(table.c.name == name).values(state=state))


def _hash(name: str) -> str:
    return digest(name, chars=40)
