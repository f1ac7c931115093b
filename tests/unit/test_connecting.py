"""The way to a host: past its dead addresses, through the operator's proxy, and never to what a stranger may not reach.

What fails on the way sent nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from leadcast.core.circuit import is_against_account
from leadcast.core.errors import Blocked, TransientError
from leadcast.core.settings import Settings
from leadcast.integrations.http import tls
from leadcast.integrations.http.proxy import Proxy
from leadcast.sandbox.smtp.tls import Certificate
from tests.support.anywhere import Anywhere
from tests.unit.proxy_server import LOGIN, ProxyServer
from tests.unit.test_egress import OK, RawServer, answering, closed_port

__all__ = ["closed_port"]
SHOP = "shop.example"
PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1::1"
Names = dict[str, list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What a name server says, of these names; all others are as they are."""
    known: Names = {}
    real = socket.getaddrinfo

    def asked(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **kwargs)
        return [entry for address in known[host] for entry in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    return known


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.self_signed(SHOP)


@pytest.fixture
def trusted(certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trusted.pem"
    path.write_bytes(certificate.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


@pytest.fixture
def shop(certificate: Certificate, trusted: None) -> Iterator[RawServer]:
    """A server with a certificate for `shop.example`."""
    with RawServer(lambda connection: connection.sendall(OK), tls=certificate.server_context()) as server:
        yield server


def egress(proxy: ProxyServer, *, scheme: str = "http", login: bool = False) -> Anywhere:
    user = f"{quote(LOGIN[0], safe='')}:{quote(LOGIN[1], safe='')}@" if login else ""
    return Anywhere(proxy=f"{scheme}://{user}127.0.0.1:{proxy.port}")


def test_a_host_whose_first_addresses_are_dead_is_reached(names: Names) -> None:
    names["many.example"] = [*(f"127.0.0.{number}" for number in range(21, 26)), "127.0.0.1"]
    with answering(OK) as server:
        assert Anywhere().send("POST", f"http://many.example:{server.port}/").status == 200
    assert len(server.requests) == 1


def test_an_address_that_answers_and_then_does_not_speak_tls_is_followed_by_the_next(
    names: Names, shop: RawServer
) -> None:
    names[SHOP] = ["127.0.0.2", "127.0.0.1"]
    with socket.create_server(("127.0.0.2", shop.port)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        assert Anywhere().send("POST", f"https://{SHOP}:{shop.port}/").status == 200
    assert len(shop.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("login", [False, True])
def test_the_operators_hosts_are_reached_by_the_proxy_which_looks_up_their_names(
    shop: RawServer, scheme: str, login: bool
) -> None:
    with ProxyServer(to_port=shop.port, wants_login=login) as proxy:
        answer = egress(proxy, scheme=scheme, login=login).send("POST", f"https://{SHOP}:8443/leads", json={"a": 1})

    assert answer.status == 200
    assert proxy.places == [f"{SHOP}:8443"]
    assert shop.requests[0].endswith(b'{"a":1}')


def test_a_proxy_may_be_talked_to_over_tls_and_the_host_over_tls_within_it(
    shop: RawServer, certificate: Certificate
) -> None:
    with ProxyServer(to_port=shop.port, tls=certificate.server_context(), wants_login=True) as proxy:
        sent = egress(proxy, scheme="https", login=True).send("POST", f"https://{SHOP}/", json={"a": "я" * 300_000})
    assert sent.status == 200
    assert proxy.places == [f"{SHOP}:443"]
    assert len(shop.requests[0]) > 600_000


def test_a_host_without_tls_is_reached_through_a_tunnel_too() -> None:
    with answering(OK) as server, ProxyServer(to_port=server.port) as proxy:
        assert egress(proxy).send("POST", f"http://{SHOP}/").status == 200
    assert proxy.places == [f"{SHOP}:80"]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_the_certificate_must_be_for_the_name_behind_a_proxy_too(shop: RawServer, scheme: str) -> None:
    with ProxyServer(to_port=shop.port) as proxy, pytest.raises(TransientError, match="certificate is not trusted"):
        egress(proxy, scheme=scheme).send("POST", "https://other.example/s3cret")
    assert shop.requests == []


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize(("address", "place"), [(PUBLIC, f"{PUBLIC}:443"), (PUBLIC_6, f"[{PUBLIC_6}]:443")])
def test_a_strangers_host_is_judged_here_and_the_proxy_goes_to_the_judged_address(
    shop: RawServer, names: Names, scheme: str, address: str, place: str
) -> None:
    names[SHOP] = ["10.0.0.1", address]
    with ProxyServer(to_port=shop.port) as proxy:
        assert egress(proxy, scheme=scheme).send("POST", f"https://{SHOP}/", public_only=True).status == 200

    assert [told.replace("[", "").replace("]", "") for told in proxy.places] == [f"{address}:443"]
    assert f"Host: {SHOP}\r\n".encode() in shop.requests[0]
    if scheme == "http":
        assert proxy.heads[0].startswith(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n".encode())


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "127.0.0.1", "localhost", "[::1]", "inside.example"])
def test_a_stranger_does_not_reach_the_private_network_by_the_proxy(names: Names, host: str) -> None:
    names["inside.example"] = ["10.0.0.1", "fd00::1"]
    with answering(OK) as server, ProxyServer(to_port=server.port) as proxy:
        with pytest.raises(Blocked, match="not a public address"):
            egress(proxy).send("POST", f"http://{host}/", public_only=True)
        assert proxy.places == []
        assert server.requests == []


@pytest.mark.parametrize(
    "opens",
    [
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.0 200\nVia: x\n\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 102 Processing\n\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\n\n",
    ],
    ids=["bare LF", "no words", "HTTP/2", "100 before it", "102 and 103 before it"],
)
def test_a_proxy_that_says_yes_in_whatever_form_has_opened_the_way(opens: bytes, shop: RawServer) -> None:
    with ProxyServer(to_port=shop.port, opens=opens) as proxy:
        assert egress(proxy).send("POST", f"https://{SHOP}/", timeout_s=5).status == 200


def test_every_address_of_a_strangers_host_is_tried_through_the_proxy(names: Names) -> None:
    names[SHOP] = [PUBLIC, PUBLIC_6]
    refusal = pytest.raises(TransientError, match=r"refuses \(HTTP 502\); nothing was sent")
    with ProxyServer(to_port=1, answer=b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy, refusal:
        egress(proxy).send("POST", f"http://{SHOP}/", public_only=True)
    assert proxy.places == [f"{PUBLIC}:80", f"[{PUBLIC_6}]:80"]


def test_what_is_not_outside_is_called_directly(names: Names, closed_port: int) -> None:
    names["inside.example"] = ["127.0.0.1"]
    by_proxy = Anywhere(
        allowed_networks=Settings.of({"allowed_networks": "127.0.0.0/8"}).allowed_networks,
        proxy=f"http://127.0.0.1:{closed_port}",
    )
    with answering(OK) as server:
        assert by_proxy.send("POST", f"http://127.0.0.1:{server.port}/").status == 200
        assert by_proxy.send("POST", f"http://localhost:{server.port}/").status == 200
        assert by_proxy.send("POST", f"http://inside.example:{server.port}/", public_only=True).status == 200


@pytest.mark.parametrize(
    ("scheme", "answer", "why"),
    [
        ("http", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!", r"refuses \(HTTP 403\)"),
        ("http", b"HTTP/1.1 407 Who are you\r\n\r\n", r"does not take the user and password \(407\)"),
        ("http", b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n", r"refuses \(HTTP 302\)"),
        ("http", b"", "breaks off"),
        ("http", b"HTTP/1.1 200 OK\r\nX: ", "breaks off"),
        ("http", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, "breaks off"),
        (
            "http",
            b"HTTP/1.1 407 Who are you\nProxy-Authenticate: Basic\n\n",
            r"does not take the user and password \(407\)",
        ),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", r"refuses \(HTTP 403\)"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n", "breaks off"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, "breaks off"),
        ("http", b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer in HTTP"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "does not keep to HTTP"),
        ("socks5h", b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", "does not allow it"),
        ("socks5h", b"\x05\x77\x00\x01\x00\x00\x00\x00\x00\x00", r"refuses \(SOCKS 119\)"),
        ("socks5h", b"\x05\x00\x00\x01\x00", "breaks off"),
        ("socks5h", b"", "breaks off"),
    ],
)
def test_a_proxy_that_opens_no_way_means_nothing_was_sent(scheme: str, answer: bytes, why: str) -> None:
    before = os.listdir("/proc/self/fd")
    refusal = pytest.raises(TransientError, match=f"{why}; nothing was sent")
    with ProxyServer(to_port=1, answer=answer) as proxy, refusal as failed:
        egress(proxy, scheme=scheme, login=scheme == "http").send("POST", "https://api.telegram.org/bots3cret/x")
    assert "s3cret" not in f"{failed.value} {failed.value.detail}"
    assert is_against_account(failed.value)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_that_does_not_know_us_means_nothing_was_sent(scheme: str) -> None:
    with ProxyServer(to_port=1, wants_login=True) as proxy, pytest.raises(TransientError, match="nothing was sent"):
        egress(proxy, scheme=scheme).send("POST", "https://api.telegram.org/")


def test_where_there_is_no_proxy_nothing_was_sent_and_the_words_say_that_it_was_the_proxy(closed_port: int) -> None:
    with pytest.raises(TransientError, match=r"the proxy cannot be reached: connection refused"):
        Anywhere(proxy=f"http://u:s3cret@127.0.0.1:{closed_port}").send("POST", "https://api.telegram.org/")
    with pytest.raises(TransientError, match="its name cannot be resolved; nothing was sent"):
        Anywhere(proxy="http://nobody.invalid:3128").send("POST", "https://api.telegram.org/")


def test_a_proxy_that_answers_byte_by_byte_is_left_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        while not server.stopping.wait(0.02):
            connection.sendall(b"1")

    with RawServer(drip) as server, pytest.raises(TransientError, match=r"no connection in time.*nothing was sent"):
        Anywhere(proxy=f"http://127.0.0.1:{server.port}").send("POST", "https://api.telegram.org/", timeout_s=0.5)


def test_the_environments_proxies_count_only_where_the_setting_says_so(
    monkeypatch: pytest.MonkeyPatch, shop: RawServer
) -> None:
    with ProxyServer(to_port=shop.port) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "other.invalid")
        monkeypatch.setenv("no_proxy", "other.invalid")
        assert Anywhere(proxy="env").send("POST", f"https://{SHOP}/").status == 200
        for url, setting in ((f"https://{SHOP}.invalid/", ""), ("https://other.invalid/", "env")):
            with pytest.raises(TransientError, match="cannot be resolved"):
                Anywhere(proxy=setting).send("POST", url)
    assert proxy.places == [f"{SHOP}:443"]


@pytest.mark.parametrize("scheme", ["socks5", "socks", "socks5h"])
def test_a_socks_proxy_of_the_environment_looks_names_up_as_any_other(
    scheme: str, monkeypatch: pytest.MonkeyPatch, shop: RawServer
) -> None:
    """The usual forms; `socks5` leaves the name to us elsewhere, but then what is known here may be nothing."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ProxyServer(to_port=shop.port) as proxy:
        for name in ("ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"{scheme}://127.0.0.1:{proxy.port}")
        assert Anywhere(proxy="env").send("POST", f"https://{SHOP}/").status == 200
    assert proxy.places == [f"{SHOP}:443"]


def test_an_integration_may_have_another_proxy_or_none() -> None:
    settings = Settings.of({"proxy_url": "http://a:1", "proxies": '{"telegram": "socks5h://b:2", "bitrix24": ""}'})
    assert [settings.proxy_of(kind) for kind in ("", "webhook", "telegram", "bitrix24")] == [
        "http://a:1", "http://a:1", "socks5h://b:2", ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "origin", "login"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", ("", "")),
        ("HTTP://Proxy.Example", "http://proxy.example:80", ("", "")),
        ("https://u:p%40%3A%2F@proxy.example/", "https://proxy.example:443", ("u", "p@:/")),
        ("socks5h://u@[::1]", "socks5h://[::1]:1080", ("u", "")),
        ("socks5://proxy.example:1080", "socks5h://proxy.example:1080", ("", "")),
        ("SOCKS://u:q9@proxy.example", "socks5h://proxy.example:1080", ("u", "q9")),
        ("https://proxy.example:0443", "https://proxy.example:443", ("", "")),
        ("socks5h://proxy.example:080", "socks5h://proxy.example:80", ("", "")),
        ("http://u:p@a:b@proxy.example:80", "http://proxy.example:80", ("u", "p@a:b")),
        ("http://прокси.рф:8080", "http://xn--h1adldfi.xn--p1ai:8080", ("", "")),
    ],
)
def test_a_proxys_url_is_taken_apart(url: str, origin: str, login: tuple[str, str]) -> None:
    proxy = Proxy.of(url)
    assert (proxy.origin, (proxy.user, proxy.password.get_secret_value())) == (origin, login)
    assert login[1] == "" or login[1] not in repr(proxy)


@pytest.mark.parametrize(
    "url",
    ["proxy.example:3128", "ftp://proxy.example", "socks4://p:1", "http://", "http://u:s3cret@", "http://:s3cret@p:1",
     "http://p:99999", "http://p:1/s3cret", "http://p:1#", "http://p:1?", "http://p:1/#s3cret",
     f"socks5h://u:{'a' * 256}@p:1", "http://a..b:1"],
)  # fmt: skip
def test_what_is_no_proxys_url_is_not_taken_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must") as refused:
        Proxy.of(url)
    assert "s3cret" not in str(refused.value)


def test_the_authorities_are_read_once_a_process(
    shop: RawServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names[SHOP] = ["127.0.0.1"]
    built: list[ssl.SSLContext] = []
    build = ssl.create_default_context

    def building() -> ssl.SSLContext:
        built.append(build())
        return built[-1]

    monkeypatch.setattr(ssl, "create_default_context", building)
    for _ in range(3):
        assert Anywhere().send("POST", f"https://{SHOP}:{shop.port}/").status == 200
    assert len(built) == 1
    assert tls.http_context() is tls.http_context()
    assert tls.mail_context() is not tls.http_context()
