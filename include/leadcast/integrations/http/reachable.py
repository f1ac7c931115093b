"""A host's addresses, and which of them a stranger's URL may reach."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# RFC 4291 2.4: what lies outside is special, and may carry an IPv4 address inside (v4-mapped and the like), a way
# around a check that looks only at the outside. 6to4 (RFC 3056) does so within.
_GLOBAL_UNICAST = ip_network("2000::/3")
_SIX_TO_FOUR = ip_network("2002::/16")
# NAT64: what a cluster without IPv4 reaches every IPv4 host by. The second is cut up as each network likes (RFC 8215).
_NAT64 = ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
_LOCAL_NAT64_PREFIXES = (48, 56, 64, 96)
_NOWHERE = ip_network("0.0.0.0/8")


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, each once, in the resolver's order.

    Raises:
        OSError: the name is not known, or no name server answered.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def may_reach(text: str, *, allowed_networks: Sequence[Network]) -> bool:
    """Whether this address is public, or in a network that the operator has opened (vendors.md 4.3).

    Of an address that is translated to IPv4 on its way (NAT64), the one inside is judged.
    """
    address = ip_address(text)
    if any(address in network for network in allowed_networks):
        return True
    if address in _NAT64:
        return may_reach(str(_inside(address, prefix=96)), allowed_networks=allowed_networks)
    if address in _LOCAL_NAT64:
        return _may_reach_any(_readings(address), allowed_networks=allowed_networks)
    return _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address in _SIX_TO_FOUR):
        return False
    # `is_global` covers private, loopback, link-local, CGNAT, ULA, Teredo, unspecified and documentation addresses.
    return address.is_global and not address.is_multicast and not address.is_reserved


def _may_reach_any(readings: Sequence[IPv4Address], *, allowed_networks: Sequence[Network]) -> bool:
    """Where the network's own prefix ends is not known here, so whatever the address may stand for must be fit.

    0.0.0.0/8 is what the wrong readings of a plain prefix give, and no router sends anything there.
    """
    real = [reading for reading in readings if reading not in _NOWHERE]
    return bool(real) and all(may_reach(str(reading), allowed_networks=allowed_networks) for reading in real)


def _readings(address: Address) -> list[IPv4Address]:
    return [_inside(address, prefix=prefix) for prefix in _LOCAL_NAT64_PREFIXES]


def _inside(address: Address, *, prefix: int) -> IPv4Address:
    """The IPv4 address behind a prefix of so many bits: the next 32, the ninth byte left out (RFC 6052 2.2)."""
    behind = [byte for place, byte in enumerate(address.packed) if place >= prefix // 8 and place != 8]
    return IPv4Address(bytes(behind[:4]))
