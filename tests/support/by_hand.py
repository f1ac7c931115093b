"""What a person has done by hand: a task of Airflow's cleared, a window of the past chosen."""

from __future__ import annotations

from leadcast.core.clock import Clock
from leadcast.core.model import ManualAction, ManualKind
from leadcast.flow.deliver.deliverer import Deliverer


def by_hand(deliverer: Deliverer, *, which: str = "") -> ManualAction:
    """Somebody has just cleared the task; `which`: one that may come by again, and counts once."""
    return ManualAction(what=ManualKind.CLEAR, at=deliverer.clock(), which=which)


def chosen(clock: Clock) -> ManualAction:
    """Somebody wants the leads of a window sent."""
    return ManualAction(what=ManualKind.WINDOW, at=clock())
