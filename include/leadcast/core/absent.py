"""What of a request counts as not given. Laravel turns every empty field of a form into null, others send empty text,
PHP writes an empty array as `[]`, whether a list or an object was meant: none of them means more than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadcast.core import blanks


def without_absent(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request's members without what is not given. What is required stays as it is, and is refused where it is."""
    given = {key: value for key, value in request.items() if key == "lead_id" or not _is_blank(value)}
    if isinstance(given.get("integrations"), list):
        given["integrations"] = [_integration(item) for item in given["integrations"]]
    credentials = as_object(given.get("credentials"))
    if isinstance(credentials, Mapping):
        filled_in = {kind: _filled_in(as_object(values)) for kind, values in credentials.items()}
        given["credentials"] = {
            kind: values for kind, values in filled_in.items() if values != {} and not _is_blank(values)
        }
    if "lead" in given:
        given["lead"] = as_object(given["lead"])
    return given


def as_object(value: Any) -> Any:
    """An empty object for PHP's empty array."""
    return {} if value == [] else value


def _integration(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    given = {key: value for key, value in item.items() if key == "type" or not _is_blank(value)}
    settings = as_object(given.get("settings"))
    if isinstance(settings, Mapping):
        # not within: a null or an empty text in a mapping is a value of its own
        given["settings"] = {name: value for name, value in settings.items() if not _is_blank(value)}
    return given


def _filled_in(values: Any) -> Any:
    """An account's fields without blanks: a form that was left empty says nothing of the account."""
    if isinstance(values, Mapping):
        return {name: _filled_in(value) for name, value in values.items() if not _is_blank(value)}
    if isinstance(values, list | tuple):
        return [_filled_in(value) for value in values if not _is_blank(value)]
    return values


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not blanks.bare(value))
