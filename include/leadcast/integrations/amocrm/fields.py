"""Field mapping into amoCRM: which targets a lead and a contact have, and their values as amoCRM takes them
(vendors.md 1.3, 1.6)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from leadcast.core.errors import RejectedError, Unsendable
from leadcast.core.redact import one_line

MAX_FIELD_VALUES = 40
"""Custom values of one lead or contact (vendors.md 1.3)."""
LEAD_TARGETS = frozenset({"name", "price"})
CONTACT_TARGETS = frozenset({"name", "first_name", "last_name"})
_OTHER_SETTINGS = frozenset({"pipeline_id", "status_id", "responsible_user_id", "tags"})
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,15}(?:[.,][0-9]{1,10})?")
_SPACES = re.compile(r"[\s\u00a0\u2009\u202f]+")
_MAX_PRICE = 10**15

Values = list[dict[str, Any]]


def check_targets(fields: Mapping[str, Any], *, own: Collection[str], used: int, what: str) -> None:
    """Whether these can be fields of the entity, and are not too many.

    Args:
        own: targets that are no custom fields.
        used: how many custom values the entity has besides.
        what: the setting's name.

    Raises:
        ValueError: names the target.
    """
    for target in fields:
        shown = one_line(target, limit=64)
        if target == "price" and target not in own:
            raise ValueError(f"{what}: a contact has no price")
        if target in _OTHER_SETTINGS:
            raise ValueError(f"{what}: {shown!r} is a setting of its own")
        if not _CODE.fullmatch(target) or (target.isdigit() and (target[0] == "0" or int(target) >= 2**63)):
            known = ", ".join(sorted(own))
            raise ValueError(f"{what}: {shown!r} can be no field; give its id, its code, or one of: {known}")
    price = fields.get("price") if "price" in own else None
    if not (isinstance(price, str) and "{" in price):
        try:
            price_of(price)
        except RejectedError:
            raise ValueError(f"{what}: 'price' is no number that amoCRM takes") from None
    count = used + sum(len(_listed(value)) for target, value in fields.items() if target not in own)
    if count > MAX_FIELD_VALUES:
        raise ValueError(f"{what}: {count} custom values; amoCRM takes {MAX_FIELD_VALUES}")


def field_key(target: str | int) -> dict[str, str | int]:
    """How amoCRM is told which field: digits are its id, the rest its code."""
    text = str(target)
    return {"field_id": int(text)} if text.isdigit() else {"field_code": text}


def custom_values(filled_in: Mapping[str, Any], *, own: Collection[str]) -> Values:
    """The entries of `custom_fields_values`. A field whose every value is empty is left out.

    Raises:
        Unsendable: more values than amoCRM takes; nothing was sent.
    """
    entries = [
        {**field_key(target), "values": values}
        for target, given in filled_in.items()
        if target not in own and (values := [_value(value) for value in _listed(given) if not _is_empty(value)])
    ]
    refuse_too_many(entries)
    return entries


def refuse_too_many(entries: Values) -> None:
    """Raises RejectedError where they hold more values than amoCRM takes; nothing was sent."""
    count = sum(len(entry["values"]) for entry in entries)
    if count > MAX_FIELD_VALUES:
        raise Unsendable(
            f"The mapped fields have {count} custom values; amoCRM takes {MAX_FIELD_VALUES}. Nothing was sent.",
            code="too_many_fields",
        )


def price_of(value: Any) -> int | None:
    """A price in whole units, rounded, as amoCRM takes it (vendors.md 1.1). Text may have spaces, and a comma.

    Raises:
        Unsendable: it is no number; nothing was sent.
    """
    if _is_empty(value):
        return None
    number = value
    if isinstance(value, str):
        text = _SPACES.sub("", value)
        number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Unsendable("The mapped price is no number; nothing was sent.", code="price")
    if not 0 <= number < _MAX_PRICE:  # NaN as well
        raise Unsendable("The mapped price is negative or too large; nothing was sent.", code="price")
    return math.floor(number + 0.5)


def given_price(value: Any) -> int | None:
    """A price as a request gives it; a whole number as it is.

    Raises:
        ValueError: it is no number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return price_of(value)
    except RejectedError:
        raise ValueError("is no number that amoCRM takes") from None


def text_of(value: Any) -> str:
    """A name, say: text as it is, another value as text, none as nothing."""
    if _is_empty(value):
        return ""
    return value if isinstance(value, str) else str(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _value(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"value": value}


def _is_empty(value: Any) -> bool:
    if isinstance(value, Mapping):  # {"value": "", "enum_code": "MOB"} says nothing, {"enum_id": 5} does
        return not value or ("value" in value and "enum_id" not in value and _is_empty(value["value"]))
    return value is None or (isinstance(value, str) and not value.strip()) or value == []
