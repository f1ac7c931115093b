"""The steps of the sweep: takes over from the dead, rings for what waits, forgets what is old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.engine.runs.trouble import SILENT_AFTER, Trouble, UnsweptError
from leadcast.flow import take_over
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.store import lease, receivers
from leadcast.store.accounts import circuits, memory
from leadcast.store.accounts.limits import StoredLimits
from leadcast.store.batches import bell, lanes
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.sweep")

KEPT_UNUSED = timedelta(days=1)
KEPT_STOPPED = timedelta(days=90)
_TO_COME = frozenset({"queued", "running"})


def forget_old(store: Store, *, clock: Clock = utc_now) -> None:
    """Drops what is known of limits, accounts and receivers and has not been of use for a day, and of workers that have
    died."""
    StoredLimits(store).forget(older_than=KEPT_UNUSED)
    memory.forget_old(store, clock=clock)
    with store.begin() as connection:
        circuits.forget_old(connection, before=clock() - KEPT_UNUSED, stopped_before=clock() - KEPT_STOPPED)
        receivers.forget(connection, before=clock() - KEPT_UNUSED)
        lease.forget_old(connection)


def ring(
    store: Store, settings: Settings, *, run_state: Callable[[str], str | None], clock: Clock = utc_now
) -> str | None:
    """The run that must be created for batches which wait and have none; None: nothing waits, or its run is to come.

    A run that was asked for and is still queued (its DAG is paused, or all places are taken) gets no other beside it:
    after a night they would be hundreds.
    """
    with store.begin() as connection:
        waiting = bell.waiting_run(connection)
    trouble = Trouble()
    with trouble.noted("asking for the run that was rung for", run_id=waiting):
        if waiting is not None:
            note = bell.mark_queued if run_state(waiting) in _TO_COME else bell.mark_gone
            with store.begin() as connection:
                note(connection, run_id=waiting, now=clock())
    return ring_for_rest(store, settings, clock=clock)


def free_lanes(store: Store, *, will_begin: Callable[[str, str], bool]) -> int:
    """Forgets tasks that will not begin any more: their runs are over, or gone, or somebody has marked them. The lanes
    that they were for may have others.

    Args:
        will_begin: whether a run has tasks for an integration that have not begun, and will.

    Returns:
        How many lanes were freed.

    Raises:
        UnsweptError: of some it is not known how they stand.
        StoreError: the store could not be used.
    """
    with store.begin() as connection:
        waited_for = lanes.waited_for(connection)
    trouble, freed = Trouble(), 0
    for kind, run_id in waited_for:
        with trouble.noted(f"asking for {run_id}", run_id=run_id):
            if not will_begin(run_id, kind):
                with store.begin() as connection:
                    lanes.give_up(connection, run_id=run_id, kind=kind)
                freed += 1
        if len(trouble.found) == SILENT_AFTER:
            break
    if trouble.found:
        raise UnsweptError(f"Not known how they stand: {', '.join(trouble.found)}")
    return freed


def pick_up(settler: Settler) -> None:
    """Takes over from dead processes, settles what they have left, and ends what nobody here can send.

    Raises:
        StoreError: the store could not be used.
    """
    take_over.take_over(settler)
    take_over.end_uninstalled(settler)
    take_over.settle_left(settler)
