"""How a run has ended. Said once, by whoever sees the end; settling obeys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

Ids = Callable[[], Collection[str]]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a run: nothing of it works any more. What it leaves open is in its lane, and a later run sends it.

    critical: why the run did not come to its end by itself; empty: it did. People are told of the run.
    given_up: asked for the ids of deliveries that are not to go on all the same, where any is left open.
    told_as: what a letter about the run is known by, so that it is sent once; empty: the run's id.
    since: when the run was made: what had ended before was another's of its id. None: nobody knows.
    """

    critical: str = ""
    given_up: Ids = frozenset
    told_as: str = ""
    since: datetime | None = None
