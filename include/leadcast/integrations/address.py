"""Where a request goes: a URL taken apart, its host's addresses, and which of them a stranger's URL may reach."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from leadcast.core.errors import Blocked

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORTS = {"http": 80, "https": 443}

# RFC 4291 2.4: what lies outside is special, and may carry an IPv4 address inside (v4-mapped, NAT64: RFC 6052, 8215),
# a way around a check that looks only at the outside. 6to4 (RFC 3056) does so within.
_GLOBAL_UNICAST = ip_network("2000::/3")
_SIX_TO_FOUR = ip_network("2002::/16")


@dataclass(frozen=True)
class Target:
    """A URL taken apart. Only `origin` is fit to be shown."""

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
        """scheme://host[:port]"""
        return f"{self.scheme}://{self.netloc}"

    @classmethod
    def of(cls, url: str) -> Target:
        """The parts of an http or https URL without user name and password.

        Raises:
            Blocked: it is something else.
        """
        try:
            parts = parse_url(url)
        except LocationParseError:
            raise Blocked("The address is not a URL; nothing was sent.", code="bad_url") from None
        if parts.scheme not in _PORTS or not parts.host:
            raise Blocked("The address is not an http or https URL; nothing was sent.", code="bad_url")
        if parts.auth is not None:
            raise Blocked("The address holds a user name or password; nothing was sent.", code="userinfo")
        port = parts.port or _PORTS[parts.scheme]
        return cls(scheme=parts.scheme, host=parts.host.strip("[]"), port=port, path=parts.request_uri)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, in the resolver's order.

    Raises:
        OSError: the name is not known, or no name server answered.
        UnicodeError: the name cannot be one.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def may_reach(text: str, *, allowed_networks: Sequence[Network]) -> bool:
    """Whether this address is public, or in a network that the operator has opened (vendors.md 4.3)."""
    address = ip_address(text)
    return any(address in network for network in allowed_networks) or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address in _SIX_TO_FOUR):
        return False
    # `is_global` covers private, loopback, link-local, CGNAT, ULA, Teredo, unspecified and documentation addresses.
    return address.is_global and not address.is_multicast and not address.is_reserved
