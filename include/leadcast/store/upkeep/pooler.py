"""Whether something stands between us and PostgreSQL that shares sessions, and whether our time-outs are in force.

A PgBouncer in transaction mode hands each transaction to whichever session is free. No lead minds: none of our locks
outlives its transaction. To make indexes late, a session of one's own is needed.
"""

from __future__ import annotations

from contextlib import ExitStack

from sqlalchemy import Connection, column, func, select, table

from leadcast.store.database import ASKED_OF_SERVER, Store

_OTHERS = 4
_COUNTED_ON = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def shares_sessions(store: Store) -> bool:
    """Whether a connection's session is handed to others while it rests.

    Raises:
        StoreError: the store could not be used.
    """
    with ExitStack() as opened:
        resting = opened.enter_context(store.session())
        before = _session_of(resting)
        for _ in range(_OTHERS):
            # it keeps its session while its transaction is open: it takes the one that rests, if that may be taken
            busy = _session_of(opened.enter_context(store.begin()))
            if busy == before or _session_of(resting) != before:
                return True
    return False


def _session_of(connection: Connection) -> int:
    return int(connection.execute(select(func.pg_backend_pid())).scalar_one())


def not_in_force(store: Store) -> list[str]:
    """Names of the time-outs that our sessions ask for and do not have.

    Raises:
        StoreError: the store could not be used.
    """
    settings = table("pg_settings", column("name"), column("setting"))
    with store.begin() as connection:
        rows = connection.execute(select(settings.c.name, settings.c.setting).where(settings.c.name.in_(_COUNTED_ON)))
        return sorted(name for name, value in rows if int(value) != ASKED_OF_SERVER[name])
