"""Plans a wave: looks what is due in each lane, and says which tasks there are to be for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.integrations import registry
from leadcast.store.batches import bell, lanes, opening, uninstalled, waiting
from leadcast.store.batches.lanes import Ref
from leadcast.store.database import Store

ONE_BY_ONE = 4
"""So few deliveries have a task each, which is called after its lead."""
MOST = 50
"""For so many due deliveries there is one task: what is sent within a minute or so at the pace of the slower
services."""

MAX_OWN, MAX_TAKERS = 900, 100
"""Tasks of one integration in a run. Airflow maps over 1024 at most ([core] max_map_length). What is beyond is sent
again by a retry."""

log = structlog.get_logger("leadcast.plan")


@dataclass(frozen=True, kw_only=True)
class Takers:
    """Tasks of which each takes what is due by then. `count`: of them; `due`: how many deliveries they are for."""

    count: int
    due: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which tasks a wave has, by integration; types without are absent.

    work: deliveries that have a task each.
    takers: tasks besides, for all that is due.
    """

    work: Mapping[str, Sequence[Ref]]
    takers: Mapping[str, Takers]

    def count(self, kind: str) -> int:
        """How many tasks there are for one integration."""
        its_takers = self.takers.get(kind)
        return len(self.work.get(kind, ())) + (its_takers.count if its_takers else 0)


def plan(
    store: Store,
    settings: Settings,
    *,
    run_id: str,
    own_batch_id: str | None = None,
    since: datetime | None = None,
    clock: Clock = utc_now,
) -> Plan:
    """Says which tasks this run is to have. Nothing is held for them: what is due is its who takes it first. A lane for
    which another run has tasks that have not begun gets none here: they will find all that there is.

    Args:
        own_batch_id: the batch which this run was triggered with, whose deliveries have their tasks here; but where a
            queue stands still, they wait for the run that waits for it: of such runs there may be many.
        since: when this run was made. What a run of before has ended under its id is none of its; None: nobody knows.
    """
    # in a transaction of its own: while the bell is locked nothing can arrive. Who has come before is seen below; who
    # comes now rings for another wave
    with store.begin() as connection:
        bell.reset(connection, run_id=run_id)
    with store.begin() as connection:
        now = clock()
        stand = lanes.lock(connection, registry.types(), run_id=run_id, now=now)
        postponed = uninstalled.postpone(
            connection,
            installed=registry.types(),
            give_up_after=timedelta(seconds=settings.give_up_after_s),
            now=now,
        )
        own = lanes.of_run(connection, run_id=run_id, own_batch_id=own_batch_id, since=since, now=now)
        work: dict[str, list[Ref]] = {}
        takers: dict[str, Takers] = {}
        for kind in registry.types():
            its_own = [ref for ref in own if ref.type == kind and (ref.has_ended or kind not in stand.still)]
            its_own = its_own[:MAX_OWN]
            slots = settings.delivering(kind).slots
            found = lanes.due(connection, kind, now=now, limit=slots * MOST) if kind in stand.free else []
            others = [ref for ref in found if ref not in its_own]
            if len(others) <= ONE_BY_ONE:
                its_own, others = [*its_own, *others], []
            if its_own:
                work[kind] = its_own
            if others:
                takers[kind] = Takers(count=min(ceil(len(others) / MOST), slots, MAX_TAKERS), due=len(others))
        made = Plan(work=work, takers=takers)
        lanes.feed(connection, {kind: made.count(kind) for kind in stand.free}, run_id=run_id, now=now)
        handed = {ref.batch_id for refs in (own, *work.values()) for ref in refs}
        opening.hand_to(connection, batch_ids=handed, run_id=run_id)
    log.info(
        "wave planned",
        run_id=run_id,
        deliveries={kind: len(refs) for kind, refs in work.items()},
        due={kind: its.due for kind, its in takers.items()},
    )
    if postponed:
        log.warning("integrations not installed", run_id=run_id, deliveries=postponed)
    return made


def ring_for_rest(store: Store, settings: Settings, *, kind: str = "", clock: Clock = utc_now) -> str | None:
    """The run that must be created for what is due and has no task; None: nothing is, or the run was asked for.

    Args:
        kind: of this integration; empty: of all.
    """
    timeout = timedelta(seconds=settings.bell_timeout_s)
    with store.begin() as connection:
        now, hold_after = clock(), timedelta(seconds=settings.hold_after_s)
        waiting.end_waiting(
            connection,
            begun_before=now - timedelta(seconds=settings.give_up_after_s),
            older_than=now - hold_after if hold_after else None,
        )
    with store.begin() as connection:
        rest = bell.ring_for_rest(connection, [kind] if kind else registry.types(), now=now, timeout=timeout)
    return rest.run_id if rest and rest.must_ring else None
