"""A way to the sandbox for clients that speak HTTPS to hosts of their own choosing.

It is an HTTP proxy: the client finds it by `HTTPS_PROXY` and trusts its certificate by `REQUESTS_CA_BUNDLE`, both of
which `requests` reads, so nothing in the client is touched. Whatever host is asked for, one local service answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator

from leadcast.sandbox.smtp.tls import Certificate

TIMEOUT_S = 20.0


class TlsFront:
    """Takes CONNECT to any host, speaks TLS as that host, and passes what is inside on to `port`."""

    def __init__(self, *, port: int, certificate: Certificate) -> None:
        self._port = port
        self._context = certificate.server_context()
        #: "host:port" of every connection that was asked for, oldest first
        self.asked_for: list[str] = []
        self.url = ""

    async def serve(self, *, until: asyncio.Event, when_ready: threading.Event) -> None:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            when_ready.set()
            await until.wait()

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            method, host, _ = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split(" ", 2)
            if method == "CONNECT":
                self.asked_for.append(host)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(self._context)
                await self._join(reader, writer)
        writer.close()

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Both ways, until either side has had enough."""
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(_pass_on(reader, service_writer)),
            asyncio.create_task(_pass_on(service_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        service_writer.close()


async def _pass_on(source: StreamReader, target: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await source.read(65_536):
            target.write(part)
            await target.drain()


@contextlib.contextmanager
def tls_front(*, port: int, certificate: Certificate) -> Iterator[TlsFront]:
    """A front for the service at `port` of this machine."""
    front = TlsFront(port=port, certificate=certificate)
    ready, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(front.serve(until=end, when_ready=ready),), daemon=True
    )
    thread.start()
    assert ready.wait(TIMEOUT_S)
    yield front
    loop.call_soon_threadsafe(end.set)
    thread.join(TIMEOUT_S)
    loop.close()
