"""`leadcast prune`: erases old leads from the store and deletes old runs from Airflow's database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from leadcast.control.erase import Eraser
from leadcast.core.clock import utc_now
from leadcast.engine.dag_ids import DAGS
from leadcast.engine.runs import lead_traces, old_runs
from leadcast.engine.runs.old_runs import Rule
from leadcast.engine.settings import config
from leadcast.engine.setup.init import in_airflows_database

Advance = Callable[[int], None]
"""Told how many more leads, batches or runs are done."""


def count() -> dict[str, int]:
    """How many leads, batches and runs would go: what it is → number.

    Raises:
        SettingsError, StoreError: the store or Airflow's database cannot be used.
    """
    found = _eraser().count_old()
    runs = in_airflows_database(lambda: old_runs.count(_rules()))
    return {**_named(found), **_of_dags(runs)}


def prune(advance: Advance) -> dict[str, int]:
    """Does it, and goes on with erasures that were asked for. May be run again, and while Airflow runs.

    Returns:
        How many of each kind have gone.

    Raises:
        SettingsError, StoreError: the store or Airflow's database cannot be used; what is done stays done.
    """
    eraser = _eraser()
    for erasure in eraser.open_ones():
        erase = partial(
            lead_traces.erase_in_database,
            erasure.lead_id,
            reach=erasure.reach,
            was_there=partial(eraser.was_there, erasure),
        )
        eraser.in_airflow(erasure.lead_id, in_airflows_database(erase))
    asked = sum(report.erasure.done_at is not None for report in eraser.go_on())
    erased = eraser.old(advance=advance)
    runs = in_airflows_database(lambda: old_runs.delete(_rules(), advance=advance))
    found = {"leads": erased.leads, "batches": erased.batches}
    return {**_named(found), "erasures that were asked for": asked, **_of_dags(runs)}


def kept_for_ever() -> str:
    """The settings that keep something for ever, in words; empty: none does."""
    settings = config.settings()
    kept = {"keep_leads_days": settings.keep_leads_days, "keep_runs_days": settings.keep_runs_days}
    return ", ".join(f"{name} = 0" for name, days in kept.items() if not days)


def _named(found: Mapping[str, int]) -> dict[str, int]:
    return {"stored leads": found["leads"], "batches, their personal data": found["batches"]}


def _of_dags(runs: Mapping[str, int]) -> dict[str, int]:
    return {f"runs of {dag_id}": number for dag_id, number in runs.items()}


def _rules() -> list[Rule]:
    return old_runs.rules(config.settings(), dag_ids=DAGS, now=utc_now())


def _eraser() -> Eraser:
    return Eraser(store=config.store(), settings=config.settings())
