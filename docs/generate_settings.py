"""Writes docs/settings.md from the settings' own model: `make docs`. A test fails when the page is stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from leadcast.core.settings import Delivering, Settings

PAGE = Path(__file__).with_name("settings.md")

INTRO = """\
# Settings

<!-- Made by `make docs` from leadcast/core/settings.py. Do not edit by hand. -->

Settings are Airflow's: section `[leadcast]`. Set one as an environment variable, `AIRFLOW__LEADCAST__<NAME>`, or in
`airflow.cfg`. A secret may also come from a command or a secrets backend (`AIRFLOW__LEADCAST__<NAME>_CMD`,
`…_SECRET`). Read one with `airflow config get-value leadcast <name>`.

Every process of Airflow needs the same ones. They are read when a process starts, so restart Airflow after a change.

A wrong value, and an environment variable with a name that is not in this table, stop the start with a line that names
it. Names ending in `_s` are seconds. Lists are written with commas.
"""

OVERRIDES = """\

## One integration other than the rest

`overrides` is JSON: for each integration type, any of these. What is not given comes from the general setting.

"""

EXAMPLE = """\

    AIRFLOW__LEADCAST__OVERRIDES={"amocrm": {"tries": 5, "slots": 4}, "telegram": {"timeout_s": 60}}

`slots` counts when `leadcast init` makes the pool. A pool that is there keeps its size: change it under Admin → Pools.

## Other variables

| variable | default | what it is |
| --- | --- | --- |
| `LEADCAST_HOME` | `.leadcast` | Folder of the local stack: [running.md](running.md). |
| `LEADCAST_PORT` | `8080` | First port of the local stack. |
| `LEADCAST_TIMEOUT_S` | `180` | Seconds that each step of `leadcast up` may take. |
| `LEADCAST_URL` | the local stack | Where `leadcast send` and `leadcast batch` go. |
| `LEADCAST_TOKEN` | a token of the local stack | The Airflow token they show. |
"""


def page() -> str:
    """The page as it must be now."""
    return "".join(
        [
            INTRO,
            "\n",
            *_table(Settings, "setting"),
            OVERRIDES,
            *_table(Delivering, "key"),
            EXAMPLE,
        ]
    )


def _table(model: type[BaseModel], heading: str) -> Iterator[str]:
    yield f"| {heading} | type | default | what it is |\n| --- | --- | --- | --- |\n"
    for name, field in model.model_fields.items():
        default = _default(field)
        shown = f"`{default}`" if default else ""
        yield f"| `{name}` | {_kind(field)} | {shown} | {_cell(field.description or '')} |\n"


def _kind(field: FieldInfo) -> str:
    match field.get_default(call_default_factory=True):
        case SecretStr():
            return "secret"
        case tuple():
            return "list"
        case dict():
            return "JSON"
        case Enum() as default:
            return "one of " + ", ".join(type(default))
        case int() | float():
            return ("number" if field.annotation is float else "integer") + _range(field)
    return "text"


def _range(field: FieldInfo) -> str:
    bounds = {type(rule).__name__: rule for rule in field.metadata}
    low = getattr(bounds.get("Ge"), "ge", None)
    above = getattr(bounds.get("Gt"), "gt", None)
    high = getattr(bounds.get("Le"), "le", None)
    words = [f"from {low}" if low is not None else "", f"above {above}" if above is not None else ""]
    words.append(f"to {high}" if high is not None else "")
    text = " ".join(word for word in words if word)
    return f", {text}" if text else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return ""
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value == {} else str(value)


def _cell(text: str) -> str:
    # JSON and URLs with placeholders are easier to read as code, and < would be taken for HTML
    text = re.sub(r'(\{".*\}\})', r"`\1`", text)
    text = re.sub(r"(\S*<\S+>\S*?)(?=[.,]?(?:\s|$))", r"`\1`", text)
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
