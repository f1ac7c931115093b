"""The accounts that are left alone just now, looked at together and not for each delivery."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from sqlalchemy import select

from leadcast.store.database import Store
from leadcast.store.schema import circuits


class OpenCircuits:
    """Which circuits may be open, as one process has seen it a moment ago. One that opens lets at most that moment's
    deliveries pass.

    Args:
        for_s: for so many seconds a look counts.
        clock: in seconds.
    """

    def __init__(self, store: Store, *, for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._for_s, self._clock = store, for_s, clock
        self._looking = Lock()
        self._seen: frozenset[str] = frozenset()
        self._until = -float("inf")

    def may_have(self, account_id: str) -> bool:
        """Whether the circuit of an account may be open: then it has to be asked for itself.

        Raises:
            StoreError: the store could not be used.
        """
        with self._looking:
            now = self._clock()
            if now >= self._until:
                with self._store.begin() as connection:
                    found = connection.execute(select(circuits.c.account).where(circuits.c.opened_at.is_not(None)))
                    self._seen = frozenset(found.scalars())
                self._until = now + self._for_s
            return account_id in self._seen

    def look_again(self) -> None:
        """This process has just heard something against an account: its next look does not rest on what it has seen."""
        with self._looking:
            self._until = -float("inf")
