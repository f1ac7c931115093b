"""Which Airflow connections a request may name. Those that the operator keeps for himself are never among them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from leadcast.core.redact import one_line

OF_AIRFLOW = "leadcast_airflow"
"""The connection that the DAG `prune` deletes old runs through: a user of Airflow, with his password."""
_MOST_CHARS = 250
_PATTERN = re.compile(r"[\w.*-]{1,250}")
_NAME = re.compile(r"\w[\w.-]{0,249}")
_ANY = "*"


def is_conn_id(text: object) -> bool:
    """Whether this can be the name of a connection in a request: no path, no blank."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def type_name(conn_type: str) -> str:
    """A connection's type as it is compared: Airflow takes `-` for `_`, and capitals for small letters."""
    return conn_type.lower().replace("-", "_")


def unusable(conn_id: str, integration_type: str) -> str:
    """What a caller is told of a connection that he cannot use. The same whether there is none, it is one for something
    else, or requests may not name it: who may not see connections learns nothing of them.
    """
    name = repr(one_line(conn_id, limit=64))
    return (
        f"Connection {name} cannot be used for {integration_type}: there is none of this name, it is of another type, "
        "or requests may not name it. Who runs Leadcast finds out by: leadcast test-connection "
        f"{integration_type} --conn-id {shlex.quote(one_line(conn_id, limit=_MOST_CHARS))}"
    )


def pattern(text: str) -> str:
    """A pattern of names, in which only `*` means something: any characters, or none.

    Raises:
        ValueError: it holds what stands in no name.
    """
    if not _PATTERN.fullmatch(text):
        raise ValueError("each is the name of a connection, in which * stands for anything")
    return text


def fits(conn_id: str, pattern: str) -> bool:
    """Whether the whole name is as the pattern says, capitals included. Takes one walk over the name."""
    first, *rest = pattern.split(_ANY)
    if not rest:
        return conn_id == pattern
    *between, last = rest
    if len(conn_id) < len(first) + len(last) or not conn_id.startswith(first) or not conn_id.endswith(last):
        return False
    at, end = len(first), len(conn_id) - len(last)
    for piece in between:
        found = conn_id.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


Pattern = Annotated[str, AfterValidator(pattern)]


@dataclass(frozen=True, kw_only=True)
class ConnIds:
    """Which Airflow connections a request may name.

    allowed: patterns of names.
    kept: names that no request may name, whatever the patterns say.
    notifying: a name that only a pattern without `*` opens.
    """

    allowed: Collection[str]
    kept: Collection[str] = ()
    notifying: str = ""

    def may_be_named(self, conn_id: str, *, default: str) -> bool:
        """Whether a request may name this connection.

        Args:
            default: the one that its integration uses without being asked: to name it is no more than that.
        """
        place = _place(conn_id)
        if not is_conn_id(conn_id) or place in map(_place, self.kept):
            return False
        if conn_id == default:
            return True
        patterns = (
            self.allowed if place != _place(self.notifying) else [each for each in self.allowed if _ANY not in each]
        )
        return any(fits(conn_id, each) for each in patterns)


def _place(conn_id: str) -> str:
    """Where Airflow may look for it: in the environment all are in capitals, and some vaults know no underscore."""
    return conn_id.upper().replace("-", "_")
