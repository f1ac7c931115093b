"""Which of a host's addresses is connected to: the first that answers (happy eyeballs, RFC 8305).

A dead address costs a quarter of a second, not the time of all that come after it.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import chain, zip_longest
from time import monotonic

MAX_ADDRESSES = 16
"""How many addresses of one host are tried."""
HEAD_START_S = 0.25
"""How long an address has before the next is tried beside it (RFC 8305 5)."""


def first_connected(addresses: Sequence[str], port: int, *, deadline: float) -> tuple[socket.socket, str]:
    """A connection to the first address that answers, and which one that is. The others are closed.

    Args:
        addresses: IP addresses, the preferred ones first.
        deadline: when to give up, by the monotonic clock.

    Raises:
        OSError: none did; why not the last one.
    """
    waiting = deque(in_turns(addresses)[:MAX_ADDRESSES])
    begun: dict[socket.socket, str] = {}
    why = OSError("no address")
    next_at = monotonic()
    selector = selectors.DefaultSelector()
    try:
        while waiting or begun:
            now = monotonic()
            if now >= deadline:
                raise TimeoutError
            if waiting and (now >= next_at or not begun):
                address = waiting.popleft()
                next_at = now + HEAD_START_S
                try:
                    sock = _begun(address, port)
                except OSError as error:
                    why, next_at = error, now
                    continue
                begun[sock] = address
                selector.register(sock, selectors.EVENT_WRITE, sock)
            until = min(deadline, next_at) if waiting else deadline
            for key, _ in selector.select(max(until - monotonic(), 0)):
                sock = key.data
                selector.unregister(sock)
                address = begun.pop(sock)
                problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not problem:
                    return sock, address
                sock.close()
                why, next_at = OSError(problem, os.strerror(problem)), now
        raise why
    finally:
        selector.close()
        for sock in begun:
            sock.close()


def in_turns(addresses: Sequence[str]) -> list[str]:
    """The families in turns, beginning with that of the first (RFC 8305 4)."""
    first = ip_address(addresses[0]).version if addresses else 4
    ours = [address for address in addresses if ip_address(address).version == first]
    others = [address for address in addresses if ip_address(address).version != first]
    return [address for address in chain.from_iterable(zip_longest(ours, others)) if address is not None]


def _begun(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock
