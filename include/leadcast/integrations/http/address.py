"""A URL taken apart: one reading for the door that takes it and for the call that goes there."""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from leadcast.core.errors import Blocked

MAX_URL_CHARS = 2048

_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"[A-Za-z]{1,16}://[^/?#\\]*")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
"""Dots of other keyboards, which IDNA reads as dots (RFC 3490 3.1, UTS 46)."""
_MAX_NAME_CHARS = 253
_MAX_AUTHORITY_CHARS = 1024
_JOINERS = "\u200c\u200d"
"""Invisible, and yet a part of words in some scripts. In a host's name, IDNA says where."""


class UnfitUrlError(ValueError):
    """A URL that nothing can be sent to. Its text says why, as a predicate, and repeats nothing of it.

    Args:
        code: as the error of a delivery carries it.
    """

    def __init__(self, why: str, *, code: str = "bad_url") -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Target:
    """A URL taken apart. Only `origin` is fit to be shown. A name in another script is in ASCII (IDNA 2008)."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def netloc(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`: what may be shown of a URL whose path or query may be secret."""
        return f"{self.scheme}://{self.netloc}"

    @classmethod
    def of(cls, url: str) -> Target:
        """The parts of an http or https URL without user name and password.

        Raises:
            Blocked: it is something else.
        """
        try:
            return cls.parsed(url)
        except UnfitUrlError as unfit:
            raise Blocked(f"The address {unfit}; nothing was sent.", code=unfit.code) from None

    @classmethod
    def parsed(cls, url: str) -> Target:
        """The same, for who has sent nothing yet.

        Raises:
            UnfitUrlError: it is something else.
        """
        _refuse_invisible(url)
        try:
            parts = parse_url(_composed(url))
        except LocationParseError:
            raise UnfitUrlError("is not a URL with a possible host and port") from None
        if parts.scheme not in _PORTS:
            raise UnfitUrlError("does not begin with http:// or https://")
        if parts.auth is not None:
            raise UnfitUrlError("holds a user name or password", code="userinfo")
        if not parts.host:
            raise UnfitUrlError("names no host")
        if parts.port == 0:
            raise UnfitUrlError("has an impossible port")
        host = parts.host.strip("[]")
        if not parts.host.startswith("["):
            _check_name(host)
        elif "%" in host:  # a zone is a part of one machine's network, and of no certificate
            raise UnfitUrlError("has an impossible host name")
        return cls(scheme=parts.scheme, host=host, port=parts.port or _PORTS[parts.scheme], path=parts.request_uri)


def netloc_of(url: str) -> str:
    """The host of a URL, and its port where it is no usual one: nothing of it that may be a secret."""
    try:
        return Target.parsed(url).netloc
    except UnfitUrlError:  # nothing is ever sent there
        return re.split(r"[/?#\\]", url.partition("://")[2])[0].rpartition("@")[2].lower()


def is_vendors(url: str, public_hosts: Sequence[str]) -> bool:
    """Whether it is at one of a vendor's own hosts (a name, or with a dot before it all names below it), and by TLS."""
    try:
        target = Target.parsed(url)
    except UnfitUrlError:
        return False
    return target.scheme == "https" and is_host_of(target.host, public_hosts)


def is_host_of(host: str, public_hosts: Sequence[str]) -> bool:
    """Whether this host is one of these."""
    name = host.lower().removesuffix(".")
    return any(name.endswith(own) if own.startswith(".") else name == own for own in public_hosts)


def callable_url(url: str) -> str:
    """A URL as people give it, without the blanks around it: one that can be called, as far as its text can tell.

    Raises:
        ValueError: it cannot; says why, and repeats nothing of it, which may be a secret.
    """
    if len(url) > 2 * MAX_URL_CHARS:  # before each character of it is looked at
        raise ValueError(f"must be a URL of at most {MAX_URL_CHARS} characters")
    ends = [place for place, char in enumerate(url) if not (_is_invisible(char) or char in _JOINERS)]
    url = url[ends[0] : ends[-1] + 1] if ends else ""
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"must be a URL of at most {MAX_URL_CHARS} characters")
    try:
        Target.parsed(url)
    except UnfitUrlError as unfit:
        raise ValueError(
            f"must be a URL that can be called, like https://example.com/leads: this one {unfit}"
        ) from None
    return url


def _refuse_invisible(url: str) -> None:
    if any(_is_invisible(char) for char in url):
        raise UnfitUrlError("holds a blank, or a character that cannot be seen")
    if "\\" in url:  # to some it is a slash, to others a part of the name
        raise UnfitUrlError("holds a backslash")


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp") and char not in _JOINERS


def _composed(url: str) -> str:
    """With each letter of the host in one piece, and with plain dots, as IDNA wants it and some keyboards do not write
    it."""
    authority = _AUTHORITY.match(url)
    if authority is None:
        return url
    if len(authority[0]) > _MAX_AUTHORITY_CHARS:  # many marks on one letter take the square of their number
        raise UnfitUrlError("has an impossible host name")
    return unicodedata.normalize("NFC", authority[0]).translate(_DOTS) + url[authority.end() :]


def _check_name(host: str) -> None:
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise UnfitUrlError("has an impossible host name")
    if _NUMBER.fullmatch(labels[-1]) and not _is_ipv4(host):  # no name ends in a number, so it is to be an address
        raise UnfitUrlError("has an impossible host name")


def _is_ipv4(host: str) -> bool:
    """In any of the forms that the system takes: 127.1 is one."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True
