"""From a target to an open line: by which address or proxy, and TLS on it. What fails here sent nothing."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from time import monotonic

from leadcast.core.errors import Blocked, TransientError
from leadcast.integrations.http import line_faults
from leadcast.integrations.http.address import Target
from leadcast.integrations.http.line import Line, with_tls, within
from leadcast.integrations.http.proxy import Proxy, proxy_for
from leadcast.integrations.http.racing import MAX_ADDRESSES, first_connected
from leadcast.integrations.http.reachable import Network, may_reach, resolve
from leadcast.integrations.http.tunnel import TunnelError, open_tunnel


class Connector:
    """Opens connections to a target, through a proxy where there is one.

    Args:
        allowed_networks: private networks that strangers' URLs may reach all the same.
        connect_timeout_s: how long to try to connect to a host, TLS included; again for those of its addresses that are
            left when one of them connects and then fails.
        proxy: as the settings have it: a proxy's URL, `env`, or empty.
    """

    def __init__(self, *, allowed_networks: Sequence[Network], connect_timeout_s: float, proxy: str = "") -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._connect_timeout_s = connect_timeout_s
        self._proxy = proxy

    def connect(self, target: Target, *, public_only: bool, deadline: float, operators: bool = False) -> Line:
        """A line to the target, TLS included.

        Args:
            public_only: reach public addresses and `allowed_networks` only.
            operators: the address is the operator's, and a token goes there: see `Egress.send`.
            deadline: when to give up, by the monotonic clock.

        Raises:
            TransientError: it cannot be reached.
            Blocked: the address is not one that we send to.
        """
        if deadline <= monotonic():  # before anything was tried: that says nothing against the host
            raise TransientError(f"No time was left to reach {target.origin}; nothing was sent.", code="no_time")
        try:
            proxy = proxy_for(target, self._proxy)
        except ValueError as wrong:
            raise TransientError(f"The proxy's URL {wrong}; nothing was sent.", code="unreachable") from None
        if proxy is None:
            return self._direct(target, self._fit(target, public_only=public_only, operators=operators), deadline)
        if not public_only:
            # what the network here knows of the outside may be nothing, or false: the proxy looks the name up
            return self._through(proxy, target, [target.host], deadline)
        try:
            fit = self._fit(target, public_only=True, operators=operators)
        except TransientError:
            if not operators or target.scheme != "https":
                raise
            return self._through(proxy, target, [target.host], deadline)
        inside = [address for address in fit if not may_reach(address, allowed_networks=())]
        return self._direct(target, inside, deadline) if inside else self._through(proxy, target, fit, deadline)

    def judge(self, target: Target, *, operators: bool) -> None:
        """Whether the target is one that is connected to: see `Egress.judge`."""
        self._fit(target, public_only=True, operators=operators)

    def _direct(self, target: Target, addresses: Sequence[str], deadline: float) -> Line:
        left, why = list(addresses), "no connection in time"
        while left and monotonic() < deadline:
            ends_at = min(deadline, monotonic() + self._connect_timeout_s)
            try:
                plain, address = first_connected(left, target.port, deadline=ends_at)
            except OSError as error:
                why = line_faults.why(error)
                break
            left.remove(address)
            try:
                return Line.over(plain, target, ends_at=ends_at)
            except OSError as error:
                why = line_faults.why(error)
        raise TransientError(f"Cannot reach {target.origin}: {why}; nothing was sent.", code="unreachable")

    def _through(self, proxy: Proxy, target: Target, places: Sequence[str], deadline: float) -> Line:
        """By the proxy, to one of these places: the target's name, or its addresses, which were judged."""
        why = "no connection in time"
        for place in places[:MAX_ADDRESSES]:
            if monotonic() >= deadline:
                break
            ends_at = min(deadline, monotonic() + self._connect_timeout_s)
            try:
                sock = _to_proxy(proxy, ends_at)
            except OSError as error:
                why = f"the proxy cannot be reached: {line_faults.why(error)}"
                break
            try:
                within(ends_at, sock, partial(open_tunnel, sock, proxy, host=place, port=target.port))
                return Line.over(sock, target, ends_at=ends_at)
            except TunnelError as error:
                why = f"the proxy {error.strerror}"
            except OSError as error:
                why = f"{line_faults.why(error)}, through the proxy"
        raise TransientError(f"Cannot reach {target.origin}: {why}; nothing was sent.", code="unreachable")

    def _fit(self, target: Target, *, public_only: bool, operators: bool = False) -> list[str]:
        try:
            found = resolve(target.host, target.port)
        except OSError:
            raise TransientError(
                f"The name of {target.origin} cannot be resolved; nothing was sent.", code="dns"
            ) from None
        if not public_only:
            return found
        fit = [text for text in found if may_reach(text, allowed_networks=self._allowed_networks)]
        if not fit:
            raise Blocked(
                f"{target.origin} is not a public address; nothing was sent. "
                "To allow it, add its network to [leadcast] allowed_networks.",
                code="private_address",
            )
        if operators and target.scheme == "http":
            return self._fit_in_clear(target, fit)
        return fit

    def _fit_in_clear(self, target: Target, found: Sequence[str]) -> list[str]:
        fit = [text for text in found if any(ip_address(text) in network for network in self._allowed_networks)]
        if not fit:
            raise Blocked(
                f"{target.origin} has no TLS, and a token would go there in clear; nothing was sent. "
                "Use https, or add its network to [leadcast] allowed_networks.",
                code="clear_text",
            )
        return fit


def _to_proxy(proxy: Proxy, ends_at: float) -> socket.socket:
    plain, _ = first_connected(resolve(proxy.host, proxy.port), proxy.port, deadline=ends_at)
    return with_tls(plain, proxy.host, ends_at=ends_at) if proxy.scheme == "https" else plain
