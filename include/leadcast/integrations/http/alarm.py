"""Ends what a socket is waited for when time is up, however slowly its bytes come."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Timer
from types import TracebackType
from typing import Self


class Alarm:
    """Shuts the socket when time is up, so that no read outlives it, however slowly its bytes come."""

    def __init__(self, sock: socket.socket, *, after_s: float) -> None:
        self._sock = sock
        self._rang = Event()
        self._timer = Timer(max(after_s, 0), self._ring)
        self._timer.daemon = True

    def _ring(self) -> None:
        self._rang.set()
        with suppress(OSError):
            # not SSLSocket.shutdown: that one drops the TLS layer under the thread which is reading
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    @property
    def rang(self) -> bool:
        return self._rang.is_set()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._timer.cancel()
        self._timer.join()  # it must not touch the socket's number once somebody else has it
