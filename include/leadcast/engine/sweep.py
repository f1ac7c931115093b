"""Finds waves whose run is gone or over while their batches are still open, and settles them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.settle import Settler
from leadcast.store import batches
from leadcast.store.database import Store

GRACE = timedelta(minutes=1)
"""How long a wave may be unknown to Airflow before it counts as gone."""
WAVES_AT_ONCE = 100
ENDED_EARLY = "the run ended before its deliveries did: stopped by hand, or killed"
GONE = "the run that carried it is gone"
_OVER = frozenset({"success", "failed"})


def settle_dead_waves(
    store: Store, settings: Settings, *, run_state: Callable[[str], str | None], clock: Clock = utc_now
) -> int:
    """Settles what dead waves left. Of a run that is gone, what was not begun goes back to the inbox.

    This is also what notices a run that a person marked in the UI: Airflow 3.3.2 calls no callback of the DAG then.

    Args:
        run_state: how a run stands in Airflow (`running`, `failed`, …); None: there is no such run.

    Returns:
        How many waves were settled.
    """
    with store.begin() as connection:
        waves = batches.open_waves(connection, limit=WAVES_AT_ONCE)
    settler = Settler(store=store, settings=settings, clock=clock)
    settled = 0
    for wave in waves:
        state = run_state(wave.run_id)
        if state in _OVER:
            settler.wave(wave.run_id, over=True, critical=ENDED_EARLY)
        elif state is None and clock() - wave.begun_at > GRACE:
            settler.wave(wave.run_id, over=True, critical=GONE, give_back=True)
        else:
            continue
        settled += 1
    return settled
