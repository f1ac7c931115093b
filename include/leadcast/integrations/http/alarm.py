"""Ends what a socket is waited for when time is up, however slowly its bytes come."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Alarm:
    """Shuts a socket when time is up, so that no read outlives it, however slowly its bytes come.

    Args:
        sock: the socket as it is when time is up; None: there is none yet.
        after_s: how long it may take.
        again_every_s: how long until it is shut again, for where the socket may be another one by then; None: once.
    """

    def __init__(
        self, sock: Callable[[], socket.socket | None], *, after_s: float, again_every_s: float | None = None
    ) -> None:
        self._sock = sock
        self._after_s = max(after_s, 0)
        self._again_every_s = again_every_s
        self._rang = Event()
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        if self._over.wait(self._after_s):
            return
        self._rang.set()
        self._shut()
        while self._again_every_s is not None and not self._over.wait(self._again_every_s):
            self._shut()

    def _shut(self) -> None:
        sock = self._sock()
        if sock is not None:
            with suppress(OSError):
                # not SSLSocket.shutdown: that one drops the TLS layer under the thread which is reading
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @property
    def rang(self) -> bool:
        """Whether time was up before it had ended."""
        return self._rang.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()  # it must not touch the socket's number once somebody else has it
