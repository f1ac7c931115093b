"""The steps of the sweep: settles waves whose run is gone or over, rings for what waits, forgets what is old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.ending import Ending
from leadcast.core.settings import Settings
from leadcast.engine.runs.ended import Runs, wave_left
from leadcast.engine.runs.trouble import SILENT_AFTER, Trouble, UnsweptError
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.store import lease, receivers
from leadcast.store.accounts import circuits, memory
from leadcast.store.accounts.limits import StoredLimits
from leadcast.store.batches import bell, claims
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.sweep")

WAVES_AT_ONCE = 1000
"""More than there are runs at once: waves that are on their way must not hide a dead one behind them."""
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


def settle_dead_waves(settler: Settler, *, runs: Runs) -> int:
    """Settles what dead waves left. What they have not begun is requeued; what they have begun is, too, unless a
    person has stopped the run.

    This is also what notices a run that a person marked in the UI: Airflow 3.3.2 calls no callback of the DAG then.

    Returns:
        How many waves were settled.

    Raises:
        UnsweptError: some could not be settled; all others were.
        StoreError: the store could not be used.
    """
    with settler.store.begin() as connection:
        waves = claims.open_waves(connection, limit=WAVES_AT_ONCE)
    asking, settling = Trouble(), Trouble()
    settled = silent = 0
    for wave in waves:
        ending: Ending | None = None
        unanswered = len(asking.found)
        with asking.noted(f"asking for {wave.run_id}", run_id=wave.run_id):
            ending = wave_left(wave, runs, now=settler.clock())
        silent = silent + 1 if len(asking.found) > unanswered else 0
        if silent == SILENT_AFTER:
            break
        if ending is None:
            continue
        with settling.noted(f"settling {wave.run_id}", run_id=wave.run_id):
            settler.wave(wave.run_id, ending)
            settled += 1
    found = [*asking.found, *settling.found]
    if found:
        raise UnsweptError(f"{len(found)} of {len(waves)} open waves not settled: {', '.join(found[:SILENT_AFTER])}")
    return settled
