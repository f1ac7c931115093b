"""Keeps inline secrets of a run's `conf` out of Airflow's database, whichever door the run comes through.

Three guards seal it, each before Airflow writes anything: `api.trigger_guard` (REST, the trigger form) and
`command_line` (what a shell sends, before its audit row), for who brings it; and below every door `watch` here,
for the run. Light to import: the plugin and every Airflow process load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from leadcast.core.errors import LeadTableError, SettingsError, StoreError
from leadcast.core.request_errors import RequestRejected
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal import airflow_rows
from leadcast.engine.seal.sealed_conf import body_of, by_caller, kept, of_run, open_conf, seal_conf

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper

    from leadcast.core.conn_ids import ConnIds
    from leadcast.flow.request import SendBatch
    from leadcast.store.sealing import Purpose, Sealer

_A_PERSON = ("rest_api", "ui", "cli")
"""Airflow's names of the doors at which the user whom it notes beside a run has brought the conf himself. A task that
triggers a run hands on the name of who has started its own."""
_BY_TASK = "operator"
"""Airflow's word for a run that a task has triggered."""
WHAT_TO_DO = (
    'Name Airflow connections instead, as in "credentials": {"amocrm": {"conn_id": "…"}}, '
    "or send the request to POST /api/integrations/send-batch."
)


class Checked(NamedTuple):
    """A conf that Airflow may see. `lead_id`: of a lead that it does not bring, and somebody is to be asked for."""

    conf: dict[str, Any]
    lead_id: str | None


def checked(conf: Mapping[str, Any], sealer: Sealer, *, caller: str | None) -> dict[str, Any]:
    """The conf as Airflow may see it: validated like any request, and sealed for who brings it.

    Args:
        caller: the user's name, as Airflow will write it beside the run.

    Raises:
        InvalidRequest: with every field at fault; or it is sealed, and not by this user.
    """
    return checked_for(conf, sealer, caller=caller).conf


def checked_for(conf: Mapping[str, Any], sealer: Sealer, *, caller: str | None) -> Checked:
    """As `checked`, with what is left to be asked for.

    Raises:
        InvalidRequest: as there.
    """
    for_, conf = by_caller(caller), kept(conf)
    opened = _checked(conf, sealer, opens_for=for_)
    if opened is None:
        return Checked(conf, None)
    return Checked(seal_conf(opened, sealer, for_=for_), _lead_to_find(opened))


def _lead_to_find(opened: Mapping[str, Any]) -> str | None:
    return None if "lead" in (body_of(opened) or {}) else str(opened["lead_id"])


def _checked(
    conf: Mapping[str, Any], sealer: Sealer, *, opens_for: Purpose, conn_ids: ConnIds | None = None
) -> dict[str, Any] | None:
    """The conf, open, as Airflow's own check takes it; None: it is a bell.

    Args:
        conn_ids: which connections it may name; None: that is not looked at.
    """
    from leadcast.flow.request import validate

    opened = open_conf(conf, sealer, for_=opens_for, only_bound=True)
    body = body_of(opened)
    return None if body is None else _as_its_form_takes_it(opened, validate(body, conn_ids=conn_ids))


def _as_its_form_takes_it(conf: Mapping[str, Any], request: SendBatch) -> dict[str, Any]:
    """The conf as Airflow's own check of the form takes it, and under the id by which the lead is erased."""
    from leadcast.core.meant import as_meant
    from leadcast.flow.request import SendBatch

    fields = SendBatch.model_fields
    meant = {key: value for key, value in as_meant(SendBatch, conf).items() if value != {}}
    given = {key: meant.get(key, value) for key, value in conf.items() if key in meant or key not in fields}
    lead_id = conf["lead_id"]
    return given | {"lead_id": lead_id if str(lead_id) == request.lead_id else request.lead_id}


def watch() -> None:
    """From now on no run of `send_lead` is written by this process with a conf that is open or wrong. May be repeated.

    Listens to all mappers, so that the models of Airflow need not be imported for it.
    """
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    for moment in ("before_insert", "before_update"):
        if not event.contains(Mapper, moment, _before_write):
            event.listen(Mapper, moment, _before_write)


def _before_write(mapper: Mapper[Any], connection: Connection, target: Any) -> None:
    if not airflow_rows.are_of(mapper, "dag_run"):
        return
    from sqlalchemy import inspect

    if target.dag_id != DAG_ID:
        return
    row = inspect(target)
    is_given = row.attrs.conf.history.has_changes()
    # for the first time, or since somebody has cleared it
    is_to_come = not row.persistent or "queued" in (row.attrs["_state"].history.added or ())
    if not (is_given or is_to_come):
        return
    if is_given and (conf := kept(target.conf)) != (target.conf or {}):
        target.conf = conf
    if not body_of(target.conf):
        return
    if is_given:
        _refuse_from_task(target)
        of_ours = of_run(target.run_id) if row.persistent else by_caller(target.triggering_user_name)
        target.conf = _admitted(target.conf, opens_for=of_ours, seals_for=purpose_of(target))
    if is_to_come:
        _note(target.run_id, is_new=not row.persistent)


def _refuse_from_task(run: Any) -> None:
    """Raises RequestRejected where a task hands on what Airflow shows with the task."""
    from leadcast.engine.seal.triggering_tasks import refuse_inline_secrets

    if getattr(run.triggered_by, "value", run.triggered_by) == _BY_TASK:
        refuse_inline_secrets(run.conf)


def _note(run_id: str, *, is_new: bool) -> None:
    from leadcast.engine.seal import run_notes

    run_notes.write(run_id, is_new=is_new)


def purpose_of(run: Any) -> Purpose:
    """What the conf of this run, as Airflow's database has it, is sealed for.

    Args:
        run: has run_id, triggered_by, triggering_user_name.
    """
    door = getattr(run.triggered_by, "value", run.triggered_by)
    return of_run(run.run_id, caller=run.triggering_user_name if door in _A_PERSON else None)


def _admitted(conf: Mapping[str, Any], *, opens_for: Purpose, seals_for: Purpose) -> dict[str, Any]:
    """The conf as it may be stored.

    Args:
        opens_for: what it is sealed for where it came sealed.

    Raises:
        RequestRejected: which Airflow, since it is a ValueError, answers with 400 and the text.
    """
    from leadcast.engine.seal import lead_of_run
    from leadcast.engine.settings import config

    try:
        store = config.store()
        opened = _checked(conf, store.sealer, opens_for=opens_for, conn_ids=config.settings().conn_ids())
        if opened is None:
            return dict(conf)
        lead_id = _lead_to_find(opened)
        # by the time of the plan the table may be away, and the run would be lost
        lead = None if lead_id is None else lead_of_run.find(lead_id, store)
        return seal_conf(opened, store.sealer, for_=seals_for, table_lead=lead)
    except StoreError as error:
        what = "Try again in a few seconds, or send the lead's data"
        raise RequestRejected(f"This run cannot be accepted: {error} {what}.") from None
    except SettingsError as error:
        raise RequestRejected(f"This run cannot be accepted: {error} {WHAT_TO_DO}") from None
    except LeadTableError:
        what = "The lead table cannot be read just now. Try again, or send the lead's data"
        raise RequestRejected(f"This run cannot be accepted: {what}. `leadcast doctor` says what is wrong.") from None
