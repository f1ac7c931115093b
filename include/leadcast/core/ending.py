"""How a wave has ended, and what becomes of what it leaves open. Said once, by whoever sees the end; settling obeys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

Ids = Callable[[], Collection[str]]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a wave: nothing of it works any more, so what is still open in the ledger will not end by itself. What
    it has never begun is requeued, whatever has ended it; a later wave carries it on.

    critical: why the wave could not be run to its end; empty: it was. Said of batches that end with it, and of the run.
    requeue_begun: nobody wanted the wave to end so: what it has begun and what has tries left is requeued, too.
    had_its_chance: its plan has failed, and what it has claimed may be why: that is requeued up to `max_claims` times
        only.
    given_up: asked for the ids of deliveries that are not to go on all the same, where any is left open.
    failed_with: as `given_up`, for those whose own tasks have failed: each may be why, and is requeued up to
        `max_claims` times only.
    told_as: what a letter about the run is known by, so that it is sent once; empty: the run's id.
    since: when the run was made: what had ended before was another's of its id. None: nobody knows.
    """

    critical: str = ""
    requeue_begun: bool = False
    had_its_chance: bool = False
    given_up: Ids = frozenset
    failed_with: Ids = frozenset
    told_as: str = ""
    since: datetime | None = None
