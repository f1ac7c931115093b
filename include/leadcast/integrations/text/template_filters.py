"""What a template may do with a value, besides Jinja's own filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from leadcast.integrations.text.labels import label_of, plain_label, utm_label
from leadcast.integrations.text.remarks import said
from leadcast.integrations.text.template_values import text_of

OWN_LABELS = "own_labels"
"""A value of a template: whether it is we ourselves who say how the lead's custom fields are called."""


def printed(value: Any) -> Any:
    """Nothing for what is missing, and for methods, which a template named without calling them."""
    return "" if value is None or callable(value) else value


def _text(value: Any) -> str:
    return text_of(printed(value))


def _moment(value: Any) -> Any:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if isinstance(value, datetime) else value


@pass_context
def _label(context: Context, name: Any, *ours: Any) -> str:
    label = _text(name)
    return plain_label(label) if context.get(OWN_LABELS) else label_of(label, ours=[_text(own) for own in ours])


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "label": _label,
        "moment": _moment,
        "said": lambda value: said(_text(value)),
        "utm_label": lambda name: utm_label(_text(name)),
    }
)
"""By name."""
