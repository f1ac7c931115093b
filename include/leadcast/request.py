"""What comes in: the request models, and how a body of bytes becomes one. Every door uses these, none has its own."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from leadcast.core.errors import BodyTooLarge, FieldError, InvalidRequest
from leadcast.core.model import Lead, Priority
from leadcast.core.redact import one_line

MAX_BODY_BYTES = 1024 * 1024
MAX_INTEGRATIONS = 50
MAX_CUSTOM_FIELDS = 200
MAX_KEY_LENGTH = 255
_NO_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
_SURROGATE = re.compile("[\ud800-\udfff]")
M = TypeVar("M", bound=BaseModel)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _lead_id(value: Any) -> Any:
    value = _as_text(value)
    if isinstance(value, str) and not _ID.fullmatch(value):
        raise ValueError("1 to 128 letters, digits or . _ : @ - , beginning with a letter or digit")
    return value


def _as_object(value: Any) -> Any:
    """PHP writes an empty array as `[]`, whether a list or an object was meant."""
    return {} if value == [] else value


def _callable_url(url: str) -> str:
    from leadcast.integrations.address import callable_url

    return callable_url(url)


LeadId = Annotated[str, BeforeValidator(_lead_id)]
Text = Annotated[str, BeforeValidator(_as_text), StringConstraints(max_length=1024)]
LongText = Annotated[str, BeforeValidator(_as_text), StringConstraints(max_length=65_536)]
CustomText = Annotated[str, StringConstraints(max_length=65_536)]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Strict(BaseModel):
    """Unknown fields are refused, and no error text repeats what was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LeadData(Strict):
    """A lead's data, as sent inline or with `PUT /leads/{id}`. All fields are optional."""

    name: Text = ""
    phone: Text = ""
    email: Text = ""
    company: Text = ""
    comment: LongText = ""
    source: Text = ""
    utm: Annotated[dict[FieldName, Text], BeforeValidator(_as_object)] = Field(default_factory=dict, max_length=20)
    custom: Annotated[dict[FieldName, CustomText | bool | int | float | None], BeforeValidator(_as_object)] = Field(
        default_factory=dict, max_length=MAX_CUSTOM_FIELDS, description="Further fields of yours."
    )

    def to_lead(self, lead_id: str) -> Lead:
        """The lead with this data."""
        return Lead(id=lead_id, **self.model_dump())


class IntegrationRequest(Strict):
    """One destination asked for."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    settings: Annotated[dict[str, Any], BeforeValidator(_as_object)] = Field(default_factory=dict, max_length=100)


class SendBatch(Strict):
    """Body of `POST /api/integrations/send-batch`: the seed's, plus `lead`, `callback_url`, `priority`."""

    lead_id: LeadId
    integrations: list[IntegrationRequest] = Field(min_length=1, max_length=MAX_INTEGRATIONS)
    credentials: Annotated[
        dict[str, Annotated[dict[str, Any], BeforeValidator(_as_object)]], BeforeValidator(_as_object)
    ] = Field(default_factory=dict, max_length=MAX_INTEGRATIONS)
    lead: LeadData | None = None
    callback_url: Annotated[str, AfterValidator(_callable_url)] | None = None
    priority: Priority = Priority.NORMAL

    def types(self) -> tuple[str, ...]:
        """The types asked for, in order, each once."""
        return tuple(dict.fromkeys(item.type for item in self.integrations))


def parse_body(body: bytes) -> Any:
    """JSON of a request's body.

    Raises:
        BodyTooLarge: over 1 MiB.
        InvalidRequest: not UTF-8, not JSON, a key twice in one object, or a number that JSON does not know (NaN).
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken.")
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        what = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8"
        raise InvalidRequest(f"The body is not JSON{where}: {what}.", errors=[FieldError(("body",), what)]) from None
    except InvalidRequest:
        raise
    except ValueError:
        raise InvalidRequest("The body holds a number with too many digits.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            msg = "stands twice in one object"
            raise InvalidRequest(
                f"The key {key[:64]!r} {msg}; which one is meant?", errors=[FieldError((key[:64],), msg)]
            )
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not a JSON number.")


def validate(data: Any, *, defaults: Mapping[str, Mapping[str, Any]] = _NO_DEFAULTS) -> SendBatch:
    """The request in `data`, checked down to each integration's own settings and credentials.

    Args:
        defaults: by type, the settings that the installation has deliveries start from; both must fit together.

    Raises:
        InvalidRequest: with every field at fault.
    """
    try:
        refuse_unstorable(data)
        request = check(SendBatch, data)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
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
        _reject(errors)
    return request


def refuse_unstorable(data: Any, *, loc: tuple[str | int, ...] = ()) -> None:
    """Refuses what no database and no service takes: NUL characters, halves of surrogate pairs, infinite numbers."""
    if isinstance(data, float):
        if not math.isfinite(data):
            _reject([FieldError(loc, "is too large a number")])
    elif isinstance(data, str):
        if "\x00" in data or _SURROGATE.search(data):
            _reject([FieldError(loc, "holds a NUL character or half a surrogate pair")])
    elif isinstance(data, Mapping):
        for key, value in data.items():
            refuse_unstorable(key, loc=(*loc, "(key)"))
            refuse_unstorable(value, loc=(*loc, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            refuse_unstorable(value, loc=(*loc, index))


def check(model: type[M], data: Any) -> M:
    """`data` as this model."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        _reject(field_errors(error))


def field_errors(error: ValidationError, *, prefix: tuple[str | int, ...] = ()) -> list[FieldError]:
    """Pydantic's findings as ours, without the values."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [FieldError((*prefix, *item["loc"]), item["msg"]) for item in found]


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
    try:
        integration.settings_model.model_validate(merged(defaults, item.settings))
    except ValidationError as error:
        errors += field_errors(error, prefix=(*here, "settings"))
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
        return field_errors(error, prefix=here)
    return []


def _reject(errors: list[FieldError]) -> NoReturn:
    first = errors[0]
    where = one_line(".".join(str(part) for part in first.loc), limit=128) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise InvalidRequest(f"{where}: {first.msg}{more}", errors=errors)


def fingerprint(data: Any) -> str:
    """SHA-256 of a request, the same for equal JSON: tells whether an idempotency key came with the same body."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
