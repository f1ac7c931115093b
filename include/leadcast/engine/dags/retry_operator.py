"""The task of `retry_leads`: which window a run is for, and putting back what has failed in it.

The schedule and a backfill bring their window as the run's data interval. A run that a person triggers has the fields
of the form, or the last day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk import BaseOperator, Param

from leadcast.core.errors import SettingsError
from leadcast.engine.dags.wave_operators import RING_STUB

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = structlog.get_logger("leadcast.retry")

LAST = timedelta(hours=24)
"""The window of a run that names none: so much up to its start. And how far a scheduled run looks back beyond its hour:
each lead gets its `retry_rounds`, an hour between them, whenever it has ended."""
_WITH_INTERVAL = ("scheduled", "backfill")


@dataclass(frozen=True)
class Window:
    """Which batches a run is for: those accepted from `since` to before `until`."""

    since: datetime
    until: datetime

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"


def window_form() -> dict[str, Param]:
    """The fields of Airflow's Trigger form."""
    of_them = "Scheduled runs and backfills have a window of their own."
    return {
        "since": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="Since",
            description="Leads accepted from then on, with a time zone: 2026-11-25T14:00:00+03:00. "
            f"Empty: 24 hours before the end. {of_them}",
        ),
        "until": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="Until",
            description="Leads accepted before then, with a time zone. Empty: up to the start of this run.",
        ),
    }


def window_of(
    *, run_type: str, interval: tuple[datetime | None, datetime | None], params: Mapping[str, Any], run_after: datetime
) -> Window:
    """From when to when batches were accepted that a run of `retry_leads` looks through.

    Args:
        run_type: as Airflow calls it (`scheduled`, `backfill`, `manual`, …).
        interval: its data interval; of use only where the run is made for it. That of a manual run is whatever hour was
            over when somebody pressed the button.
        params: `since` and `until`, of a run that a person has triggered.
        run_after: when it was to start; the same again when it is cleared.

    Raises:
        SettingsError: they make no window; says what to write instead.
    """
    since, until = (_time(name, params.get(name)) for name in ("since", "until"))
    start, end = interval
    if run_type in _WITH_INTERVAL and start is not None and end is not None:
        if since is not None or until is not None:
            raise SettingsError(f"since, until: a {run_type} run has its own window. Leave them out, or trigger a run.")
        # what was accepted just before the hour, or has waited long, ends after its own hour was looked through
        earlier = LAST if run_type == "scheduled" else timedelta()
        return Window(start.astimezone(UTC) - earlier, end.astimezone(UTC))
    until = until or run_after.astimezone(UTC)
    since = since or until - LAST
    if since >= until:
        raise SettingsError(f"since ({since.isoformat()}) must be before until ({until.isoformat()}).")
    return Window(since, until)


def _time(name: str, value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        given = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name}: {value!r} is no time. Write it as 2026-11-25T14:00:00+03:00.") from None
    if given.tzinfo is None:
        raise SettingsError(f"{name}: {value!r} has no time zone. Write {value}Z for UTC, or {value}+03:00.")
    return given.astimezone(UTC)


class RetryOperator(BaseOperator):
    """Requeues what has failed in the run's window and may pass."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Requeues it, and hands on the id of the wave that has to be created.

        Returns:
            The window and the counts: `{"since": …, "until": …, "batches": 3, "deliveries": 5, "put_back": "3 …"}`.

        Raises:
            AirflowFailException: the fields of the form make no window.
            StoreError: the store could not be used; what was requeued by then will be sent.
        """
        from airflow.sdk.exceptions import AirflowFailException

        from leadcast.control.retry import Retrier
        from leadcast.core.clock import utc_now
        from leadcast.core.model import ManualAction, ManualKind
        from leadcast.engine.dags import mapping
        from leadcast.engine.settings import config

        run = context["dag_run"]
        try:
            window = window_of(
                run_type=str(run.run_type.value),
                interval=(run.data_interval_start, run.data_interval_end),
                params=context["params"],
                run_after=run.run_after,
            )
        except SettingsError as error:
            raise AirflowFailException(str(error)) from None
        # whoever starts a past window again wants its leads sent, however old they are
        is_manual = run.run_type.value != "scheduled" or self._was_cleared(context)
        action = ManualAction(what=ManualKind.WINDOW, at=utc_now()) if is_manual else None
        done = Retrier(store=config.store(), settings=config.settings()).window(
            since=window.since, until=window.until, action=action
        )
        mapping.feed(context, {RING_STUB: [done.run_id] if done.run_id else []})
        put_back = f"{_counted(done.batches, 'lead')}, {_counted(done.deliveries, 'delivery', 'deliveries')} put back"
        log.info("window looked through", window=str(window), wanted=is_manual, put_back=put_back)
        return {
            "since": window.since.isoformat(),
            "until": window.until.isoformat(),
            "batches": done.batches,
            "deliveries": done.deliveries,
            "put_back": put_back,
        }

    def _was_cleared(self, context: Context) -> bool:
        """Airflow (3.3.2) puts a cleared task's retries on top of its tries so far."""
        return (context["ti"].max_tries or 0) > (self.retries or 0)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
