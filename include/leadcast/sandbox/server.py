"""Puts the services on their ports, and serves in the foreground (`run`)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from leadcast.sandbox.control import control_app
from leadcast.sandbox.doors import Door, follow_faults
from leadcast.sandbox.gate import ReachableConnection
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


async def serve(listeners: Listeners, services: Services, *, when_ready: Callable[[], None]) -> None:
    """Serve until `services.stopping` is set."""
    urls = {name: listeners.url(name) for name in ServiceName}
    control = _Server(_config(control_app(services, urls)))
    servers = {name: _Server(_config(services.gate(name))) for name in services.http}
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


def run(host: str = "127.0.0.1", ports: SandboxPorts | None = None) -> None:
    """Serve in the foreground until SIGTERM or SIGINT; prints the addresses. Exits with 1 when a port is taken."""
    try:
        listeners = Listeners(host, ports or SandboxPorts())
    except PortTakenError as error:
        sys.exit(str(error))
    try:
        asyncio.run(_serve_until_signal(listeners))
    finally:
        listeners.close()


async def _serve_until_signal(listeners: Listeners) -> None:
    services = Services()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, services.stopping.set)
    await serve(listeners, services, when_ready=lambda: _print_addresses(listeners))


def _print_addresses(listeners: Listeners) -> None:
    lines = [f"  {name:<10} {listeners.url(name)}" for name in (CONTROL, *(name.value for name in ServiceName))]
    sys.stdout.write("\n".join(["Leadcast sandbox listens:", *lines, ""]))
    sys.stdout.flush()
