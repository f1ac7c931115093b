"""Whether an integration that is slow, or whose queue stands still, leaves room for the others.

What `leadcast doctor` says of the pools beside what the executor runs at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

from leadcast.engine.setup.finding import Finding, Level

PER_WORKER = "[celery] worker_concurrency"


def examine() -> Iterator[Finding]:
    """Compares each of our pools with what runs at once, in all and in one worker of Celery's."""
    from airflow.configuration import conf
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    from leadcast.engine.settings import config
    from leadcast.engine.setup.init import wanted_pools

    wanted = wanted_pools(config.settings())
    with create_session() as session:
        pools = {pool.pool: pool.slots for pool in Pool.get_pools(session=session) if pool.pool in wanted}
    places = {"[core] parallelism": conf.getint("core", "parallelism")}
    if "celery" in conf.get("core", "executor").lower():
        places[PER_WORKER] = conf.getint("celery", "worker_concurrency")
    yield from judge(pools, places)


def judge(pools: Mapping[str, int], places: Mapping[str, int]) -> Iterator[Finding]:
    """What is to be said of pools of these sizes.

    Args:
        pools: pool → slots; negative: it has no bound.
        places: setting → how many tasks run at once by it.
    """
    if not pools:
        return  # said by the check of the pools
    name = max(pools, key=lambda pool: pools[pool] if pools[pool] >= 0 else inf)
    slots = pools[name] if pools[name] >= 0 else inf
    is_well = True
    for setting, count in places.items():
        if slots < count / 2 or count == 0:  # a parallelism of 0 is no bound
            continue
        is_well = False
        mend = f"Give each pool at most {max((count - 1) // 2, 1)} slots (Admin → Pools)"
        if slots < inf:
            mend += f", or set it to more than {2 * slots}"
        if setting == PER_WORKER:
            mend += ". Where each queue has a worker of its own, it is well as it is"
        what = f"slots: pool {name} has {slots}, {setting} is {count}"
        yield Finding(Level.WARN, f"{what}: when its service is slow, or its queue stands still, the others wait", mend)
    if is_well:
        yield Finding(Level.OK, f"slots: no pool has more than {slots}, less than half of what runs at once")
