"""The name that we say to a mail server (EHLO): one that the internet may know, whatever machine we run on.

In a container the machine's name has no dot, and `smtplib` then says `[127.0.0.1]` or another private address: Google's
relay and Postfix's `reject_non_fqdn_helo_hostname` refuse that.
"""

from __future__ import annotations

import socket
from functools import cache

from leadcast.core.host_name import host_name
from leadcast.integrations.text.domain import ascii_domain

_NOBODYS = frozenset({"localhost", "localdomain", "local", "internal", "lan", "home", "invalid", "arpa"})
"""Last labels of names that mean something at home only (RFC 6761, RFC 6762, RFC 8375, and by custom)."""


def default_name(sender_domain: str) -> str:
    """This machine's full name where it has one; else the domain that the mail comes from."""
    return _full_name_of_this_machine() or sender_domain


@cache
def _full_name_of_this_machine() -> str:
    """Empty: it has none. Asked once a process: the resolver may take its time."""
    try:
        name = host_name(ascii_domain(socket.getfqdn()))
    except (OSError, ValueError):  # a name in Cyrillic that is none by IDNA, or longer than a resolver takes
        return ""
    labels = name.lower().split(".")
    is_everybodys = len(labels) > 1 and labels[-1] not in _NOBODYS and not labels[-1].isdigit()
    return name if is_everybodys else ""
