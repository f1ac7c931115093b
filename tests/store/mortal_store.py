"""A process that can be killed, or held up while others act, at any point of its work: between its transactions, before
one of them commits, while a service is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection

from leadcast.store.database import Store


class Died(BaseException):
    """The process was killed here. None of ours: no `except Exception` may stop it."""


def dies() -> None:
    """Kills the process that comes by."""
    raise Died


class Place(StrEnum):
    """Where in its work a process is. But for `UNCOMMITTED` it holds no row there that others could wait for, but that
    of the notification which goes out."""

    BEFORE = "before a transaction"
    UNCOMMITTED = "before its commit"
    AFTER = "after its commit"
    CALLED = "the call went out"
    EXECUTED = "the service has executed it"
    TELLING = "a notification goes out"
    TOLD = "it went out"


@dataclass(frozen=True)
class Point:
    """The nth time that a process comes by a place."""

    place: Place
    number: int = 1


@dataclass
class Process:
    """What one process works with.

    point: where something happens to it; None: nowhere.
    happens: what; raises `Died` where it is killed.
    last_told: key of the notification that it has sent last.
    """

    base: Store
    point: Point | None = None
    happens: Callable[[], object] = lambda: None
    is_dead: bool = False
    last_told: str = ""
    _passed: Counter[Place] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.store: Store = MortalStore(self.base, self)

    def reach(self, place: Place) -> None:
        """It comes by this place.

        Raises:
            Died: it is killed here, or has been before.
        """
        if self.is_dead:
            raise Died
        self._passed[place] += 1
        if self.point == Point(place, self._passed[place]):
            try:
                self.happens()
            except Died:
                self.is_dead = True
                raise


class MortalStore(Store):
    """The store as that process sees it. One that has died rolls back and writes no more."""

    def __init__(self, base: Store, process: Process) -> None:
        super().__init__(base.engine, base.sealer)
        self._base, self._process = base, process

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction."""
        self._process.reach(Place.BEFORE)
        with self._base.begin() as connection:
            yield connection
            self._process.reach(Place.UNCOMMITTED)
        self._process.reach(Place.AFTER)
