"""Asks a proxy for a way to a host: CONNECT (RFC 9110 9.3.6) or SOCKS 5 (RFC 1928, 1929). Sends the host nothing."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, ip_address

from leadcast.integrations.http.proxy import Proxy

_LONGEST_ANSWER_BYTES = 16_384
_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9])? ([1-5][0-9]{2})[ \r\n]")
_END_OF_HEAD = re.compile(rb"\n\r?\n")

_NO_LOGIN, _WITH_LOGIN = 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SOCKS_REFUSALS = {
    2: "does not allow it",
    3: "finds no network there",
    4: "does not reach the host",
    5: "finds its port closed",
    6: "got no answer from there",
}


class TunnelError(OSError):
    """The proxy opens no way; `strerror` says why, as what the proxy does."""

    def __init__(self, why: str) -> None:
        super().__init__(None, why)


def open_tunnel(sock: socket.socket, proxy: Proxy, *, host: str, port: int) -> None:
    """Makes this connection to the proxy one to the host, which is a name or an address.

    Raises:
        OSError: there is no way, or the proxy went away.
    """
    if proxy.scheme == "socks5h":
        _by_socks(sock, proxy, host=host, port=port)
    else:
        _by_connect(sock, proxy, host=host, port=port)


def _by_connect(sock: socket.socket, proxy: Proxy, *, host: str, port: int) -> None:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    status, rest = _final_status(sock)
    if status == "407":
        raise TunnelError("does not take the user and password (407)")
    if not status.startswith("2"):
        raise TunnelError(f"refuses (HTTP {status})")
    if rest:  # nobody answers before he is asked
        raise TunnelError("does not keep to HTTP")


def _final_status(sock: socket.socket) -> tuple[str, bytes]:
    """The status of the first answer that is not an interim one, and what came after its head."""
    answer, size_bytes = b"", 0
    while True:
        end = _END_OF_HEAD.search(answer)
        if end is None:
            chunk = sock.recv(4096)
            answer, size_bytes = answer + chunk, size_bytes + len(chunk)
            if not chunk or size_bytes > _LONGEST_ANSWER_BYTES:
                raise TunnelError("breaks off")
            continue
        status = _STATUS.match(answer)
        if status is None:
            raise TunnelError("does not answer in HTTP")
        answer = answer[end.end() :]
        if not status[1].startswith(b"1"):
            return status[1].decode(), answer


def _by_socks(sock: socket.socket, proxy: Proxy, *, host: str, port: int) -> None:
    sock.sendall(bytes([5, 2, _NO_LOGIN, _WITH_LOGIN] if proxy.user else [5, 1, _NO_LOGIN]))
    version, method = _exactly(sock, 2)
    if version != 5:
        raise TunnelError("does not answer in SOCKS 5")
    if method == _WITH_LOGIN and proxy.user:
        user, password = proxy.user.encode(), proxy.password.get_secret_value().encode()
        sock.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if _exactly(sock, 2)[1] != 0:
            raise TunnelError("does not take the user and password")
    elif method != _NO_LOGIN:
        raise TunnelError("wants another login")
    sock.sendall(bytes([5, 1, 0]) + _socks_address(host) + port.to_bytes(2))
    _, reply, _, kind = _exactly(sock, 4)
    if reply:
        raise TunnelError(_SOCKS_REFUSALS.get(reply, f"refuses (SOCKS {reply})"))
    size = {_IPV4: 4, _IPV6: 16}.get(kind) or _exactly(sock, 1)[0]
    _exactly(sock, size + 2)  # from where it calls


def _socks_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if isinstance(address, IPv4Address) else _IPV6]) + address.packed


def _exactly(sock: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size:
        chunk = sock.recv(size - len(taken))
        if not chunk:
            raise TunnelError("breaks off")
        taken += chunk
    return taken
