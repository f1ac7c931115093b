"""A service that takes its time: each attempt ends within the time it was given, and says whether anything was sent.

Nothing here looks at how long it took: each of these servers would go on for ever, so an attempt that ends has been
ended by its own time. A guard breaks off what does not end.
"""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest

from leadcast.core.errors import TransientError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.email import smtp
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.integrations.email.smtp import Sent
from tests.support.anywhere import Anywhere

ENDS_S = 60
"""Only a guard for what would never end."""
TIMEOUT_S = 1.0
DRIP_S = 0.15
"""Between two bytes: less than any time-out of a single read."""


@dataclass
class Slow:
    """A server that does as it is told with each connection, until the test is over.

    over: set then. heard: all that it was sent.
    """

    talk: Callable[[Slow, socket.socket], None]
    over: threading.Event = field(default_factory=threading.Event)
    heard: bytearray = field(default_factory=bytearray)
    port: int = 0

    def drip(self, connection: socket.socket, beginning: bytes = b"", *, byte: bytes = b"x") -> None:
        """Says this a byte at a time, and then this one byte for ever."""
        for sent in beginning:
            connection.sendall(bytes([sent]))
            if self.over.wait(DRIP_S):
                return
        while not self.over.wait(DRIP_S):
            connection.sendall(byte)

    def hear(self, connection: socket.socket, until: bytes) -> None:
        part = bytearray()
        while until not in part:
            data = connection.recv(65536)
            if not data:
                raise OSError("it has gone")
            part += data
            self.heard += data


@contextmanager
def slow(talk: Callable[[Slow, socket.socket], None]) -> Iterator[Slow]:
    server = Slow(talk)

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(server, connection)
            server.over.wait(ENDS_S)

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        threading.Thread(target=listen, daemon=True).start()
        yield server
        server.over.set()
        listener.shutdown(socket.SHUT_RDWR)


def ends(deed: Callable[[], Any]) -> Any:
    """What comes of it, if it ends at all."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(deed())
        except Exception as error:
            future.set_exception(error)

    # a thread that nobody waits for in the end
    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=ENDS_S)


def post(url: str, *, size_bytes: int = 10) -> None:
    ends(lambda: Anywhere().send("POST", url, body=b"x" * size_bytes, timeout_s=TIMEOUT_S))


def http(*, after_request: Callable[[Slow, socket.socket], None]) -> Callable[[Slow, socket.socket], None]:
    def talk(server: Slow, connection: socket.socket) -> None:
        server.hear(connection, b"\r\n\r\n")
        after_request(server, connection)

    return talk


def _header_by_header(server: Slow, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    server.drip(connection, byte=b"A: b\r\n")


HTTP = {
    "a byte now and then": http(after_request=lambda s, c: s.drip(c)),
    "headers byte by byte": http(after_request=lambda s, c: s.drip(c, b"HTTP/1.1 200 OK\r\nX-Long: ")),
    "a header after the other": http(after_request=_header_by_header),
    "only 100 Continue": http(after_request=lambda s, c: s.drip(c, byte=b"HTTP/1.1 100 Continue\r\n\r\n")),
    "nothing at all": http(after_request=lambda s, c: None),
}


@pytest.mark.parametrize("talk", HTTP.values(), ids=HTTP.keys())
def test_a_call_whose_answer_comes_too_slowly_may_have_been_executed(
    talk: Callable[[Slow, socket.socket], None],
) -> None:
    with slow(talk) as server, pytest.raises(UnknownOutcome):
        post(f"http://127.0.0.1:{server.port}/")


def test_a_server_that_reads_nothing_may_have_it_all_the_same() -> None:
    """It takes a part of the request, and we cannot tell which."""
    with slow(lambda server, connection: None) as server, pytest.raises(UnknownOutcome):
        post(f"http://127.0.0.1:{server.port}/", size_bytes=20_000_000)


@pytest.mark.parametrize("byte", [b"", b"\x16", b"\x16\x03\x03\x40\x00"], ids=["silent", "byte by byte", "records"])
def test_a_tls_handshake_that_never_ends_means_nothing_was_sent(byte: bytes) -> None:
    def talk(server: Slow, connection: socket.socket) -> None:
        if byte:
            server.drip(connection, b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", byte=byte)

    with slow(talk) as server, pytest.raises(TransientError):
        post(f"https://127.0.0.1:{server.port}/")


SECRET = "s3cret5bW4hJ9ABCDEFGHIJKLMNOPQRSTUV"
CREDENTIALS: dict[str, Callable[[str], dict[str, Any]]] = {
    "amocrm": lambda url: {"subdomain": "a", "client_id": "1", "client_secret": SECRET, "access_token": SECRET},
    "bitrix24": lambda url: {"webhook_url": f"https://example.bitrix24.ru/rest/1/{SECRET}/"},
    "telegram": lambda url: {"bot_token": f"123456:{SECRET}", "chat_id": "-100123"},
    "webhook": lambda url: {"url": f"{url}/hook"},
}
LOOKS_FIRST = {"amocrm", "bitrix24"}
"""Their first call asks for something and changes nothing."""


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_every_integration_over_http_ends_in_time(kind: str, make_call: Callable[..., Call], lead: Lead) -> None:
    integration: Integration[Any, Any] = registry.get(kind)
    with slow(HTTP["headers byte by byte"]) as server:
        url = f"http://127.0.0.1:{server.port}"
        credentials = integration.credentials_model.model_validate(CREDENTIALS[kind](url))
        account = Account(credentials=credentials, base_url="" if kind == "webhook" else url)
        call = make_call(timeout_s=TIMEOUT_S)
        with pytest.raises(TransientError if kind in LOOKS_FIRST else UnknownOutcome):
            ends(lambda: integration.deliver(lead, settings=integration.settings_model(), account=account, call=call))


REPLIES = (b"250 hello", b"250 ok", b"250 ok", b"354 go on", b"250 taken", b"221 bye")


def mail(*, slow_at: int, how: Callable[[Slow, socket.socket, bytes], None]) -> Callable[[Slow, socket.socket], None]:
    """A mail server that is slow with its n-th reply: 0 is the greeting, 1 answers EHLO, …"""

    def talk(server: Slow, connection: socket.socket) -> None:
        for step, reply in enumerate((b"220 ready", *REPLIES)):
            if step == slow_at:
                how(server, connection, reply)
                return
            connection.sendall(reply + b"\r\n")
            server.hear(connection, b"\r\n.\r\n" if step == 4 else b"\r\n")

    return talk


def letter(server: Slow, *, mode: TlsMode = TlsMode.PLAIN) -> Sent:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Lead"
    message.set_content(".a line that begins with a dot\n")
    target = MailServer(host="127.0.0.1", port=server.port, mode=mode, from_email="a@example.com", verify=False)
    sent: Sent = ends(lambda: smtp.send(target, message, ["b@example.com"], timeout_s=TIMEOUT_S))
    return sent


SLOWNESS: dict[str, Callable[[Slow, socket.socket, bytes], None]] = {
    "silent": lambda server, connection, reply: None,
    "half a line": lambda server, connection, reply: connection.sendall(reply[:5]),
    "byte by byte": lambda server, connection, reply: server.drip(connection, reply),
    "line after line": lambda server, connection, reply: server.drip(connection, byte=reply[:3] + b"-more\r\n"),
}


@pytest.mark.parametrize("how", SLOWNESS.values(), ids=SLOWNESS.keys())
@pytest.mark.parametrize("step", range(5), ids=["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_mail_server_that_is_slow_before_the_message_has_not_got_it(
    step: int, how: Callable[[Slow, socket.socket, bytes], None]
) -> None:
    with slow(mail(slow_at=step, how=how)) as server:
        with pytest.raises(TransientError, match="nothing was sent"):
            letter(server)
        assert b"Subject" not in server.heard


@pytest.mark.parametrize("how", SLOWNESS.values(), ids=SLOWNESS.keys())
def test_a_mail_server_that_is_slow_to_confirm_the_message_may_have_it(
    how: Callable[[Slow, socket.socket, bytes], None],
) -> None:
    with slow(mail(slow_at=5, how=how)) as server:
        with pytest.raises(UnknownOutcome):
            letter(server)
        assert b"\r\n..a line" in server.heard


@pytest.mark.parametrize("how", SLOWNESS.values(), ids=SLOWNESS.keys())
def test_a_mail_server_that_is_slow_to_say_goodbye_has_taken_the_message(
    how: Callable[[Slow, socket.socket, bytes], None],
) -> None:
    with slow(mail(slow_at=6, how=how)) as server:
        assert letter(server).taken == ("b@example.com",)


def flood(server: Slow, connection: socket.socket, reply: bytes) -> None:
    """Lines of one reply without end, as fast as they are taken."""
    while not server.over.is_set():
        connection.sendall((reply[:3] + b"-more\r\n") * 1000)


@pytest.mark.parametrize("step", range(5), ids=["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_reply_without_end_is_left_before_it_fills_the_memory(step: int) -> None:
    tracemalloc.start()
    try:
        with slow(mail(slow_at=step, how=flood)) as server, pytest.raises(TransientError, match="nothing was sent"):
            letter(server)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5_000_000


def test_of_a_confirmation_without_end_nobody_knows_what_it_means() -> None:
    with slow(mail(slow_at=5, how=flood)) as server, pytest.raises(UnknownOutcome):
        letter(server)


def test_a_reply_may_have_many_lines() -> None:
    def talk(server: Slow, connection: socket.socket) -> None:
        for step, reply in enumerate((b"220 ready", *REPLIES)):
            welcome = b"".join(reply[:3] + b"-%d we take no spam\r\n" % number for number in range(100))
            connection.sendall((b"" if step == 4 else welcome) + reply + b"\r\n")
            server.hear(connection, b"\r\n.\r\n" if step == 4 else b"\r\n")

    with slow(talk) as server:
        assert letter(server).taken == ("b@example.com",)


@pytest.mark.parametrize("mode", [TlsMode.TLS, TlsMode.STARTTLS])
def test_a_mail_servers_tls_handshake_that_never_ends_means_nothing_was_sent(mode: TlsMode) -> None:
    def talk(server: Slow, connection: socket.socket) -> None:
        if mode is TlsMode.STARTTLS:
            for reply in (b"220 ready", b"250-hello\r\n250 STARTTLS", b"220 go on"):
                connection.sendall(reply + b"\r\n")
                if reply != b"220 go on":
                    server.hear(connection, b"\r\n")
        server.drip(connection, b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", byte=b"x")

    with slow(talk) as server, pytest.raises(TransientError, match="nothing was sent"):
        letter(server, mode=mode)
