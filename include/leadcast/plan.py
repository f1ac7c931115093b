"""Plans a wave: claims what waits, and cuts it into the work of each integration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.store import batches, bell
from leadcast.store.database import Store

MAX_MAPPED = 1000
"""Deliveries of one integration in a wave. Airflow maps over 1024 at most ([core] max_map_length)."""

log = structlog.get_logger("leadcast.plan")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a wave does.

    work: for each integration type, its deliveries; the types not asked for are absent.
    next_run_id: the run that must be created for what this wave left behind; None: nothing is left.
    """

    work: Mapping[str, Sequence[batches.Ref]]
    next_run_id: str | None = None


def plan(
    store: Store, settings: Settings, *, run_id: str, own_batch_id: str | None = None, clock: Clock = utc_now
) -> Plan:
    """Claims up to `wave_max_batches` batches for this run. Done again for the same run, it finds its claims.

    Args:
        own_batch_id: the batch which this run was triggered with, claimed before all others.
    """
    timeout = timedelta(seconds=settings.bell_timeout_s)
    with store.begin() as connection:
        bell.clear(connection, run_id=run_id)
        batches.claim(
            connection, run_id=run_id, own_batch_id=own_batch_id, limit=settings.wave_max_batches, now=clock()
        )
        refs = _that_fit(batches.open_refs(connection, run_id=run_id))
        batches.keep_claims(connection, run_id=run_id, batch_ids={ref.batch_id for ref in refs})
        rest = bell.ring_for_rest(connection, now=clock(), timeout=timeout)
    work: dict[str, list[batches.Ref]] = {}
    for ref in refs:
        work.setdefault(ref.type, []).append(ref)
    log.info(
        "wave planned",
        run_id=run_id,
        batches=len({ref.batch_id for ref in refs}),
        deliveries={kind: len(listed) for kind, listed in work.items()},
    )
    return Plan(work=work, next_run_id=rest.run_id if rest and rest.must_ring else None)


def _that_fit(refs: Sequence[batches.Ref]) -> list[batches.Ref]:
    """The deliveries of the first batches, as long as none of the integrations gets more than Airflow maps over."""
    by_batch: dict[str, list[batches.Ref]] = {}
    for ref in refs:
        by_batch.setdefault(ref.batch_id, []).append(ref)
    fitting: list[batches.Ref] = []
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
        rest = bell.ring_for_rest(connection, now=clock(), timeout=timeout)
    return rest.run_id if rest and rest.must_ring else None
