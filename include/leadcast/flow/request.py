"""What comes in: the request models, and how JSON becomes one. Every door uses these, none has its own.

What cannot be acted on is refused: no lead, an integration that is not there, credentials that do not fit. What is
only an ornament of a lead is mended, for the form that it comes from has nobody to read a refusal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StringConstraints, ValidationError

from leadcast.core import blanks
from leadcast.core.absent import as_object, filled_in, is_none, without_blanks
from leadcast.core.budget import measured, spend_on_values
from leadcast.core.conn_ids import ConnIds, is_conn_id, unusable
from leadcast.core.meant import AsMeant, as_meant
from leadcast.core.model import Lead, Priority
from leadcast.core.notes import MAX_NAME_CHARS, Note, Way
from leadcast.core.refusals import check, field_errors, refuse_deep, refuse_unstorable, reject
from leadcast.core.request_errors import FieldError
from leadcast.core.sealed_form import SEALED, is_sealed
from leadcast.core.tidy import MAX_CUSTOM_FIELDS, MAX_LONG_TEXT_CHARS, MAX_TEXT_CHARS, MAX_UTM_FIELDS, Tidied, tidy
from leadcast.core.values import MAX_DEPTH_OF_BODY, is_whole, text_of

MAX_INTEGRATIONS = 50
MAX_KEY_LENGTH = 255
_NO_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def _lead_id(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and is_whole(value):
        value = text_of(value)
    if not isinstance(value, str):
        return value
    value = blanks.bare(value)
    if not _ID.fullmatch(value):
        raise ValueError("1 to 128 letters, digits or . _ : @ - , beginning with a letter or digit")
    return value


def _known_type(value: Any) -> Any:
    """The integration that is meant, however it is written; any other as it came."""
    from leadcast.integrations import registry

    if not isinstance(value, str):
        return value
    name, known = blanks.bare(value), registry.types()
    return name if name in known else next((kind for kind in known if kind.lower() == name.lower()), name)


def _by_type(value: Any) -> Any:
    """Credentials by the integration that is meant, without those that say nothing."""
    value = as_object(value)
    if not isinstance(value, Mapping):
        return value
    read: dict[Any, Any] = {}
    for kind, values in value.items():
        given = filled_in(values)
        if not is_none(given):
            meant = _known_type(kind)
            read[kind if meant in value or meant in read else meant] = given
    return read


def _callable_url(url: str) -> str:
    from leadcast.integrations.http.address import callable_url

    return callable_url(url)


LeadId = Annotated[str, BeforeValidator(_lead_id)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
LongText = Annotated[str, StringConstraints(max_length=MAX_LONG_TEXT_CHARS)]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]


class LeadData(AsMeant):
    """A lead's data, as sent inline or with `PUT /leads/{id}`. All fields are optional. What does not fit is mended and
    noted, never refused: null is nothing, a list becomes one text, what is too long is cut, other fields go to
    `custom`."""

    name: Text = ""
    phone: Text = ""
    email: Text = ""
    company: Text = ""
    comment: LongText = ""
    source: Text = ""
    utm: dict[FieldName, Text] = Field(default_factory=dict, max_length=MAX_UTM_FIELDS)
    custom: dict[FieldName, LongText | bool | int | float | None] = Field(
        default_factory=dict, max_length=MAX_CUSTOM_FIELDS, description="Further fields of yours."
    )

    def to_lead(self, lead_id: str) -> Lead:
        """The lead as it is stored and sent, under this id."""
        return Lead(id=lead_id, **self.model_dump())


class IntegrationRequest(AsMeant):
    """An integration that the lead is to be sent to, and its settings for this lead."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64), BeforeValidator(_known_type)]
    settings: Annotated[dict[str, Any], BeforeValidator(without_blanks)] = Field(default_factory=dict, max_length=100)


class SendBatch(AsMeant):
    """Body of `POST /api/integrations/send-batch`: the Laravel system's, plus `lead`, `callback_url`, `priority`."""

    lead_id: LeadId
    integrations: list[IntegrationRequest] = Field(min_length=1, max_length=MAX_INTEGRATIONS)
    credentials: Annotated[dict[str, dict[str, Any]], BeforeValidator(_by_type)] = Field(
        default_factory=dict, max_length=MAX_INTEGRATIONS
    )
    lead: LeadData | None = None
    callback_url: Annotated[str, AfterValidator(_callable_url)] | None = None
    priority: Priority = Priority.NORMAL
    _notes: tuple[Note, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[Note, ...]:
        """What of its lead was mended."""
        return self._notes

    def types(self) -> tuple[str, ...]:
        """The types asked for, in order, each once."""
        return tuple(dict.fromkeys(item.type for item in self.integrations))


def validate(
    data: Any, *, defaults: Mapping[str, Mapping[str, Any]] = _NO_DEFAULTS, conn_ids: ConnIds | None = None
) -> SendBatch:
    """The request in `data`, checked down to each integration's own settings and credentials.

    Args:
        defaults: by type, the settings that the installation has deliveries start from; both must fit together.
        conn_ids: which connections it may name; None: that is not looked at here, but when it is sent.

    Raises:
        InvalidRequest: with every field at fault, or there is too much in it to be checked.
    """
    with measured():
        return _validated(data, defaults, conn_ids)


def _validated(data: Any, defaults: Mapping[str, Mapping[str, Any]], conn_ids: ConnIds | None) -> SendBatch:
    request = _read(data)
    errors = [
        error
        for index, item in enumerate(request.integrations)
        for error in _item_errors(index, item, request, defaults.get(item.type, {}), conn_ids)
    ]
    asked = set(request.types())
    errors += [
        FieldError(("credentials", name), "no integration of this type is asked for")
        for name in request.credentials
        if name not in asked
    ]
    if errors:
        reject(errors)
    return request


def _read(data: Any) -> SendBatch:
    """The request in `data`, as far as it can be told without asking the integrations."""
    if not isinstance(data, Mapping):
        return check(SendBatch, data)
    spend_on_values({name: value for name, value in data.items() if name != "lead"})
    refuse_deep(data, than=MAX_DEPTH_OF_BODY)
    given = as_meant(SendBatch, data)
    _refuse_sealed(given.get("credentials"))
    notes = _take_unknown_priority(given)
    lead = given.get("lead")
    tidied = tidy(lead) if isinstance(lead, Mapping) else None
    rest = {name: value for name, value in given.items() if name != "lead" or tidied is None}
    refuse_deep(rest)
    refuse_unstorable(rest)
    request = check(SendBatch, rest if tidied is None else rest | {"lead": tidied.data})
    request._notes = (*notes, *(() if tidied is None else tidied.notes))
    return request


def _refuse_sealed(credentials: Any) -> None:
    """Refuses what `leadcast seal` has made: it opens in runs, and there is none yet."""
    if is_sealed(credentials):
        reject(
            [
                FieldError(
                    ("credentials", SEALED),
                    "what is sealed opens in a run of send_lead only: trigger one with this as its conf (docs/api.md, "
                    "Airflow's own trigger), or send the credentials themselves",
                )
            ]
        )


def _take_unknown_priority(given: dict[str, Any]) -> tuple[Note, ...]:
    """Takes a priority that there is none of out of a request: which lead goes first is worth no lead."""
    if given.get("priority", Priority.NORMAL) in list(Priority):
        return ()
    del given["priority"]
    return (Note(("priority",), f"none of {', '.join(Priority)}: normal was taken"),)


def lead_of(data: Any, *, above: Way = ()) -> Tidied:
    """A lead's data on its own, mended like that of a request.

    Args:
        above: the way to it, for notes and errors.

    Raises:
        InvalidRequest: it is no object.
    """
    refuse_deep(data, than=MAX_DEPTH_OF_BODY)
    given = as_object(data)
    if not isinstance(given, Mapping):
        reject([FieldError(above, "must be an object")])
    return tidy(given, above=above)


def _item_errors(
    index: int, item: IntegrationRequest, request: SendBatch, defaults: Mapping[str, Any], conn_ids: ConnIds | None
) -> list[FieldError]:
    from leadcast.integrations import registry
    from leadcast.integrations.text.caller_lines import at_the_door
    from leadcast.integrations.text.mapping import merged

    here: tuple[str | int, ...] = ("integrations", index)
    if item.type not in registry.types():
        known = ", ".join(registry.types())
        return [FieldError((*here, "type"), f"unknown integration {item.type!r}; there are: {known}")]
    integration = registry.get(item.type)
    errors: list[FieldError] = []
    together = merged(integration.settings_model, defaults, item.settings)
    try:
        integration.settings_model.model_validate(together, context=at_the_door(item.settings))
    except ValidationError as error:
        elsewhere = {f"credentials.{item.type}": integration.credentials_model.model_fields}
        errors += field_errors(
            error, integration.settings_model, data=together, prefix=(*here, "settings"), elsewhere=elsewhere
        )
    if index == next(i for i, other in enumerate(request.integrations) if other.type == item.type):
        errors += _credential_errors(item.type, request.credentials.get(item.type), conn_ids)
    return errors


def _credential_errors(
    integration_type: str, given: Mapping[str, Any] | None, conn_ids: ConnIds | None
) -> list[FieldError]:
    from leadcast.integrations import registry
    from leadcast.integrations.text.caller_lines import at_the_door

    here = ("credentials", integration_type)
    if not given:
        return []
    integration = registry.get(integration_type)
    model = integration.credentials_model
    elsewhere = {"settings": integration.settings_model.model_fields}
    if "conn_id" not in given:
        try:
            model.model_validate(given, context=at_the_door(given))
        except ValidationError as error:
            return field_errors(error, model, data=as_meant(model, given), prefix=here, elsewhere=elsewhere)
        return []
    conn_id, errors = given["conn_id"], []
    if not is_conn_id(conn_id):
        errors = [FieldError((*here, "conn_id"), "must be the name of an Airflow connection")]
    elif conn_ids is not None and not conn_ids.may_be_named(conn_id, default=integration.conn_id()):
        errors = [FieldError((*here, "conn_id"), unusable(conn_id, integration_type))]
    rest = as_meant(model, {name: value for name, value in given.items() if name != "conn_id"})
    fields = model.model_fields if integration.beside_connection is None else integration.beside_connection
    errors += [FieldError((*here, name), "does not go with conn_id") for name in rest if name not in fields]
    beside = {name: value for name, value in rest.items() if name in fields}
    try:
        model.model_validate(beside, context=at_the_door(beside))
    except ValidationError as error:
        errors += field_errors(error, model, data=beside, prefix=here, is_part=True)
    return errors


def fingerprint(data: Any) -> str:
    """SHA-256 of a request, the same for equal JSON: tells whether an idempotency key came with the same body."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
