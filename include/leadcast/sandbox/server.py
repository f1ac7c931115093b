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

    @property
    def ports(self) -> SandboxPorts:
        """The ports as they really are."""
        return SandboxPorts(**{name: listener.getsockname()[1] for name, listener in self.sockets.items()})

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
    apps: dict[str, ASGIApp] = {CONTROL: control_app(services, urls)}
    apps |= {name.value: services.gate(name) for name in services.http}
    servers = {name: _Server(_config(app)) for name, app in apps.items()}
    tasks = [
        asyncio.create_task(server.serve(sockets=[listeners.sockets[name]]), name=f"sandbox {name}")
        for name, server in servers.items()
    ]
    mail = await asyncio.get_running_loop().create_server(
        services.smtp.connection, sock=listeners.sockets[ServiceName.SMTP.value]
    )
    while not all(server.started for server in servers.values()):
        await asyncio.sleep(0.005)
    when_ready()
    await services.stopping.wait()
    mail.close()
    services.smtp.hang_up_on_all()
    for server in servers.values():
        server.should_exit = True
    await asyncio.gather(*tasks)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=ReachableConnection,
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
