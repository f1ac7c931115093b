"""From a target to an open line: which address is connected to, and TLS on it. What fails here sent nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from urllib3.util.ssltransport import SSLTransport

from leadcast.core.errors import Blocked, TransientError
from leadcast.integrations import tls
from leadcast.integrations.address import Target
from leadcast.integrations.alarm import Alarm
from leadcast.integrations.reachable import Network, may_reach, resolve

MAX_ADDRESSES = 4
"""How many addresses of one host are tried."""


@dataclass(frozen=True)
class Line:
    """A connection that nothing was sent on yet.

    Args:
        stream: what is written to and read from.
        carrier: the socket at the bottom of it, which an `Alarm` shuts.
    """

    stream: socket.socket | SSLTransport
    carrier: socket.socket

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self.carrier.close()


class Connector:
    """Opens lines, each once.

    Args:
        allowed_networks: private networks that strangers' URLs may reach all the same.
        connect_timeout_s: how long to try to connect, TLS included, to each address of a host.
    """

    def __init__(self, *, allowed_networks: Sequence[Network], connect_timeout_s: float) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._connect_timeout_s = connect_timeout_s

    def connect(self, target: Target, *, public_only: bool, deadline: float) -> Line:
        """A line to the target, TLS included.

        Args:
            public_only: the URL is a stranger's: reach public addresses and `allowed_networks` only.
            deadline: when to give up, by the monotonic clock.

        Raises:
            TransientError: it cannot be reached.
            Blocked: the address is not one that we send to.
        """
        if deadline <= monotonic():  # before anything was tried: that says nothing against the host
            raise TransientError(f"No time was left to reach {target.origin}; nothing was sent.", code="no_time")
        why = "no connection in time"
        for address in self._addresses(target, public_only=public_only)[:MAX_ADDRESSES]:
            timeout_s = min(self._connect_timeout_s, deadline - monotonic())
            if timeout_s <= 0:
                break
            try:
                return _open(target, address, timeout_s)
            except OSError as error:
                why = _why(error)
        raise TransientError(f"Cannot reach {target.origin}: {why}; nothing was sent.", code="unreachable")

    def _addresses(self, target: Target, *, public_only: bool) -> list[str]:
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
        return fit


def _open(target: Target, address: str, timeout_s: float) -> Line:
    ends_at = monotonic() + timeout_s
    plain = socket.create_connection((address, target.port), timeout=timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.scheme == "http":
        return Line(plain, plain)
    # The address is the one that was checked; the certificate must be for the name.
    wrapped = tls.http_context().wrap_socket(
        plain, server_hostname=target.host.rstrip("."), do_handshake_on_connect=False
    )
    try:
        with Alarm(wrapped, after_s=ends_at - monotonic()) as alarm:
            wrapped.do_handshake()
    except OSError:
        wrapped.close()
        if alarm.rang:
            raise TimeoutError from None
        raise
    return Line(wrapped, wrapped)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    return (error.strerror or "connection failed").lower()
