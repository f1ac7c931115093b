"""What the accounts' services have told us and we need again: kept for an account, seen by all processes.

It saves calls and nothing depends on it, so a store that fails here is no error: nothing is remembered.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import StoreError
from leadcast.store.database import Store
from leadcast.store.schema import memory

log = structlog.get_logger("leadcast.memory")


class StoredMemory:
    """The `Memory` of one account.

    Args:
        account: its hash.
    """

    def __init__(self, store: Store, *, account: str, clock: Clock = utc_now) -> None:
        self._store = store
        self._account = account
        self._clock = clock

    def recall(self, name: str) -> Any:
        """What was remembered under this name, or None: nothing, or it is too old."""
        is_good = or_(memory.c.good_until.is_(None), memory.c.good_until > self._clock())
        query = select(memory.c.value).where(memory.c.account == self._account, memory.c.name == name, is_good)
        try:
            with self._store.begin() as connection:
                return connection.execute(query).scalar()
        except StoreError as error:
            log.warning("nothing recalled", name=name, error=str(error))
            return None

    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        """Keeps a small JSON value; `for_s`: seconds that it is good for."""
        good_until = None if for_s is None else self._clock() + timedelta(seconds=for_s)
        given = {"value": value, "good_until": good_until, "updated_at": func.now()}
        statement = (
            insert(memory)
            .values(account=self._account, name=name, **given)
            .on_conflict_do_update(index_elements=[memory.c.account, memory.c.name], set_=given)
        )
        try:
            with self._store.begin() as connection:
                connection.execute(statement)
        except StoreError as error:
            log.warning("not remembered", name=name, error=str(error))


def forget_old(store: Store, *, clock: Clock = utc_now) -> None:
    """Drops what is no longer good."""
    with store.begin() as connection:
        connection.execute(delete(memory).where(memory.c.good_until < clock()))
