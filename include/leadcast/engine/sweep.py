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
WAVES_AT_ONCE = 100
_OVER = {None, "success", "failed"}


def settle_dead_waves(
    store: Store, settings: Settings, *, run_state: Callable[[str], str | None], clock: Clock = utc_now
) -> int:
    """Settles what dead waves left; what they had not begun goes back to the inbox.

    Args:
        run_state: how a run stands in Airflow (`running`, `failed`, …); None: there is no such run.

    Returns:
        How many waves were settled.
    """
    with store.begin() as connection:
        waves = batches.open_waves(connection, begun_before=clock() - GRACE, limit=WAVES_AT_ONCE)
    dead = [run_id for run_id in waves if run_state(run_id) in _OVER]
    settler = Settler(store=store, settings=settings, clock=clock)
    for run_id in dead:
        settler.wave(run_id, over=True, critical="the run that carried it is gone", give_back=True)
    return len(dead)
