"""Keeps inline secrets of a run's `conf` out of Airflow's database, whichever door the run comes through.

A sealed conf is the same request with `"credentials": {"sealed": "gAAAA…"}`; the sealed text holds the credentials,
the callback URL, which may have a token in it, and the lead's data, which is personal. A lead of the user's own table
is kept in there, too, as it was when the run was accepted; and a priority that Airflow's own check would not take.

Three guards put it so, each before Airflow writes anything: `api.trigger_guard` (REST, the trigger form),
`engine.command_line` (what a shell sends, before its audit row), and `watch` here, below every door, the last one.
Light to import: the plugin and every Airflow process load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from leadcast.core.errors import (
    FieldError,
    InvalidRequest,
    LeadNotFound,
    LeadTableError,
    RequestRejected,
    SettingsError,
    StoreError,
)
from leadcast.core.model import Priority

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper

    from leadcast.core.tidy import Tidied
    from leadcast.request import SendBatch
    from leadcast.store.database import Store
    from leadcast.store.sealing import Sealer

DAG_ID = "send_lead"
SEALED = "sealed"
_SECRET_FIELDS = ("credentials", "callback_url", "lead")
_PRIORITY = "priority"
_TABLE_LEAD = "table_lead"
_NOTES = "notes"
_AIRFLOWS_OWN = "airflow/"
_NOTED_WITHIN_S = 1.0
WHAT_TO_DO = (
    'Name Airflow connections instead, as in "credentials": {"amocrm": {"conn_id": "…"}}, '
    "or send the request to POST /api/integrations/send-batch."
)


def body_of(conf: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The request that a run's conf holds, or None for a bell: a run without a request of its own.

    The trigger form sends every param, so what is null or empty counts as absent, and a priority alone is no request.
    """
    body = {
        key: value
        for key, value in (conf or {}).items()
        if value is not None and value != {} and value != "" and not key.startswith(_AIRFLOWS_OWN)
    }
    return body if body.keys() - {_PRIORITY} else None


def has_secrets(conf: Mapping[str, Any]) -> bool:
    """Whether this conf holds, in clear, what must be sealed."""
    return bool(_misfits(conf)) or any(
        conf.get(key) for key in _SECRET_FIELDS if key != "credentials" or not is_sealed(conf)
    )


def _misfits(conf: Mapping[str, Any]) -> tuple[str, ...]:
    """What Airflow's own check of the form would refuse, and we only note: it is sealed as it came."""
    priority = conf.get(_PRIORITY)
    return (_PRIORITY,) if priority and priority not in list(Priority) else ()


def seal_conf(conf: Mapping[str, Any], sealer: Sealer, *, table_lead: Tidied | None = None) -> dict[str, Any]:
    """The same conf with its secrets sealed. One without secrets, or sealed before, comes back as it is.

    Args:
        table_lead: the lead as the user's own table has it, to be kept with the secrets.

    Raises:
        InvalidRequest: part of it is sealed already, with another key.
    """
    if not has_secrets(conf) and table_lead is None:
        return dict(conf)
    opened = open_conf(conf, sealer)
    secret = {key: opened[key] for key in (*_SECRET_FIELDS, *_misfits(opened)) if opened.get(key)}
    rest = {key: value for key, value in opened.items() if key not in secret}
    if table_lead is not None:
        notes = [note.to_data() for note in table_lead.notes]
        secret[_TABLE_LEAD] = {"id": str(opened["lead_id"]), **table_lead.data, _NOTES: notes}
    return rest | {"credentials": {SEALED: sealer.seal(secret)}}


def open_conf(conf: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """The conf as it was before it was sealed. One that is not sealed comes back as it is.

    Raises:
        InvalidRequest: what is sealed cannot be opened here, or is not what we sealed.
    """
    if not is_sealed(conf):
        return dict(conf)
    secret = _opened(conf, sealer)
    secret.pop(_TABLE_LEAD, None)
    # what stands beside it in clear was given later, say in the trigger form of an old run's conf
    later = {key: value for key, value in conf.items() if key != "credentials" and (value or key not in secret)}
    return secret | later


def table_lead(conf: Mapping[str, Any], sealer: Sealer) -> Tidied | None:
    """The lead as the user's own table had it when the run was accepted; None: it came otherwise.

    Raises:
        InvalidRequest: what is sealed cannot be opened here.
    """
    kept = _opened(conf, sealer).get(_TABLE_LEAD) if is_sealed(conf) else None
    if not kept or kept.pop("id") != str(conf.get("lead_id")):
        return None
    from leadcast.core.notes import Note
    from leadcast.core.tidy import Tidied

    return Tidied(notes=tuple(map(Note.of, kept.pop(_NOTES, ()))), data=kept)


def _opened(conf: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    secret: Any = None
    with suppress(SettingsError, ValueError):
        secret = sealer.open(conf["credentials"][SEALED])
    if not isinstance(secret, dict) or not secret.keys() <= {*_SECRET_FIELDS, _PRIORITY, _TABLE_LEAD}:
        msg = "cannot be opened here: it was sealed with another key. Send the credentials anew"
        raise InvalidRequest(f"credentials.sealed: {msg}.", errors=[FieldError(("credentials", SEALED), msg)])
    return dict(secret)


def is_sealed(conf: Mapping[str, Any]) -> bool:
    """Whether the credentials of this conf are sealed."""
    credentials = conf.get("credentials")
    return isinstance(credentials, Mapping) and isinstance(credentials.get(SEALED), str) and len(credentials) == 1


def checked(conf: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """The conf as Airflow may store it: validated like any request, and sealed.

    Raises:
        InvalidRequest: with every field at fault.
    """
    from leadcast.request import validate

    body = body_of(open_conf(conf, sealer))
    if body is None:
        return dict(conf)
    return seal_conf(_as_its_form_takes_it(conf, validate(body)), sealer)


def _as_its_form_takes_it(conf: Mapping[str, Any], request: SendBatch) -> dict[str, Any]:
    """The conf as Airflow's own check of the form takes it, and under the id by which the lead is erased."""
    from leadcast.core.meant import as_meant
    from leadcast.request import SendBatch

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
    if getattr(mapper.local_table, "name", "") != "dag_run":
        return
    from sqlalchemy import inspect

    if target.dag_id != DAG_ID:
        return
    of_run = inspect(target)
    is_given = of_run.attrs.conf.history.has_changes()
    # for the first time, or since somebody has cleared it
    is_to_come = not of_run.persistent or "queued" in (of_run.attrs["_state"].history.added or ())
    if not (is_given or is_to_come) or not body_of(target.conf):
        return
    if is_given:
        target.conf = _admitted(target.conf)
    if is_to_come:
        _note(target.run_id)


def _note(run_id: str) -> None:
    """So that the sweep finds it, whatever ends it before its plan has accepted the request. No reason to refuse it, or
    to hold up Airflow, which has a transaction open meanwhile."""
    from leadcast.core.bounded import NotInTime, within

    with suppress(SettingsError, StoreError, NotInTime):
        within(_NOTED_WITHIN_S, lambda: _write_note(run_id), name="note-run")


def _write_note(run_id: str) -> None:
    from leadcast.core.clock import utc_now
    from leadcast.engine import config
    from leadcast.store import run_requests

    with config.store().begin() as connection:
        run_requests.note(connection, run_id=run_id, now=utc_now())


def _admitted(conf: Mapping[str, Any]) -> dict[str, Any]:
    """The conf as it may be stored.

    Raises:
        RequestRejected: which Airflow, since it is a ValueError, answers with 400 and the text.
    """
    from leadcast.engine import config

    try:
        store = config.store()
        admitted = checked(conf, store.sealer)
        body = body_of(open_conf(admitted, store.sealer)) or {}
        if "lead" in body:
            return admitted
        lead = _lead_of(str(body["lead_id"]), store)
    except (SettingsError, StoreError) as error:
        raise RequestRejected(f"This run cannot be accepted: {error} {WHAT_TO_DO}") from None
    except LeadTableError as error:
        import structlog  # every process of Airflow's imports this module

        structlog.get_logger("leadcast.conf_guard").error("lead table not available", reason=str(error))
        what = "The lead table cannot be read just now. Try again, or send the lead's data"
        raise RequestRejected(f"This run cannot be accepted: {what}. `leadcast doctor` says what is wrong.") from None
    # by the time of the plan the table may be away, and the run would be lost
    return admitted if lead is None else seal_conf(admitted, store.sealer, table_lead=lead)


def _lead_of(lead_id: str, store: Store) -> Tidied | None:
    """The lead, where there is a table of the user's own to ask for it; None: the plan finds it in the store.

    Raises:
        LeadNotFound: nobody has it.
    """
    from leadcast.core.tidy import tidy
    from leadcast.engine import config
    from leadcast.inbox import look_up
    from leadcast.store import leads

    table = config.lead_table()
    found = look_up(table, lead_id)
    if found is not None:
        return found
    with store.begin() as connection:
        stored = leads.find(connection, lead_id)
    if stored is None:
        raise LeadNotFound(lead_id)
    return tidy(leads.to_data(stored)) if table is not None else None
