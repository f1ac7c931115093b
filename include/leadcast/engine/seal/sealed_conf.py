"""A run's `conf`, sealed: the same request with `"credentials": {"sealed": "gAAAA…"}`.

The sealed text holds the credentials, the callback URL, which may have a token in it, and the lead's data, which is
personal. A lead of the user's own table is kept in there, too, as it was when the run was accepted; and a priority that
Airflow's own check would not take.

It opens in the plan of the run that it was sealed for, and at a door for the user who has brought what is in it: the
trigger form's "again". Whoever else has read it cannot use it. Light to import: every Airflow process loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from leadcast.core import sealed_form
from leadcast.core.errors import SettingsError
from leadcast.core.model import Priority
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.core.sealed_form import SEALED
from leadcast.engine.seal.request_shape import SECRET_MEMBERS, holds_request

if TYPE_CHECKING:
    from leadcast.core.tidy import Tidied
    from leadcast.store.sealing import Purpose, Sealer

_CREDENTIALS = "credentials"
_SECRET_FIELDS = tuple(sorted(SECRET_MEMBERS))
_PRIORITY = "priority"
_TABLE_LEAD = "table_lead"
_NOTES = "notes"
_AIRFLOWS_OWN = "airflow/"
_LINEAGE = "openlineage"
"""What `TriggerDagRunOperator` adds where OpenLineage is on: names and ids of the run that triggers, as short texts."""
_MOST_IN_LINEAGE = 20
_LONGEST_IN_LINEAGE = 1000
_SPAN_DETAIL = "airflow/task_span_detail_level"
"""All that Airflow takes for itself of a conf (3.3.2): a small number."""
_FIELDS = frozenset({*_SECRET_FIELDS, _PRIORITY, "lead_id", "integrations"})
_STRANGE = (
    f"of what begins with {_AIRFLOWS_OWN} a run takes {_SPAN_DETAIL} only, with a number; the request's own fields "
    "have plain names"
)
_LONE = "must be high, normal or low; alone it is no request"
_NOT_HERE = (
    "cannot be opened here: what is sealed opens for the user who has sent it, and with our key. "
    "Send the credentials, the callback URL and the lead's data anew"
)


def by_caller(user_name: str | None) -> Purpose:
    """What a conf is sealed for at a door. Nobody opens it for a user without a name."""
    return {"caller": user_name or ""}


def of_run(run_id: str, *, caller: str | None = None) -> Purpose:
    """What a run's conf is sealed for.

    Args:
        caller: the user who has brought what is in it, and may bring it again; None: no user has.
    """
    return {"run": run_id} | ({"caller": caller} if caller else {})


def body_of(conf: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The request that a run's conf holds, or None for a bell: a run without a request of its own.

    The trigger form sends every param, so what is null or empty counts as absent, and a priority alone is no request.
    """
    body = {
        key: value
        for key, value in (conf or {}).items()
        if not _asks_nothing(value) and not _is_airflows_own(key, value)
    }
    return body if body.keys() - {_PRIORITY} else None


def _is_airflows_own(key: str, value: Any) -> bool:
    """Whether Airflow or a provider of it has put this beside the request, and for itself."""
    if key == _LINEAGE and isinstance(value, Mapping):
        return len(value) <= _MOST_IN_LINEAGE and all(map(_is_short_text, (*value, *value.values())))
    return key.startswith(_AIRFLOWS_OWN)


def _is_short_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= _LONGEST_IN_LINEAGE and not holds_request(value))


def kept(conf: Mapping[str, Any] | None) -> dict[str, Any]:
    """The conf, sealed or not, without what asks for nothing and is no field's name. What is neither of the request nor
    Airflow's would stay in clear.

    Raises:
        InvalidRequest: it holds some of that. Nothing of it is repeated.
    """
    given = dict(conf or {})
    if has_strange(given):
        raise InvalidRequest(f"conf: {_STRANGE}.", errors=[FieldError((), _STRANGE)])
    if body_of(given) is None and _misfits(given):
        raise InvalidRequest(f"{_PRIORITY}: {_LONE}.", errors=[FieldError((_PRIORITY,), _LONE)])
    return {
        key: value
        for key, value in given.items()
        if key in _FIELDS or key.startswith(_AIRFLOWS_OWN) or not _asks_nothing(value)
    }


def has_strange(conf: Mapping[str, Any]) -> bool:
    """Whether something stands under a name of Airflow's, that is none of Airflow's."""
    return any(
        key.startswith(_AIRFLOWS_OWN) and not (key == _SPAN_DETAIL and _is_small_number(value))
        for key, value in conf.items()
    )


def _is_small_number(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 2 and value.isdecimal()
    return value is None or (isinstance(value, int) and 0 <= value < 100)


def _asks_nothing(value: Any) -> bool:
    return value is None or value == {} or value == ""


def has_secrets(conf: Mapping[str, Any]) -> bool:
    """Whether this conf holds, in clear, what must be sealed."""
    return bool(_misfits(conf)) or any(
        conf.get(key) for key in _SECRET_FIELDS if key != _CREDENTIALS or not is_sealed(conf)
    )


def is_sealed(conf: Mapping[str, Any]) -> bool:
    """Whether the credentials of this conf are sealed."""
    return sealed_form.is_sealed(conf.get(_CREDENTIALS))


def seal_conf(
    conf: Mapping[str, Any], sealer: Sealer, *, for_: Purpose, table_lead: Tidied | None = None
) -> dict[str, Any]:
    """An open conf with its secrets sealed. One without secrets comes back as it is.

    Args:
        for_: by_caller() or of_run().
        table_lead: the lead as the user's own table has it, to be kept with the secrets.

    Raises:
        InvalidRequest: there is nobody to seal it for.
    """
    secret = {key: conf[key] for key in (*_SECRET_FIELDS, *_misfits(conf)) if conf.get(key)}
    rest = {key: value for key, value in conf.items() if key not in secret}
    if table_lead is not None:
        notes = [note.to_data() for note in table_lead.notes]
        secret[_TABLE_LEAD] = {"id": str(conf["lead_id"]), **table_lead.data, _NOTES: notes}
    if not secret:
        return rest
    if not any(for_.values()):
        msg = "can be sealed for a user with a name only, and Airflow knows none of yours"
        raise InvalidRequest(f"credentials: {msg}.", errors=[FieldError((_CREDENTIALS,), msg)])
    return rest | {_CREDENTIALS: {SEALED: sealer.seal(secret, for_=for_)}}


def open_conf(conf: Mapping[str, Any], sealer: Sealer, *, for_: Purpose, only_bound: bool = False) -> dict[str, Any]:
    """The conf as it was before it was sealed. One that is not sealed comes back as it is.

    Args:
        only_bound: as `Sealer.open` has it; at a door always.

    Raises:
        InvalidRequest: what is sealed cannot be opened here, or is not what we sealed.
    """
    if not is_sealed(conf):
        return dict(conf)
    secret = _opened(conf, sealer, for_=for_, only_bound=only_bound)
    secret.pop(_TABLE_LEAD, None)
    # what stands beside it in clear was given later, say in the trigger form of an old run's conf
    later = {key: value for key, value in conf.items() if key != _CREDENTIALS and (value or key not in secret)}
    return secret | later


def table_lead(conf: Mapping[str, Any], sealer: Sealer, *, for_: Purpose) -> Tidied | None:
    """The lead as the user's own table had it when the run was accepted; None: it came otherwise.

    Raises:
        InvalidRequest: what is sealed cannot be opened here.
    """
    kept = _opened(conf, sealer, for_=for_).get(_TABLE_LEAD) if is_sealed(conf) else None
    if not kept or kept.pop("id") != str(conf.get("lead_id")):
        return None
    from leadcast.core.notes import Note
    from leadcast.core.tidy import Tidied

    return Tidied(notes=tuple(map(Note.of, kept.pop(_NOTES, ()))), data=kept)


def _misfits(conf: Mapping[str, Any]) -> tuple[str, ...]:
    """What Airflow's own check of the form would refuse, and we only note: it is sealed as it came."""
    priority = conf.get(_PRIORITY)
    return (_PRIORITY,) if priority and priority not in list(Priority) else ()


def _opened(conf: Mapping[str, Any], sealer: Sealer, *, for_: Purpose, only_bound: bool = False) -> dict[str, Any]:
    secret: Any = None
    with suppress(SettingsError, ValueError):
        secret = sealer.open(conf[_CREDENTIALS][SEALED], for_=for_, only_bound=only_bound)
    if not isinstance(secret, dict) or not secret.keys() <= {*_SECRET_FIELDS, _PRIORITY, _TABLE_LEAD}:
        raise InvalidRequest(
            f"credentials.sealed: {_NOT_HERE}.", errors=[FieldError((_CREDENTIALS, SEALED), _NOT_HERE)]
        )
    return dict(secret)
