"""Puts the services on their ports, behind what looks at who asks, and serves in the foreground (`run`)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterable

import uvicorn
from starlette.types import ASGIApp

from leadcast.sandbox.control import control_app
from leadcast.sandbox.control_token import VARIABLE, TokenCheck, new_token
from leadcast.sandbox.doors import Door, follow_faults
from leadcast.sandbox.gate import ReachableConnection
from leadcast.sandbox.hosts import OnlyOurs
from leadcast.sandbox.ports import PortTakenError, SandboxPorts, ServiceName, listen
from leadcast.sandbox.services import Services

CONTROL = "control"


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: five of them share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Listeners:
    """The listening sockets, bound before anything else starts."""

    def __init__(self, host: str, ports: SandboxPorts) -> None:
        self.host = host
        self.sockets: dict[str, socket.socket] = {}
        try:
            for name in (CONTROL, *ServiceName):
                self.sockets[str(name)] = listen(host, getattr(ports, str(name)), what=str(name))
        except PortTakenError:
            self.close()
            raise
        #: the ports as they really are, also where 0 was asked for
        self.ports = SandboxPorts(**{name: item.getsockname()[1] for name, item in self.sockets.items()})

    def url(self, name: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "smtp" if name == ServiceName.SMTP else "http"
        return f"{scheme}://{host}:{getattr(self.ports, name)}"

    def close(self) -> None:
        for listener in self.sockets.values():
            listener.close()


async def serve(
    listeners: Listeners,
    services: Services,
    *,
    token: str | None,
    names: Iterable[str] = (),
    when_ready: Callable[[], None],
) -> None:
    """Serve until `services.stopping` is set.

    Args:
        token: of the control service; None: it lets nobody in.
        names: host names under which the HTTP services may be asked, beside loopback's.
    """
    names = frozenset(names)
    urls = {name: listeners.url(name) for name in ServiceName}
    control = _Server(_config(OnlyOurs(TokenCheck(control_app(services, urls), token=token), names=names)))
    servers = {name: _Server(_config(OnlyOurs(services.gate(name), names=names))) for name in services.http}
    tasks = [asyncio.create_task(server.serve(sockets=[])) for server in (control, *servers.values())]
    doors = {name: _http_door(listeners.sockets[name.value], server) for name, server in servers.items()}
    doors[ServiceName.SMTP] = Door(
        listeners.sockets[ServiceName.SMTP.value],
        answer=services.smtp.connection,
        hang_up=services.smtp.hang_up_on_all,
    )
    control_door = _http_door(listeners.sockets[CONTROL], control)
    for door in (control_door, *doors.values()):
        await door.open()
    services.board.on_change = lambda: follow_faults(doors, services.board)
    when_ready()
    await services.stopping.wait()
    for door in (control_door, *doors.values()):
        door.close()
    services.smtp.hang_up_on_all()
    for server in (control, *servers.values()):
        server.should_exit = True
    await asyncio.gather(*tasks)


def _http_door(listener: socket.socket, server: uvicorn.Server) -> Door:
    """uvicorn serves the connections; that they come in is up to the door."""

    def answer() -> asyncio.BaseProtocol:
        return ReachableConnection(config=server.config, server_state=server.server_state, app_state={})

    def hang_up() -> None:
        for connection in tuple(server.server_state.connections):
            if isinstance(connection, ReachableConnection):
                connection.transport.abort()

    return Door(listener, answer=answer, hang_up=hang_up)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # paths hold tokens
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
    )


def run(
    host: str = "127.0.0.1",
    ports: SandboxPorts | None = None,
    *,
    token: str | None = None,
    names: Iterable[str] = (),
) -> None:
    """Serve in the foreground until SIGTERM or SIGINT; prints the addresses. Exits with 1 when a port is taken.

    Args:
        token: of the control service. None: on a terminal, one is made and shown; elsewhere, where it would be
            kept in a log, the control service lets nobody in.
        names: host names under which the HTTP services may be asked, beside loopback's.
    """
    try:
        listeners = Listeners(host, ports or SandboxPorts())
    except PortTakenError as error:
        sys.exit(str(error))
    shown = new_token() if token is None and sys.stdout.isatty() else None
    try:
        asyncio.run(_serve_until_signal(listeners, token=token or shown, names=names, shown=shown))
    finally:
        listeners.close()


async def _serve_until_signal(
    listeners: Listeners, *, token: str | None, names: Iterable[str], shown: str | None
) -> None:
    services = Services()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, services.stopping.set)
    note = "" if token else f"  (nobody is let in: {VARIABLE} is not set)"

    def tell() -> None:
        _print_addresses(listeners, note=f"/#token={shown}" if shown else note)

    await serve(listeners, services, token=token, names=names, when_ready=tell)


def _print_addresses(listeners: Listeners, *, note: str) -> None:
    lines = [f"  {CONTROL:<10} {listeners.url(CONTROL)}{note}"]
    lines += [f"  {name:<10} {listeners.url(name)}" for name in ServiceName]
    sys.stdout.write("\n".join(["Leadcast sandbox listens:", *lines, ""]))
    sys.stdout.flush()
