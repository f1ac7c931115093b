"""What a row of Airflow's audit log holds of a request, and the row without it.

A row is what somebody has sent, so it is parsed, never matched: a pattern over it could be made to take hours. What
cannot be parsed, and may be a request for this lead, goes.
"""

from __future__ import annotations

import ast
import json
from typing import Any

from leadcast.core import blanks
from leadcast.core.values import is_sendable, is_whole, text_of

ERASED = {"erased": True}
"""What stands where a request stood."""
MAX_CHARS = 2_000_000
"""Of a row: a longer one is not read."""
MAX_COMMAND_CHARS = 300_000
"""Of a logged command: a longer one is not taken apart."""
_MAX_DEPTH = 200
_LEAD_ID = "lead_id"
_OURS = ("integrations", "credentials", "callback_url")
_IN_AN_ID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-")
_OPENS = ("{", "[")


class _NotReadError(Exception):
    """It lies too deep to be looked into."""


def without(extra: str, lead_id: str, *, of_ours: bool, by_command: bool = False) -> str | None:
    """What was logged, without the requests for this lead; None: it holds none.

    Args:
        of_ours: it was logged for our own DAG: any object with the lead's id is a request, and so is what cannot be
            parsed and names it. For another DAG's it must have another field of a request, too.
        by_command: it is a command line that was logged.
    """
    reader = _Reader(lead_id, of_ours=of_ours)
    try:
        logged = json.loads(extra)
        if by_command and isinstance(logged, dict):
            logged = {**logged, "full_command": _words(logged.get("full_command"))}
        bare = reader.bare(logged)
    except (ValueError, RecursionError, _NotReadError):
        return json.dumps(ERASED) if of_ours and names(extra, lead_id) else None
    if not reader.found:
        return None
    if by_command and isinstance(bare, dict) and isinstance(bare.get("full_command"), list):
        bare["full_command"] = str(bare["full_command"])
    return json.dumps(bare)


def names(text: str, lead_id: str) -> bool:
    """Whether a text that cannot be parsed may hold a request for this lead: it has the id as a word of its own, and
    that name of a field. One walk over it."""
    if _LEAD_ID not in text:
        return False
    at = text.find(lead_id)
    while at >= 0:
        end = at + len(lead_id)
        if text[at - 1 : at] not in _IN_AN_ID and text[end : end + 1] not in _IN_AN_ID:
            return True
        at = text.find(lead_id, at + 1)
    return False


def words_of(command: Any) -> list[str] | None:
    """The words of a command that was logged; None: it cannot be taken apart."""
    if not isinstance(command, str):
        return None
    try:
        words = ast.literal_eval(command)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _words(command: Any) -> Any:
    """The words of a command; one that cannot be taken apart, or is too long for it, as it is."""
    if isinstance(command, str) and len(command) > MAX_COMMAND_CHARS:
        return command
    words = words_of(command)
    return command if words is None else words


class _Reader:
    """Takes requests for a lead out of a value. `found`: there were some."""

    def __init__(self, lead_id: str, *, of_ours: bool) -> None:
        self._lead_id, self._of_ours = lead_id, of_ours
        self.found = False

    def bare(self, value: Any, depth: int = 0) -> Any:
        """The value without the requests for the lead that lie in it, at any depth.

        Raises:
            _NotReadError: it lies too deep.
        """
        if depth > _MAX_DEPTH:
            raise _NotReadError
        match value:
            case dict():
                if self._is_request(value):
                    self.found = True
                    return ERASED
                return {name: self.bare(item, depth + 1) for name, item in value.items()}
            case list():
                return [self.bare(item, depth + 1) for item in value]
            case str() if _LEAD_ID in value:
                return self._bare_text(value, depth)
        return value

    def _is_request(self, value: dict[Any, Any]) -> bool:
        if not _is_id(value.get(_LEAD_ID), self._lead_id):
            return False
        return self._of_ours or any(name in value for name in _OURS)

    def _bare_text(self, text: str, depth: int) -> str:
        """A request that is logged as a text: a word of a command, a conf that was JSON twice."""
        starts = [at for at in map(text.find, _OPENS) if at >= 0]
        start = 0 if text.startswith('"') else min(starts, default=len(text))
        try:
            inner = json.loads(text[start:])
        except (ValueError, RecursionError):
            if self._of_ours and names(text, self._lead_id):
                self.found = True
                return text[:start] + json.dumps(ERASED)
            return text
        bare = self.bare(inner, depth + 1)
        return text if bare == inner else text[:start] + json.dumps(bare)


def _is_id(value: Any, lead_id: str) -> bool:
    """Whether a door would take this value for that id."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not is_sendable(value):
        return False
    text = value if isinstance(value, str) else text_of(value) if is_whole(value) else ""
    return blanks.bare(text) == lead_id
