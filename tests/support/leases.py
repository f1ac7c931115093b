"""Leases of processes that live, or have died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import func, select, update

from leadcast.store.database import Store
from leadcast.store.lease import Lease
from leadcast.store.schema import deliveries, workers


def living(store: Store, name: str = "w") -> Lease:
    """The lease of a process that is at work."""
    return Lease(store, name=name, lease_s=3600)


def dead(store: Store, name: str = "dead") -> Lease:
    """That of a process which died long enough ago."""
    return Lease(store, name=name, lease_s=-1)


def age(store: Store, seconds: float) -> None:
    """So much time passes for all leases."""
    with store.begin() as connection:
        connection.execute(update(workers).values(lease_until=workers.c.lease_until - timedelta(seconds=seconds)))


@contextmanager
def held(store: Store, delivery_id: str) -> Iterator[None]:
    """While this lasts, the process that has begun this delivery lives."""
    its_worker = select(deliveries.c.worker_id).where(deliveries.c.id == delivery_id).scalar_subquery()

    def set_lease(seconds: float) -> None:
        until = func.clock_timestamp() + timedelta(seconds=seconds)
        with store.begin() as connection:
            changed = connection.execute(
                update(workers).where(workers.c.id == its_worker).values(lease_until=until)
            ).rowcount
        assert changed == 1, "nobody has begun it"

    set_lease(3600)
    yield
    set_lease(-1)


def run_out(store: Store) -> None:
    """All processes are frozen, or cut off, until their leases are over. They live on."""
    age(store, 7200)
