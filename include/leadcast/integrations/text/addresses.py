"""E-mail addresses in the one form that every mail server takes."""

from __future__ import annotations

import re

from leadcast.core.host_name import host_name
from leadcast.integrations.text.domain import ascii_domain

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LONGEST_ADDRESS = 254
_LONGEST_LOCAL = 64


def mail_address(text: str) -> str:
    """One address (`name@domain`) in the form that every mail server takes, its domain in ASCII.

    Raises:
        ValueError: it is not exactly one, or its part before the @ is not ASCII (that needs SMTPUTF8, which is rare).
    """
    local, at, domain = text.strip().rpartition("@")
    try:
        domain = host_name(ascii_domain(domain))
    except ValueError:
        domain = ""
    address = f"{local}{at}{domain}"
    fits = domain and _LOCAL.fullmatch(local) and len(local) <= _LONGEST_LOCAL
    if not fits or len(address) > _LONGEST_ADDRESS:
        raise ValueError("not an e-mail address like name@example.com")
    return address
