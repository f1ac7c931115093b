"""Domain names as the network has them: in ASCII, by IDNA 2008 (RFC 5891), as browsers and registries do.

Python's own codec knows IDNA 2003 only, which makes `strasse.de` of `straße.de`: another owner's domain.
"""

from __future__ import annotations

import idna

from leadcast.core.host_name import MAX_CHARS


def ascii_domain(text: str) -> str:
    """The name in ASCII; one that is ASCII already stays as it is written.

    Raises:
        ValueError: IDNA 2008 has no such name.
    """
    if text.isascii():
        return text
    if len(text) > MAX_CHARS:  # none gets shorter by being put in ASCII
        raise ValueError("longer than a domain name may be")
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:
        raise ValueError("not a domain name by IDNA 2008") from None
