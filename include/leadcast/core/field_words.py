"""What is wrong with a field, in sentences of ours.

Pydantic's own change with its versions, name Python's types, and hold a plural or an "or" here and there. Ours are few,
and stand in the catalogues of languages (leadcast/integrations/text/wording.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from leadcast.core.redact import one_line

_TEXT = "Input should be a valid string"
_WHOLE = "Input should be a whole number"
_NUMBER = "Input should be a number"
_YES_OR_NO = "Input should be true or false"
_LIST = "Input should be a list"
_OBJECT = "Input should be an object"
_TIME = "Input should be a date with a time and a time zone, as in 2026-01-31T12:00:00Z"
_NETWORK = "Input should be an IP network, as in 10.0.0.0/8"
_ONE_OF = "Input should be one of: {expected}"
_AT_LEAST = "Input should have a length of at least {min_length}"
_AT_MOST = "Input should have a length of at most {max_length}"
SENTENCES = {
    "missing": "Field required",
    "extra_forbidden": "Extra inputs are not permitted",
    "none_required": "Input should be null",
    "string_type": _TEXT,
    "string_unicode": _TEXT,
    "string_too_short": _AT_LEAST,
    "string_too_long": _AT_MOST,
    "string_pattern_mismatch": "Input should match the pattern {pattern}",
    "too_short": _AT_LEAST,
    "too_long": _AT_MOST,
    "enum": _ONE_OF,
    "literal_error": _ONE_OF,
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "Input should be a finite number",
    "greater_than": "Input should be greater than {gt}",
    "greater_than_equal": "Input should be greater than or equal to {ge}",
    "less_than": "Input should be less than {lt}",
    "less_than_equal": "Input should be less than or equal to {le}",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "invalid_key": "Names should be strings",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
    "ip_v4_network": _NETWORK,
    "ip_v6_network": _NETWORK,
}
"""By pydantic's type of the error."""
_LONGEST_WAY = 128
UNKNOWN = "Input does not fit"
_OWN = ("value_error", "assertion_error")
"""Their words are those of our own checks."""


def words_of(found: Mapping[str, object]) -> str:
    """What is wrong, without the value and without the field.

    Args:
        found: one of `ValidationError.errors()`, with its context.
    """
    kind = str(found["type"])
    if kind in _OWN:
        return str(found["msg"]).partition(", ")[2]
    context = found.get("ctx")
    values = dict(context) if isinstance(context, Mapping) else {}
    if "expected" in values:  # 'a', 'b' or 'c'
        values["expected"] = ", ".join(str(values["expected"]).rsplit(" or ", 1))
    return SENTENCES.get(kind, UNKNOWN).format_map(values)


def place_of(way: Iterable[str | int]) -> str:
    """`integrations.0.settings`: the way to a field, as it is said. Its steps may be the caller's own."""
    return one_line(".".join(str(step) for step in way), limit=_LONGEST_WAY)


@dataclass(frozen=True)
class Fault:
    """What is wrong, without the value, and the way to it; no way, where it lies in what goes together."""

    where: str
    what: str

    @classmethod
    def first_of(cls, error: ValidationError) -> Fault:
        """The first of what pydantic has found."""
        found = error.errors(include_input=False, include_url=False)[0]
        return cls(place_of(found["loc"]), words_of(found))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what
