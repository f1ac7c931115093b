"""The one way out over HTTP: bounded in time and size, one attempt, and sure of whether anything was sent.

It stands on urllib3's connections, which `requests` is built on, because they let us connect and send in two steps.
What fails in the first was not sent; what fails in the second may have been executed. An exception's class cannot tell
the two apart (a TLS error may come from either), and a lead that is sent twice is the worst that can happen here.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property
from time import monotonic
from types import MappingProxyType
from typing import Any

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError

from leadcast.core.errors import Blocked, TransientError
from leadcast.integrations.address import Network, Target, may_reach, resolve
from leadcast.integrations.answer import Answer
from leadcast.integrations.exchange import exchange, prepared

__all__ = ["Answer", "Egress"]

MAX_ADDRESSES = 4
"""How many addresses of one host are tried."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Egress:
    """Sends HTTP requests: each once, on a connection of its own, without proxies, cookies or redirects.

    Args:
        allowed_networks: private networks that `public_only` requests may reach all the same.
        connect_timeout_s: how long to try to connect, TLS included, to each address of a host.
    """

    def __init__(self, *, allowed_networks: Sequence[Network] = (), connect_timeout_s: float = 10.0) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._connect_timeout_s = connect_timeout_s

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        json: Any = None,
        body: bytes | None = None,
        timeout_s: float = 60.0,
        max_answer_bytes: int = 65536,
        public_only: bool = False,
    ) -> Answer:
        """Sends once and returns the answer, whatever its status.

        Args:
            json: sent as JSON in UTF-8, instead of `body`.
            timeout_s: for all of it, from connecting to the answer's last byte (the system's name lookup apart).
            max_answer_bytes: what is longer is cut.
            public_only: the URL is a stranger's: reach public addresses and `allowed_networks` only.

        Raises:
            TransientError: nothing was sent.
            UnknownOutcome: it was sent, and no whole answer came.
            Blocked: the address is not one that we send to.
            Unsendable: a header cannot be sent.
        """
        target = Target.of(url)
        content, all_headers = prepared(target, headers, json, body)
        deadline = monotonic() + timeout_s
        connection = self._connected(target, public_only=public_only, deadline=deadline)
        try:
            return exchange(connection, target, method, all_headers, content, deadline, max_answer_bytes)
        finally:
            connection.close()

    def reach(self, url: str, *, timeout_s: float = 20.0, public_only: bool = False) -> None:
        """Connects, TLS included, as `send` would, and sends nothing.

        Raises:
            TransientError: it cannot be reached.
            Blocked: the address is not one that we send to.
        """
        self._connected(Target.of(url), public_only=public_only, deadline=monotonic() + timeout_s).close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())  # the system's authorities may be missing in a container
        return context

    def _connected(self, target: Target, *, public_only: bool, deadline: float) -> HTTPConnection:
        if deadline <= monotonic():  # before anything was tried: that says nothing against the host
            raise TransientError(f"No time was left to reach {target.origin}; nothing was sent.", code="no_time")
        why = "no connection in time"
        for address in self._addresses(target, public_only=public_only)[:MAX_ADDRESSES]:
            timeout_s = min(self._connect_timeout_s, deadline - monotonic())
            if timeout_s <= 0:
                break
            connection = self._connection(target, address, timeout_s)
            try:
                connection.connect()
            except (HTTPError, OSError) as error:
                connection.close()
                why = _why(error)
            else:
                return connection
        raise TransientError(f"Cannot reach {target.origin}: {why}; nothing was sent.", code="unreachable")

    def _addresses(self, target: Target, *, public_only: bool) -> list[str]:
        try:
            found = resolve(target.host, target.port)
        except UnicodeError:
            raise Blocked("The address holds an impossible host name; nothing was sent.", code="bad_url") from None
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

    def _connection(self, target: Target, address: str, timeout_s: float) -> HTTPConnection:
        if target.scheme == "http":
            return HTTPConnection(address, target.port, timeout=timeout_s)
        # The address is the one that was checked; the certificate must be for the name.
        return HTTPSConnection(
            address, target.port, timeout=timeout_s, ssl_context=self._tls, server_hostname=target.host
        )


def _why(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, HTTPError) and isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(cause, (TimeoutError, ConnectTimeoutError)):
        return "no connection in time"
    return (getattr(cause, "strerror", None) or "connection failed").lower()
