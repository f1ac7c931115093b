"""What of a message of ours is shown to everybody, and stands in logs: our words, and no value that is put into them.

An address may be a secret, and what a service has said may repeat the person.
"""

from __future__ import annotations

import re

from leadcast.integrations.text.wording import Wording

HIDDEN = "…"
"""Stands where words stood that are not ours."""
# a number of five digits and more may be somebody's
_CODE = re.compile(r"(?!.*[0-9]{5})[A-Za-z0-9_.-]{1,64}", re.ASCII)
_TOLD = frozenset(
    {"code", "status", "reply", "type", "kind", "service", "method", "state"}
    | {"count", "total", "mailed", "failures", "claims", "hours", "seconds", "most"}
)
"""What our sentences call codes, types and counts: these are shown of every batch."""
_FIXED = frozenset({"example", "cloud", "setting"})
"""What they call words of ours that stand apart because they are the same in all languages."""


def is_code(text: str) -> bool:
    """Whether this is a code, a name or a number that tells of nobody."""
    return _CODE.fullmatch(text) is not None


def ours_of(message: str) -> str:
    """What of a message of our own is shown to everybody, and stands in logs: our words, not what they are about."""
    shown = Wording.english().masked(message, _value, hidden=HIDDEN) or HIDDEN
    return shown.removesuffix(".") if shown.endswith(f"{HIDDEN}.") else shown


def _value(name: str, value: str) -> str:
    if name in _FIXED or not value:
        return value
    return value if name in _TOLD and is_code(value.strip("'")) else HIDDEN
