"""One connection to a mail server: connected, secured, signed in, and hung up in the end (vendors.md 5.1, 5.2)."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from leadcast.core.errors import Blocked, TransientError
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.integrations.email.smtp_blame import CLIENT, NAME
from leadcast.integrations.email.smtp_last_words import HearsLastWords
from leadcast.integrations.email.smtp_login import sign_in
from leadcast.integrations.email.smtp_replies import is_taken, not_let_in, nothing_sent
from leadcast.integrations.http.alarm import Alarm
from leadcast.integrations.http.deadline import Deadline

_GOODBYE_TIMEOUT_S = 5.0
_SHUT_AGAIN_AFTER_S = 0.2
_READY = 220
_MOST_REPLY_BYTES = 65536
"""For all lines of one reply; EHLO's, the longest, has a few hundred bytes."""
_LEAST_LINE_BYTES = 64
"""What a shorter line counts as: each takes memory of its own."""
_KNOWS_NO_EHLO = frozenset({500, 502})


class _WholeLines:
    """A mail server's replies. One that breaks off within its line is none: its code may be half a code, too. And one
    that has no end is none."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self._left = _MOST_REPLY_BYTES
        self.close = opened.close

    def readline(self, limit: int = -1) -> bytes:
        line = self._opened.readline(limit)
        self._left -= max(len(line), _LEAST_LINE_BYTES)
        if self._left <= 0 or not line.endswith(b"\n"):
            return b""
        if line[3:4] != b"-":  # the last line of its reply
            self._left = _MOST_REPLY_BYTES
        return line


class _HearsWholeLines:
    _lines: _WholeLines | None = None

    @property
    def file(self) -> _WholeLines | None:
        return self._lines

    @file.setter
    def file(self, opened: BinaryIO | None) -> None:
        self._lines = None if opened is None else _WholeLines(opened)


class _Client(_HearsWholeLines, HearsLastWords):
    pass


class _TlsClient(_HearsWholeLines, HearsLastWords, smtplib.SMTP_SSL):
    pass


@contextmanager
def session(server: MailServer, *, timeout_s: float) -> Iterator[smtplib.SMTP]:
    """A client that may send; whatever happens, it hangs up in the end.

    Args:
        timeout_s: for all of it, the greeting included; and before that for connecting to each of the host's addresses.

    Raises:
        TransientError: no connection, or the server says later (4yz).
        CredentialsError: it refuses us, our name or our login.
        Blocked: it offers no TLS, and the connection does not allow to send without.
    """
    if timeout_s <= 0:
        raise TransientError(f"No time was left to reach mail server {server}; nothing was sent.", code="no_time")
    client = _client(server, timeout_s=min(server.timeout_s, timeout_s))
    deadline = Deadline(timeout_s)
    try:
        # until the session has ended: in connecting there is no socket yet, or another one after it
        with Alarm(lambda: client.sock, after_s=timeout_s, again_every_s=_SHUT_AGAIN_AFTER_S):
            with nothing_sent(server):
                _connect(client, server)
                _secure(client, server, deadline)
                if server.signs_in:
                    sign_in(client, server)
            yield client
            # The outcome is known by now, so trouble in saying goodbye is nobody's.
            with suppress(smtplib.SMTPException, OSError):
                wait_at_most(client, _GOODBYE_TIMEOUT_S)
                client.quit()
    finally:
        client.close()


def wait_at_most(client: smtplib.SMTP, timeout_s: float) -> None:
    """How long the next replies may take."""
    if client.sock is not None:
        client.sock.settimeout(timeout_s)


def _client(server: MailServer, *, timeout_s: float) -> smtplib.SMTP:
    """Not connected yet: in its constructor smtplib waits for the greeting too, and nobody could break that off."""
    if server.mode is TlsMode.TLS:
        return _TlsClient(local_hostname=server.name, timeout=timeout_s, context=server.tls_context())
    return _Client(local_hostname=server.name, timeout=timeout_s)


def _connect(client: smtplib.SMTP, server: MailServer) -> None:
    client._host = server.host  # type: ignore[attr-defined]  # whose certificate it is to be, which only `SMTP(host)` sets
    code, reply = client.connect(server.host, server.port)
    if code != _READY:
        raise not_let_in(server, "does not talk to us", code, reply, fault=CLIENT)


def _secure(client: smtplib.SMTP, server: MailServer, deadline: Deadline) -> None:
    wait_at_most(client, server.timeout_s)
    _say_hello(client, server)
    if server.mode is not TlsMode.STARTTLS:
        return
    if not client.has_extn("starttls"):
        raise Blocked(
            f"Mail server {server} offers no STARTTLS; nothing was sent in clear. Only if the way to it is safe: "
            "set disable_tls in the connection's extra.",
            code="no_starttls",
        )
    # no alarm rings in the middle of it: the socket is another one then
    wait_at_most(client, max(deadline.left_s(server.timeout_s), 0.001))
    client.starttls(context=server.tls_context())
    wait_at_most(client, server.timeout_s)
    _say_hello(client, server)


def _say_hello(client: smtplib.SMTP, server: MailServer) -> None:
    """Says who we are, and hears what the server has against it: `smtplib` would go on to HELO at a closed door."""
    code, reply = client.ehlo()
    if code in _KNOWS_NO_EHLO:
        code, reply = client.helo()
    if not is_taken(code):
        raise not_let_in(server, f"does not talk to us, who call ourselves {server.name}", code, reply, fault=NAME)
