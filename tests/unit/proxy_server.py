"""A proxy as operators run them: CONNECT and SOCKS 5, with a login or without, over TLS or not."""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import ssl
import threading
from ipaddress import IPv4Address, IPv6Address

LOGIN = ("anna", "s3cret: пароль/@")
"""User and password, where it wants any."""
OPENED = b"HTTP/1.1 200 Connection established\r\nX-Proxy: test\r\n\r\n"

_LONGEST_SILENCE_S = 5


class ProxyServer:
    """Leads every tunnel to one port of this machine, whatever place it is for, and keeps what it was asked for.

    Args:
        to_port: where tunnels lead.
        wants_login: whether it lets in only who knows `LOGIN`.
        tls: TLS to the proxy itself.
        answer: to every CONNECT or SOCKS request, instead of opening a tunnel.
        opens: what it says to a CONNECT before it opens one.
    """

    def __init__(
        self,
        *,
        to_port: int,
        wants_login: bool = False,
        tls: ssl.SSLContext | None = None,
        answer: bytes | None = None,
        opens: bytes = OPENED,
    ) -> None:
        self.places: list[str] = []
        self.heads: list[bytes] = []
        self._to_port, self._wants_login, self._tls, self._answer = to_port, wants_login, tls, answer
        self._opens = opens
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ProxyServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError):
                plain.settimeout(5)
                client = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
                with client:
                    first = client.recv(1)
                    is_open = self._socks(client) if first == b"\x05" else self._connect(client, first)
                    if is_open:
                        with socket.create_connection(("127.0.0.1", self._to_port), timeout=5) as far:
                            _relay(client, far)

    def _connect(self, client: socket.socket, head: bytes) -> bool:
        while b"\r\n\r\n" not in head:
            head += client.recv(1) or b"\r\n\r\n"
        self.heads.append(head)
        self.places.append(head.split(b" ")[1].decode())
        login = base64.b64encode(":".join(LOGIN).encode())
        if self._answer is not None:
            client.sendall(self._answer)
            return False
        if self._wants_login and not re.search(rb"\r\nProxy-Authorization: Basic " + re.escape(login) + rb"\r\n", head):
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return False
        client.sendall(self._opens)
        return True

    def _socks(self, client: socket.socket) -> bool:
        offered = client.recv(client.recv(1)[0])
        if self._wants_login:
            client.sendall(b"\x05\x02" if 2 in offered else b"\x05\xff")
            if 2 not in offered:
                return False
            user = client.recv(client.recv(2)[1])
            password = client.recv(client.recv(1)[0])
            fits = (user.decode(), password.decode()) == LOGIN
            client.sendall(b"\x01\x00" if fits else b"\x01\x01")
            if not fits:
                return False
        else:
            client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        size = {1: 4, 4: 16}.get(kind) or client.recv(1)[0]
        raw = client.recv(size)
        host = raw.decode() if kind == 3 else str(IPv4Address(raw) if kind == 1 else IPv6Address(raw))
        self.places.append(f"{host}:{int.from_bytes(client.recv(2))}")
        client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50" if self._answer is None else self._answer)
        return self._answer is None


def _relay(client: socket.socket, far: socket.socket) -> None:
    """Both ways in one thread: no TLS connection may be read and written at the same time."""
    other = {client: far, far: client}
    heard = [client, far]
    with contextlib.suppress(OSError):
        while far in heard:
            is_kept = isinstance(client, ssl.SSLSocket) and client in heard and client.pending()
            for source in [client] if is_kept else select.select(heard, [], [], _LONGEST_SILENCE_S)[0] or [far]:
                chunk = source.recv(65536)
                if chunk:
                    other[source].sendall(chunk)
                else:
                    heard.remove(source)
                    other[source].shutdown(socket.SHUT_WR)
