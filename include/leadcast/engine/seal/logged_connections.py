"""What a row of Airflow's audit log tells of a connection of ours, and the row without its secrets.

Airflow masks passwords and what REST brings as extra (3.3.2). A webhook's URL is a host to it, though, and what
`airflow connections add` is given stays as it was typed. Rows about others' connections stay as they are.
Light to import: every Airflow process loads it.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, NoReturn

from leadcast.core.conn_ids import fits, type_name
from leadcast.engine.seal.logged_requests import MAX_COMMAND_CHARS, words_of
from leadcast.engine.seal.request_shape import MASKED, spend_on

OPTIONS = ("uri", "json", "extra", "type", "description", "host", "login", "password", "schema", "port")
"""Of `airflow connections add`, each with `--conn-` before it (3.3.2). Abbreviations depend on which there are."""
_ABOUT_CONNECTIONS = "connection"
"""What the names of such events have in them: what Airflow itself goes by (3.3.2)."""
_BY_COMMAND = "cli_connections_add"
"""The name of the command's events (3.3.2)."""
_IDS = ("connection_id", "conn_id")
_TYPE = "conn_type"
_READABLE = (*_IDS, _TYPE, "port", "method")
_TELLING = ("host", "login", "password", "extra", "uri")
"""What makes an object that has no type a connection: nobody's, since Airflow takes none without."""
_SHARED_TYPES = frozenset({"http", "https", "smtp", "smtps", "generic"})
"""Types that an integration of ours takes and that others' connections have, too: the connection's name decides."""
_OUR_NAMES = "leadcast_"
_PLAIN = re.compile(r"[\w.-]{1,250}")
_BARE_HOST = re.compile(r"(?:https?://)?[A-Za-z0-9_.-]{1,253}(?::[0-9]{1,5})?/?")


def masked(event: Any, extra: Any) -> Any:
    """What is logged under this event, without the secrets of connections of ours. Never raises but what is measured.

    Raises:
        SpentError: there is more in it than is left to spend.
    """
    if not isinstance(event, str) or _ABOUT_CONNECTIONS not in event or not isinstance(extra, str):
        return extra
    spend_on(extra)
    try:
        logged = json.loads(extra)
        shown = _shown_command(logged) if event == _BY_COMMAND else _shown(logged)
        return extra if shown == logged else json.dumps(shown)
    except (KeyError, TypeError, ValueError, RecursionError):
        return MASKED


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _types(value) or any(name in value for name in _TELLING):
        return _fields(value) if _is_ours(value) else value
    return {name: _shown(item) for name, item in value.items()}


def _fields(connection: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _field(name, value) for name, value in connection.items()}


def _field(name: str, value: Any) -> Any:
    if value in (None, "") or (isinstance(value, dict) and all(inner == MASKED for inner in value.values())):
        return value
    if name == "uri":
        scheme, colon, _ = str(value).partition("://")
        return f"{scheme}://{MASKED}" if colon and _PLAIN.fullmatch(scheme) else MASKED
    pattern = _BARE_HOST if name == "host" else _PLAIN
    return value if name in (*_READABLE, "host") and pattern.fullmatch(str(value)) else MASKED


def _shown_command(logged: Any) -> Any:
    """The command of a row. One about a connection of ours is written anew, from what argparse reads in it: so no
    spelling of an option is missed."""
    command = logged["full_command"] if isinstance(logged, dict) else ""
    words = words_of(command) if len(command) <= MAX_COMMAND_CHARS else None
    if words is None:
        raise ValueError
    start = words.index("add") + 1
    try:
        given = {name: value for name, value in vars(_parser().parse_args(words[start:])).items() if value is not None}
    except ValueError:  # Airflow would not have taken it either
        return {**logged, "full_command": str([*words[:start], MASKED])}
    inner = _object(given.get("json", ""))
    told = {"conn_id": given.pop("conn_id"), _TYPE: given.get("type", ""), "uri": given.get("uri", "")}
    if not _is_ours(told, inner):
        return logged
    shown = [_field("conn_id", told["conn_id"])]
    for option, value in given.items():
        if option == "json":
            value = json.dumps(_fields(inner)) if inner else MASKED
        else:
            value = _field(_TYPE if option == "type" else option, value)
        shown += [f"--conn-{option}", value]
    return {**logged, "full_command": str([*words[:start], *shown])}


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> ArgumentParser:
    parser = _Parser(add_help=False)
    parser.add_argument("conn_id")
    for option in OPTIONS:
        parser.add_argument(f"--conn-{option}", dest=option)
    return parser


def _object(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _types(connection: Mapping[str, Any]) -> set[str]:
    """The types that it says to have, as Airflow has them; a URI's is its scheme."""
    told = (str(connection.get(_TYPE) or ""), str(connection.get("uri") or "").partition(":")[0])
    return {type_name(kind.strip()) for kind in told if kind.strip()}


def _is_ours(*told: Mapping[str, Any]) -> bool:
    """Whether the connection that these tell of is one of ours, or nobody's: it says no type."""
    ids = {str(each[name]) for each in told for name in _IDS if each.get(name)}
    types = set[str]().union(*map(_types, told))
    if not types or any(conn_id.lower().startswith(_OUR_NAMES) for conn_id in ids) or types & _own_types():
        return True
    return bool(types & _SHARED_TYPES) and any(fits(conn_id, each) for conn_id in ids for each in _allowed())


def _own_types() -> set[str]:
    """Types of connections that only integrations take. Those that we ship need not be imported for it."""
    from leadcast.integrations import registry

    others = map(registry.get_if_sound, set(registry.types()) - set(registry.SHIPPED))
    types = set(registry.types()).union(*(each.connection_types for each in others if each))
    return set(map(type_name, types)) - _SHARED_TYPES


def _allowed() -> list[str]:
    """`[leadcast] allowed_conn_ids`, read alone: other settings may have to be asked for elsewhere."""
    from airflow.configuration import conf

    from leadcast.core.setting_fields import comma_separated

    return list(comma_separated(conf.get("leadcast", "allowed_conn_ids", fallback="")))
