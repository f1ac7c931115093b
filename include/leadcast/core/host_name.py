"""Names of hosts, in ASCII."""

from __future__ import annotations

import re
from ipaddress import ip_address

MAX_CHARS = 253
"""RFC 1035 2.3.4, without the dot of the root."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def host_name(text: str) -> str:
    """The text, if it can be a host's name.

    Raises:
        ValueError: it cannot.
    """
    if len(text) > MAX_CHARS or not _HOST.fullmatch(text):
        raise ValueError("not the name of a host in ASCII, such as mail.example.com")
    return text


def ehlo_name(text: str) -> str:
    """What may be said to a mail server in EHLO (RFC 5321 4.1.3): a host's name, or an address in brackets.

    An empty text stays one: the name is left to us.

    Raises:
        ValueError: it is neither.
    """
    text = text.strip()
    if not text:
        return ""
    if not (text.startswith("[") and text.endswith("]")):
        return host_name(text)
    ip_address(text[1:-1].removeprefix("IPv6:"))
    return text
