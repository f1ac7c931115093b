"""The listening ports: each can be shut, so that a service that is down really refuses connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

from leadcast.sandbox.faults import FaultBoard
from leadcast.sandbox.ports import ServiceName, bind

BACKLOG = 1024


class Door:
    """One port and what answers on it. `hang_up` closes the connections that are open."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        answer: Callable[[], asyncio.BaseProtocol],
        hang_up: Callable[[], None],
    ) -> None:
        self._socket = listener
        self._answer = answer
        self._hang_up = hang_up
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self.is_shut = False

    async def open(self) -> None:
        """Answer connections from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._answer, sock=self._socket, backlog=BACKLOG)

    def shut(self) -> None:
        """Refuse connections, but hold the port: a socket that is bound and does not listen."""
        address = self._socket.getsockname()
        self.close()
        self._hang_up()
        self._socket = bind(address[0], address[1], family=self._socket.family)
        self.is_shut = True

    def reopen(self) -> None:
        """Take connections again, at once: the first of them wait in the backlog until `open` has run."""
        self._socket.listen(BACKLOG)
        self._opening = asyncio.get_running_loop().create_task(self.open())
        self.is_shut = False

    def close(self) -> None:
        """Listen no more."""
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.close()
        self._socket.close()


def follow_faults(doors: Mapping[ServiceName, Door], board: FaultBoard) -> None:
    """Shut the doors of the services that are down, and reopen those that are up again."""
    for name, door in doors.items():
        is_down = board.is_down(name)
        if is_down and not door.is_shut:
            door.shut()
        elif door.is_shut and not is_down:
            door.reopen()
