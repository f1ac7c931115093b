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

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from leadcast.core.absent import as_object, without_absent
from leadcast.core.errors import FieldError
from leadcast.core.model import Lead, Priority
from leadcast.core.notes import MAX_NAME_CHARS, Note, Way
from leadcast.core.refusals import check, field_errors, refuse_deep, refuse_unstorable, reject
from leadcast.core.tidy import MAX_CUSTOM_FIELDS, MAX_LONG_TEXT_CHARS, MAX_TEXT_CHARS, MAX_UTM_FIELDS, Tidied, tidy

MAX_INTEGRATIONS = 50
MAX_KEY_LENGTH = 255
_NO_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _lead_id(value: Any) -> Any:
    value = _as_text(value)
    if isinstance(value, str) and not _ID.fullmatch(value):
        raise ValueError("1 to 128 letters, digits or . _ : @ - , beginning with a letter or digit")
    return value


def _callable_url(url: str) -> str:
    from leadcast.integrations.address import callable_url

    return callable_url(url)


LeadId = Annotated[str, BeforeValidator(_lead_id)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
LongText = Annotated[str, StringConstraints(max_length=MAX_LONG_TEXT_CHARS)]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]


class Strict(BaseModel):
    """Unknown fields are refused, and no error text repeats what was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LeadData(Strict):
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
        """The lead with this data."""
        return Lead(id=lead_id, **self.model_dump())


class IntegrationRequest(Strict):
    """One destination asked for."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    settings: Annotated[dict[str, Any], BeforeValidator(as_object)] = Field(default_factory=dict, max_length=100)


class SendBatch(Strict):
    """Body of `POST /api/integrations/send-batch`: the seed's, plus `lead`, `callback_url`, `priority`."""

    lead_id: LeadId
    integrations: list[IntegrationRequest] = Field(min_length=1, max_length=MAX_INTEGRATIONS)
    credentials: Annotated[
        dict[str, Annotated[dict[str, Any], BeforeValidator(as_object)]], BeforeValidator(as_object)
    ] = Field(default_factory=dict, max_length=MAX_INTEGRATIONS)
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


def validate(data: Any, *, defaults: Mapping[str, Mapping[str, Any]] = _NO_DEFAULTS) -> SendBatch:
    """The request in `data`, checked down to each integration's own settings and credentials.

    Args:
        defaults: by type, the settings that the installation has deliveries start from; both must fit together.

    Raises:
        InvalidRequest: with every field at fault.
    """
    request = _read(data)
    errors = [
        error
        for index, item in enumerate(request.integrations)
        for error in _item_errors(index, item, request, defaults.get(item.type, {}))
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
    refuse_deep(data)
    if not isinstance(data, Mapping):
        return check(SendBatch, data)
    given = without_absent(data)
    lead = given.get("lead")
    tidied = tidy(lead) if isinstance(lead, Mapping) else None
    refuse_unstorable({key: value for key, value in given.items() if key != "lead" or tidied is None})
    request = check(SendBatch, given if tidied is None else given | {"lead": tidied.data})
    if tidied is not None:
        request._notes = tidied.notes
    return request


def lead_of(data: Any, *, above: Way = ()) -> Tidied:
    """A lead's data on its own, mended like that of a request.

    Args:
        above: the way to it, for notes and errors.

    Raises:
        InvalidRequest: it is no object.
    """
    refuse_deep(data)
    given = as_object(data)
    if not isinstance(given, Mapping):
        reject([FieldError(above, "must be an object")])
    return tidy(given, above=above)


def _item_errors(
    index: int, item: IntegrationRequest, request: SendBatch, defaults: Mapping[str, Any]
) -> list[FieldError]:
    from leadcast.integrations import registry
    from leadcast.integrations.mapping import merged

    here: tuple[str | int, ...] = ("integrations", index)
    if item.type not in registry.types():
        known = ", ".join(registry.types())
        return [FieldError((*here, "type"), f"unknown integration {item.type!r}; there are: {known}")]
    integration = registry.get(item.type)
    errors: list[FieldError] = []
    together = merged(defaults, item.settings)
    try:
        integration.settings_model.model_validate(together)
    except ValidationError as error:
        errors += field_errors(error, data=together, prefix=(*here, "settings"))
    if index == next(i for i, other in enumerate(request.integrations) if other.type == item.type):
        errors += _credential_errors(item.type, request.credentials.get(item.type))
    return errors


def _credential_errors(integration_type: str, given: Mapping[str, Any] | None) -> list[FieldError]:
    from leadcast.integrations import registry

    here = ("credentials", integration_type)
    if not given:
        return []
    if "conn_id" in given:
        conn_id = given["conn_id"]
        fits = isinstance(conn_id, str) and re.fullmatch(r"[\w.-]{1,250}", conn_id)
        return [] if fits else [FieldError((*here, "conn_id"), "must be the name of an Airflow connection")]
    try:
        registry.get(integration_type).credentials_model.model_validate(given)
    except ValidationError as error:
        return field_errors(error, data=given, prefix=here)
    return []


def fingerprint(data: Any) -> str:
    """SHA-256 of a request, the same for equal JSON: tells whether an idempotency key came with the same body."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
