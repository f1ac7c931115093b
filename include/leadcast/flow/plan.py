"""Plans a wave: claims what waits, and cuts it into the work of each integration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.integrations import registry
from leadcast.store.batches import bell, claims, room, uninstalled, waiting
from leadcast.store.database import Store

MAX_MAPPED = 1000
"""Deliveries of one integration in a wave. Airflow maps over 1024 at most ([core] max_map_length)."""

log = structlog.get_logger("leadcast.plan")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a wave has claimed, by integration, and whether another wave is needed.

    work: for each integration type, its deliveries; the types not asked for are absent.
    next_run_id: the run that must be created for what this wave left behind; None: nothing is left.
    """

    work: Mapping[str, Sequence[claims.Ref]]
    next_run_id: str | None = None


def plan(
    store: Store,
    settings: Settings,
    *,
    run_id: str,
    own_batch_id: str | None = None,
    since: datetime | None = None,
    clock: Clock = utc_now,
) -> Plan:
    """Claims up to `wave_max_batches` batches for this run, and no more than the waves together can begin soon. Done
    again for the same run, it finds its claims.

    Args:
        own_batch_id: the batch which this run was triggered with, claimed before all others.
        since: when this run was made. What a run of before has ended under its id is none of its; None: nobody knows.
    """
    timeout = timedelta(seconds=settings.bell_timeout_s)
    # in a transaction of its own: the longer the inbox, the longer it takes to look through it, and while the bell is
    # locked nothing can arrive. Who has come before is claimed, or rung for, below; who comes now rings for another
    # wave
    with store.begin() as connection:
        bell.reset(connection, run_id=run_id)
    with store.begin() as connection:
        room.lock(connection)
        now = clock()
        bounds = _bounds(settings)
        claimed = claims.claim(
            connection,
            run_id=run_id,
            own_batch_id=own_batch_id,
            limit=settings.wave_max_batches,
            now=now,
            bounds=bounds,
        )
        postponed = uninstalled.postpone(
            connection,
            run_id=run_id,
            installed=registry.types(),
            give_up_after=timedelta(seconds=settings.give_up_after_s),
            now=now,
        )
        refs = _that_fit(claims.open_refs(connection, run_id=run_id, now=now, since=since))
        # only of what is claimed here: beside us, a task of this run may have claimed a batch again
        claims.requeue_not_begun(connection, batch_ids=claimed - {ref.batch_id for ref in refs})
        full = room.full(connection, bounds, now=now)
        rest = bell.ring_for_rest(connection, now=clock(), timeout=timeout, planned=run_id, full=full)
    work: dict[str, list[claims.Ref]] = {}
    for ref in refs:
        if ref.type in registry.types():  # else it has waited for too long: settling ends it
            work.setdefault(ref.type, []).append(ref)
    log.info(
        "wave planned",
        run_id=run_id,
        batches=len({ref.batch_id for ref in refs}),
        deliveries={kind: len(listed) for kind, listed in work.items()},
    )
    if postponed:
        log.warning("integrations not installed", run_id=run_id, deliveries=postponed)
    return Plan(work=work, next_run_id=rest.run_id if rest and rest.must_ring else None)


def _bounds(settings: Settings) -> Mapping[str, int]:
    return {kind: settings.room(kind) for kind in registry.types()}


def _that_fit(refs: Sequence[claims.Ref]) -> list[claims.Ref]:
    """The deliveries of the first batches, as long as none of the integrations gets more than Airflow maps over."""
    by_batch: dict[str, list[claims.Ref]] = {}
    for ref in refs:
        by_batch.setdefault(ref.batch_id, []).append(ref)
    fitting: list[claims.Ref] = []
    load: Counter[str] = Counter()
    for listed in by_batch.values():
        load.update(ref.type for ref in listed)
        if max(load.values()) > MAX_MAPPED:
            break
        fitting += listed
    return fitting


def ring_for_rest(store: Store, settings: Settings, *, clock: Clock = utc_now) -> str | None:
    """The run that must be created for batches which wait and have none; None: nothing waits, or it was asked for."""
    timeout = timedelta(seconds=settings.bell_timeout_s)
    with store.begin() as connection:
        now, hold_after = clock(), timedelta(seconds=settings.hold_after_s)
        waiting.end_waiting(
            connection,
            begun_before=now - timedelta(seconds=settings.give_up_after_s),
            older_than=now - hold_after if hold_after else None,
        )
    with store.begin() as connection:
        full = room.full(connection, _bounds(settings), now=now)
        rest = bell.ring_for_rest(connection, now=now, timeout=timeout, full=full)
    return rest.run_id if rest and rest.must_ring else None
