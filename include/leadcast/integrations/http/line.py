"""An open connection, with TLS on it where it is asked for. Whatever fails is closed, in time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from urllib3.util.ssltransport import SSLTransport

from leadcast.integrations.http import tls
from leadcast.integrations.http.address import Target
from leadcast.integrations.http.alarm import Alarm

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A connection to a target that nothing was sent on yet.

    Args:
        stream: what is written to and read from.
        carrier: the socket at the bottom of it, which an `Alarm` shuts.
    """

    stream: socket.socket | SSLTransport
    carrier: socket.socket

    @classmethod
    def over(cls, sock: socket.socket, target: Target, *, ends_at: float) -> Line:
        """The line over a connection to the target, or to a proxy that passes all on to it.

        Raises:
            OSError: there is no TLS to be had.
        """
        if target.scheme == "http":
            return cls(sock, sock)
        if not isinstance(sock, ssl.SSLSocket):
            secured = with_tls(sock, target.host, ends_at=ends_at)
            return cls(secured, secured)
        # to the proxy; the standard library knows no TLS within TLS
        inner = within(
            ends_at, sock, lambda: SSLTransport(sock, tls.http_context(), server_hostname=_tls_name(target.host))
        )
        return cls(inner, sock)

    def close(self) -> None:
        """Closes the connection; one that is closed already stays so."""
        with suppress(OSError):
            self.carrier.close()


def with_tls(sock: socket.socket, host: str, *, ends_at: float) -> ssl.SSLSocket:
    """TLS on this connection, with a certificate that is good for the host.

    Raises:
        OSError: there is none to be had.
    """
    secured = tls.http_context().wrap_socket(sock, server_hostname=_tls_name(host), do_handshake_on_connect=False)
    within(ends_at, secured, secured.do_handshake)
    return secured


def within(ends_at: float, sock: socket.socket, act: Callable[[], T]) -> T:
    """Does this on the socket before its time is up.

    Raises:
        OSError: it failed, or was not done in time.
    """
    try:
        left_s = max(ends_at - monotonic(), 0.001)
        sock.settimeout(left_s)
        with Alarm(lambda: sock, after_s=left_s) as alarm:
            done = act()
    except OSError:
        sock.close()
        if alarm.rang:
            raise TimeoutError from None
        raise
    if alarm.rang:  # just as it was done
        sock.close()
        raise TimeoutError
    return done


def _tls_name(host: str) -> str:
    return host.removesuffix(".")
