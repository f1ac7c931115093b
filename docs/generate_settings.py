"""Writes docs/settings.md from the settings' own model: `make docs`. A test fails when the page is stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from leadcast.core.delivering import Delivering
from leadcast.core.setting_fields import default_text, is_secret, unit_of
from leadcast.core.settings import Settings

PAGE = Path(__file__).with_name("settings.md")

INTRO = """\
# Settings

<!-- Made by `make docs` from leadcast/core/settings.py. Do not edit by hand. -->

Settings are Airflow's: section `[leadcast]`. Set one as an environment variable, `AIRFLOW__LEADCAST__<NAME>`, or in
`airflow.cfg`. Read one with `airflow config get-value leadcast <name>`, all of them with
`airflow config list --section leadcast --show-values --hide-sensitive --include-descriptions`.

Every process of Airflow needs the same ones. They are read when a process starts, so restart Airflow after a change.

A wrong value stops the start. So does a name that is not on this page, in the environment or in `airflow.cfg`.
The line that Airflow ends with says which one it is, and what was given unless it is a secret:

    leadcast: [leadcast] tries: Input should be less than or equal to 20 (you gave 50). Mend it and start again; see …

Short commands (`airflow config`, `airflow db`, `airflow dags`) are not stopped. What is missing rather than wrong does
not stop Airflow either; `leadcast doctor` names it. Lists are written with commas.
"""

SECRETS = """\

## Secrets

A setting of the type secret may also come from a command or from Airflow's secrets backend, like Airflow's own:

| where it is | environment variable | in `airflow.cfg` |
| --- | --- | --- |
| the value itself | `AIRFLOW__LEADCAST__<NAME>` | `<name>` |
| what a command prints | `AIRFLOW__LEADCAST__<NAME>_CMD` | `<name>_cmd` |
| an entry in the secrets backend | `AIRFLOW__LEADCAST__<NAME>_SECRET` | `<name>_secret` |

The first that is set counts, the environment before the file. An entry that the backend does not have, and a command
that fails, stop the start. Where `[workers] secrets_backend` is set, that is the backend which is asked.

    AIRFLOW__SECRETS__BACKEND=airflow.secrets.local_filesystem.LocalFilesystemBackend
    AIRFLOW__SECRETS__BACKEND_KWARGS={"configs_file_path": "/run/c.json", "connections_file_path": "/run/accounts.json"}
    AIRFLOW__LEADCAST__STORE_URL_SECRET=leadcast-store

Here `/run/c.json` holds `{"leadcast-store": "postgresql+psycopg2://…"}`. The accounts of the integrations are
Airflow connections (`leadcast_amocrm`, `smtp_default` and so on), which Airflow looks for in the same backend first.
How to change keys: [running.md](running.md#changing-keys).
"""

GROUPS = {
    "store_url": ("What must be set", "An empty `fernet_key` means Airflow's own, so only `store_url` is needed."),
    "api_url": ("This installation", ""),
    "tries": ("Delivering", ""),
    "wave_timeout_s": ("Runs and processes", "A wave is a run of `send_lead`: [architecture.md](architecture.md)."),
    "amocrm_base_url": ("Addresses outside", "Empty base URLs mean the vendors' own addresses."),
    "notify_on": ("Telling people", "See [callbacks.md](callbacks.md)."),
    "leads_conn_id": ("Your own lead table", ""),
}
"""The first setting of each table → its heading, and what stands before the table."""

OVERRIDES = """\

## One integration other than the rest

`overrides` is JSON: for each integration type, any of these. What is not given comes from the general setting.

"""

EXAMPLE = """\

    AIRFLOW__LEADCAST__OVERRIDES={"amocrm": {"tries": 5, "slots": 4}, "telegram": {"timeout_s": 60}}

`slots` counts when `leadcast init` makes the pool. A pool that is there keeps its size: change it under Admin → Pools.
"""

OTHER_VARIABLES = """\

## Other variables

| variable | default | what it is |
| --- | --- | --- |
| `LEADCAST_HOME` | `.leadcast` | Folder of the local stack: [running.md](running.md). |
| `LEADCAST_PORT` | `8080` | First port of the local stack. |
| `LEADCAST_TIMEOUT_S` | `180` | Seconds that `leadcast up` waits for a part that does not get on. |
| `LEADCAST_URL` | the local stack | Where `leadcast send` and `leadcast batch` go. |
| `LEADCAST_TOKEN` | a token of the local stack | The Airflow token they show; or `--token-file FILE`. |
| `LEADCAST_SAFE_DIRECTORY` | | Folders obeyed though others may write them: [running.md](running.md#whose-folder). |
| `LEADCAST_SANDBOX_TOKEN` | | Token of `leadcast sandbox`; 16 characters or more: [there](sandbox.md#who-may-ask). |
"""


def page() -> str:
    """The page as it must be now."""
    return "".join(
        [
            INTRO,
            *_grouped(Settings),
            OVERRIDES,
            _head("key"),
            *_rows(Delivering.model_fields),
            EXAMPLE,
            SECRETS,
            OTHER_VARIABLES,
        ]
    )


def _grouped(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name in GROUPS:
            heading, words = GROUPS[name]
            yield f"\n## {heading}\n\n" + (f"{words}\n\n" if words else "") + _head("setting")
        yield from _rows({name: field})


def _head(first: str) -> str:
    return f"| {first} | type | default | unit | what it is |\n| --- | --- | --- | --- | --- |\n"


def _rows(fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        default = default_text(field)
        what = _cell(field.description or "")
        what += "".join(f" Example: `{_escaped(str(example))}`" for example in field.examples or ())
        yield f"| `{name}` | {_kind(field)} | {f'`{default}`' if default else ''} | {unit_of(field)} | {what} |\n"


def _kind(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if is_secret(field):
        return "secret, JSON" if isinstance(default.get_secret_value(), dict) else "secret"
    match default:
        case None:
            return "number" + _range(field)
        case tuple():
            return "list"
        case dict():
            return "JSON"
        case Enum():
            return "one of " + ", ".join(type(default))
        case bool():
            return "true or false"
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


def _cell(text: str) -> str:
    # URLs with placeholders are easier to read as code, and < would be taken for HTML
    return _escaped(re.sub(r"(\S*<\S+>\S*?)(?=[.,]?(?:\s|$))", r"`\1`", text))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
