"""The one way out: what counts as sent, what is refused, and what no server can make it do."""

from __future__ import annotations

import datetime as dt
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leadcast.core.circuit import is_against_account
from leadcast.core.errors import Blocked, DeliveryError, RejectedError, TransientError, UnknownOutcome
from tests.support.anywhere import Anywhere

LOOPBACK = ip_network("127.0.0.0/8")
SECRET_WAY = "/hook/s3cret-path?token=s3cret-query"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: test\r\n\r\nok"


class RawServer:
    """A server that answers with these very bytes, however wrong they are, and keeps what it was sent."""

    def __init__(self, behave: Callable[[socket.socket], object], *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._behave = behave
        self._tls = tls
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain:
                try:
                    connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
                    with connection:
                        connection.settimeout(5)
                        self.requests.append(_whole_request(connection))
                        self._behave(connection)
                except OSError:
                    continue

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)


def _whole_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received and received[:1] != b"\x16":  # a TLS client begins with 0x16
        received += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(content: bytes) -> RawServer:
    return RawServer(lambda connection: connection.sendall(content))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken but on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def test_an_answer_holds_status_headers_in_any_case_and_body() -> None:
    with answering(OK) as server:
        answer = Anywhere().send("GET", f"http://127.0.0.1:{server.port}/")

    assert (answer.status, answer.body, answer.text) == (200, b"ok", "ok")
    assert answer.headers["x-kind"] == answer.headers["X-KIND"] == "test"
    assert answer.json() is None


def test_json_is_sent_as_utf_8_on_a_connection_of_its_own() -> None:
    with answering(OK) as server:
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/leads?a=1", json={"name": "Анна"})

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /leads?a=1 http/1.1"
    assert {"connection: close", "content-type: application/json", f"host: 127.0.0.1:{server.port}"} <= set(lines)
    assert body.decode() == '{"name":"Анна"}'


def test_the_exact_bytes_of_a_body_are_sent_with_the_headers_given() -> None:
    with answering(OK) as server:
        Anywhere().send(
            "POST", f"http://127.0.0.1:{server.port}/", body=b'{"a": 1}', headers={"content-type": "text/plain"}
        )

    assert server.requests[0].endswith(b'\r\n\r\n{"a": 1}')
    assert server.requests[0].lower().count(b"content-type") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "1\r\nX-B: 2"), ("X-A\r\nX-B", "1"), ("X-A", "имя"), ("Host", "elsewhere"), ("content-length", "0")],
)
def test_a_header_that_would_change_the_request_is_refused(name: str, value: str) -> None:
    with answering(OK) as server, pytest.raises(RejectedError) as refused:
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", headers={name: value})

    assert server.requests == []
    assert value not in str(refused.value)


def test_where_nobody_listens_nothing_was_sent(closed_port: int) -> None:
    with pytest.raises(TransientError, match=f"http://127.0.0.1:{closed_port}: connection refused; nothing was sent"):
        Anywhere().send("POST", f"http://127.0.0.1:{closed_port}{SECRET_WAY}")


def test_a_name_that_nobody_knows_means_nothing_was_sent() -> None:
    with pytest.raises(TransientError, match="cannot be resolved; nothing was sent"):
        Anywhere().send("POST", f"https://nobody.invalid{SECRET_WAY}")


def test_a_failed_tls_handshake_means_nothing_was_sent() -> None:
    with answering(b"this is not TLS") as server, pytest.raises(TransientError, match="TLS handshake failed"):
        Anywhere().send("POST", f"https://127.0.0.1:{server.port}{SECRET_WAY}")


def test_no_time_left_means_nothing_was_sent_and_nothing_against_the_host() -> None:
    with answering(OK) as server, pytest.raises(TransientError, match="nothing was sent") as late:
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", timeout_s=0)

    assert server.requests == []
    assert not is_against_account(late.value)


def test_a_host_can_be_reached_without_sending_it_anything() -> None:
    with answering(OK) as server:
        Anywhere(allowed_networks=[LOOPBACK]).reach(f"http://127.0.0.1:{server.port}{SECRET_WAY}", public_only=True)
        with pytest.raises(Blocked, match="not a public address"):
            Anywhere().reach(f"http://127.0.0.1:{server.port}{SECRET_WAY}", public_only=True)
        with pytest.raises(TransientError, match="TLS handshake failed"):
            Anywhere().reach(f"https://127.0.0.1:{server.port}{SECRET_WAY}")
    assert all(request.strip() == b"" or request.startswith(b"\x16") for request in server.requests)


@pytest.mark.parametrize(
    "cut",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    ],
)
def test_a_request_without_status_and_headers_may_have_been_executed(cut: bytes) -> None:
    with answering(cut) as server, pytest.raises(UnknownOutcome, match="may have taken the request"):
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}{SECRET_WAY}")

    assert len(server.requests) == 1


def test_the_time_holds_against_a_server_whose_headers_come_byte_by_byte() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.stopping.wait(0.02):
            connection.sendall(b"1")

    with RawServer(drip) as server, pytest.raises(UnknownOutcome, match="did not answer in time"):
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", timeout_s=0.3)


def test_a_server_that_never_answers_is_left_in_time() -> None:
    with (
        RawServer(lambda _: server.stopping.wait(5)) as server,
        pytest.raises(UnknownOutcome, match="did not answer in time"),
    ):
        Anywhere().send("POST", f"http://127.0.0.1:{server.port}/", timeout_s=0.2)


def test_a_long_answer_is_cut() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000) as server:
        answer = Anywhere().send("GET", f"http://127.0.0.1:{server.port}/", max_answer_bytes=1000)

    assert answer.body == b"x" * 1000


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n") as server:
        answer = Anywhere().send("POST", f"http://127.0.0.1:{server.port}/")

    assert (answer.status, len(server.requests)) == (302, 1)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    with answering(OK) as server:
        assert Anywhere().send("GET", f"http://127.0.0.1:{server.port}/").status == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://127.1/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
    ],
)
def test_a_strangers_url_reaches_no_private_address(url: str) -> None:
    with pytest.raises(Blocked, match="not a public address"):
        Anywhere().send("POST", url, public_only=True)


def test_a_private_network_that_the_operator_has_opened_is_reached() -> None:
    with answering(OK) as server:
        egress = Anywhere(allowed_networks=[LOOPBACK])
        assert egress.send("POST", f"http://localhost:{server.port}/", public_only=True).status == 200

    assert f"Host: localhost:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com/path",
        "http://",
        "",
        "http://user:pa55word@example.com/",
        "http://example.com:port/",
        f"http://{'a' * 70}.example.com/",
    ],
)
def test_what_is_not_a_plain_http_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(Blocked) as refused:
        Anywhere().send("GET", url)

    assert "pa55word" not in str(refused.value)
    assert "passwd" not in str(refused.value)


def test_no_error_tells_more_of_the_url_than_its_origin(closed_port: int) -> None:
    with answering(b"") as server:
        urls = [
            f"http://127.0.0.1:{closed_port}{SECRET_WAY}",
            f"https://nobody.invalid{SECRET_WAY}",
            f"http://127.0.0.1:{server.port}{SECRET_WAY}",
            f"https://127.0.0.1:{server.port}{SECRET_WAY}",
        ]
        for url in urls:
            with pytest.raises(DeliveryError) as failed:
                Anywhere().send("POST", url, headers={"Authorization": "s3cret-header"}, json={"a": "s3cret-body"})
            assert "s3cret" not in f"{failed.value} {failed.value.detail} {failed.value.code}"
            assert failed.value.__suppress_context__ or failed.value.__context__ is None


@pytest.fixture(scope="module")
def localhost_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate in one file, for the name `localhost` only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


@pytest.fixture
def tls_server(localhost_certificate: Path) -> Iterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(localhost_certificate)
    with RawServer(lambda connection: connection.sendall(OK), tls=context) as server:
        yield server


def test_a_certificate_that_nobody_vouches_for_means_nothing_was_sent(tls_server: RawServer) -> None:
    with pytest.raises(TransientError, match=r"its certificate is not trusted \(it is self-signed\)"):
        Anywhere().send("POST", f"https://localhost:{tls_server.port}{SECRET_WAY}")

    assert tls_server.requests == []


def test_the_certificate_must_be_for_the_name_though_the_checked_address_is_connected_to(
    tls_server: RawServer, localhost_certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost_certificate))
    egress = Anywhere(allowed_networks=[LOOPBACK])

    assert egress.send("POST", f"https://localhost:{tls_server.port}/", public_only=True).status == 200
    with pytest.raises(TransientError, match="its certificate is not trusted"):
        egress.send("POST", f"https://127.0.0.1:{tls_server.port}/", public_only=True)
