"""An answer that breaks off, never ends, or comes before the request is all sent: what was heard of it counts."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leadcast.core.errors import UnknownOutcome
from leadcast.integrations.http import racing
from leadcast.integrations.http.egress import Answer
from tests.support.anywhere import Anywhere
from tests.unit.test_egress import RawServer, answering, localhost_certificate

__all__ = ["localhost_certificate"]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def sent(server: RawServer, *, timeout_s: float = 5, body_s: float | None = None) -> Answer:
    return Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", timeout_s=timeout_s, body_s=body_s)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", b"only this"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", b""),
        (CHUNKED, b""),
        (CHUNKED + b"5\r\nhel", b"hel"),
        (CHUNKED + b"2\r\nok\r\n", b"ok"),
        (CHUNKED + b"zz\r\n", b""),
        (CHUNKED + b"2\r\nok\r\n" + b"f" * 2_000_000, b"ok"),
    ],
    ids=["too short", "none", "no chunk", "within a chunk", "no last chunk", "a size that is none", "an endless size"],
)
def test_what_came_of_an_answer_whose_body_breaks_off_is_kept(raw: bytes, body: bytes) -> None:
    with answering(raw) as server:
        answer = sent(server)

    assert (answer.status, answer.body, answer.whole) == (200, body, False)


def test_an_answer_that_is_there_is_whole() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as server:
        assert sent(server).whole
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789") as server:
        url = f"http://127.0.0.1:{server.port}/"
        cut = Anywhere().send("GET", url, max_answer_bytes=8)
        fits = Anywhere().send("GET", url, max_answer_bytes=9)
    assert (cut.body, cut.whole, fits.body, fits.whole) == (b"12345678", False, b"123456789", True)


def test_a_reset_after_the_head_takes_nothing_of_it_away() -> None:
    def reset(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 429 Slow down\r\nRetry-After: 120\r\nContent-Length: 100\r\n\r\nwait")
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with RawServer(reset) as server:
        answer = sent(server)

    assert (answer.status, answer.retry_after_s(), answer.body, answer.whole) == (429, 120.0, b"wait", False)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        CHUNKED,
        b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n",
    ],
    ids=["a stream", "chunks", "a length"],
)
@pytest.mark.parametrize("tells", [b"", b"1"], ids=["silent", "byte by byte"])
@pytest.mark.parametrize(("timeout_s", "body_s"), [(20, 0.2), (0.3, None)])
def test_a_body_without_end_is_waited_for_as_long_as_it_is_wanted(
    head: bytes, tells: bytes, timeout_s: float, body_s: float | None
) -> None:
    def works_on(connection: socket.socket) -> None:
        connection.sendall(head)
        while not server.stopping.wait(0.02):
            connection.sendall(tells)

    began = time.monotonic()
    with RawServer(works_on) as server:
        answer = sent(server, timeout_s=timeout_s, body_s=body_s)
        took_s = time.monotonic() - began

    assert (answer.status, answer.whole) == (200, False)
    assert took_s < 5


def test_the_time_for_a_body_is_none_for_the_head() -> None:
    def slow(connection: socket.socket) -> None:
        server.stopping.wait(0.5)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with RawServer(slow) as server:
        assert sent(server, body_s=0.1).body == b"ok"


class HeadReader:
    """A server that reads the head of a request, answers, and hangs up without having looked at the body."""

    def __init__(self, answer: bytes, *, lingers_s: float = 0, tls: ssl.SSLContext | None = None) -> None:
        self._answer, self._lingers_s, self._tls = answer, lingers_s, tls
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        with plain, self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1024)
            time.sleep(0.1)
            connection.sendall(self._answer)
            time.sleep(self._lingers_s)

    def __enter__(self) -> HeadReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(timeout=10)
        self._listener.close()


@pytest.fixture
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a slow network: most of a request is still here when the other side hangs up."""
    begun: Callable[[str, int], socket.socket] = racing._begun

    def begun_small(address: str, port: int) -> socket.socket:
        sock = begun(address, port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        return sock

    monkeypatch.setattr(racing, "_begun", begun_small)


@pytest.fixture
def server_tls(localhost_certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost_certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(localhost_certificate)
    return context


@pytest.mark.usefixtures("_small_buffers")
@pytest.mark.parametrize("status", [410, 413, 429])
@pytest.mark.parametrize("lingers_s", [0, 0.3])
def test_an_answer_to_half_a_request_is_heard(status: int, lingers_s: float) -> None:
    raw = f"HTTP/1.1 {status} No\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n".encode()
    with HeadReader(raw, lingers_s=lingers_s) as server:
        answer = Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", body=b"x" * 900_000, timeout_s=10)

    assert (answer.status, answer.retry_after_s()) == (status, 120.0)


@pytest.mark.usefixtures("_small_buffers")
def test_an_answer_to_half_a_request_is_heard_through_tls(server_tls: ssl.SSLContext) -> None:
    with HeadReader(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", tls=server_tls) as server:
        answer = Anywhere().send("POST", f"https://localhost:{server.port}/", body=b"x" * 900_000, timeout_s=10)

    assert answer.status == 413


@pytest.mark.usefixtures("_small_buffers")
def test_who_answers_and_reads_no_further_without_hanging_up_is_heard_in_the_end() -> None:
    with HeadReader(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", lingers_s=2) as server:
        answer = Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", body=b"x" * 900_000, timeout_s=1)

    assert answer.status == 413


@pytest.mark.usefixtures("_small_buffers")
def test_half_a_request_without_an_answer_may_have_been_taken() -> None:
    with HeadReader(b"") as server, pytest.raises(UnknownOutcome, match="broke off before it had answered"):
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", body=b"x" * 900_000, timeout_s=10)
