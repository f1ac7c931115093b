"""The request that a run was triggered with, and the batch that it has become: one, however often its plan is run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

CLOCKS_APART = timedelta(minutes=1)
"""How far the clock of who accepts, or sends, may be behind that of who made the run."""


class Run(Protocol):
    """What is looked at of Airflow's DAG run."""

    @property
    def run_id(self) -> str:
        """Another's, once the run is deleted and made anew."""

    @property
    def run_after(self) -> datetime:
        """When it may start at the earliest. A clear leaves it, so it tells a run from a later one of its id."""

    @property
    def clear_number(self) -> int | None:
        """How often it, or a task of it, was cleared (Airflow 3.3.2)."""

    @property
    def conf(self) -> Mapping[str, Any] | None:
        """The request, sealed; nothing for a bell."""


def run_key(run: Run) -> str:
    """What a run is known by: its id may be another's once it is deleted. The same after a clear."""
    return f"{run.run_id} {run.run_after.isoformat()}"


def made_at(run: Run) -> datetime:
    """When it was made at the earliest, by the clock of whoever sends: what had ended before is none of its."""
    return run.run_after - CLOCKS_APART


def earliest(run_after: datetime, queued_at: datetime | None) -> datetime:
    """The same, where it is also known when the run was queued, last: it may have been made to begin much later."""
    return min(run_after, queued_at or run_after) - CLOCKS_APART


def told_as(run: Run) -> str:
    """What a letter about a run is known by: sent once, and once more when somebody has cleared the run since."""
    return f"{run_key(run)} {run.clear_number or 0}"


def accept(run: Run, *, is_over: bool = False) -> str | None:
    """The batch of a run that was triggered with a request as its `conf`; None for a bell.

    Args:
        is_over: the run sends nothing any more: another does.

    Raises:
        RequestRejected, SettingsError: it cannot be accepted.
        StoreError, LeadTableError: the store, or the lead source, could not be used.
    """
    from leadcast.core.errors import StoreError
    from leadcast.engine.seal.sealed_conf import body_of, of_run, open_conf, table_lead
    from leadcast.engine.settings import config
    from leadcast.store.batches import run_requests
    from leadcast.store.batches.batches import RUN

    body = body_of(run.conf)
    if body is None:
        return None
    sealer, for_ = config.store().sealer, of_run(run.run_id)
    request, lead = open_conf(body, sealer, for_=for_), table_lead(body, sealer, for_=for_)
    batch_id = _known(run, request)
    if batch_id is None:
        key = _key(run, request)
        accepted = config.inbox().accept(
            request,
            idempotency_key=key,
            caller=RUN,
            run_id=run.run_id,
            is_over=is_over,
            lead=lead,
            sent_by=_triggered_by(run),
            made_at=_noted_at(run),
        )
        batch_id = accepted.batch_id
    # else the sweep finds that there is one
    with suppress(StoreError), config.store().begin() as connection:
        run_requests.forget(connection, run_id=run.run_id)
    return batch_id


def _noted_at(run: Run) -> datetime:
    """When the run was made, by the store's clock: whoever triggers a run may give it any `run_after`.

    Where that was not noted, and of a cleared run, whose note may be of the clear, `run_after` counts, at its earliest:
    a lead that was erased by mistake can be sent again, one that comes back may stay unseen.
    """
    from leadcast.engine.settings import config
    from leadcast.store.batches import run_requests

    with config.store().begin() as connection:
        noted = run_requests.noted_at(connection, run_id=run.run_id)
    if noted is None:
        return made_at(run)
    return min(noted, made_at(run)) if run.clear_number else noted


def _triggered_by(run: Run) -> str | None:
    """The user who has triggered it, by the name that he has at the API; None: nobody did."""
    return getattr(run, "triggering_user_name", None) or None


def lead_id(run: Run) -> str:
    """Whose request it is; it is nowhere sealed."""
    return str((run.conf or {}).get("lead_id", ""))


def is_lost(run: Run) -> bool:
    """Whether a run that has ended was triggered with a request that is no batch: nothing but its conf knows of it.

    Raises:
        StoreError: the store could not be used.
    """
    from leadcast.core.errors import SettingsError
    from leadcast.core.request_errors import RequestRejected
    from leadcast.engine.seal.sealed_conf import body_of, of_run, open_conf
    from leadcast.engine.settings import config

    body = body_of(run.conf)
    if body is None:
        return False
    try:
        request = open_conf(body, config.store().sealer, for_=of_run(run.run_id))
        return _known(run, request) is None
    except (RequestRejected, SettingsError):
        return True


def _key(run: Run, request: Mapping[str, Any]) -> str:
    """Of one request of one run; one of another run that had this id before is another."""
    from leadcast.flow.request import fingerprint

    return f"{run_key(run)} {fingerprint(request)}"


def _known(run: Run, request: Mapping[str, Any]) -> str | None:
    """The batch that it became when its plan was run before, and be it by an older version, which knew it by the run's
    id alone: that one is ours only if no run of before can have brought it."""
    from leadcast.engine.settings import config
    from leadcast.flow.request import fingerprint
    from leadcast.store.batches.batches import RUN, known, scoped_key

    with config.store().begin() as connection:
        found = known(connection, idempotency_key=scoped_key(RUN, _key(run, request)))
        if found is not None:
            return found.batch_id
        older = known(connection, idempotency_key=scoped_key(RUN, run.run_id))
    if older is None or older.accepted_at < made_at(run):
        return None
    # what is erased has lost its fingerprint
    return older.batch_id if older.body_sha256 in ("", fingerprint(request)) else None
