"""A sandbox in a thread of its own, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from leadcast.sandbox.control_token import new_token
from leadcast.sandbox.faults import Fault
from leadcast.sandbox.ports import SandboxPorts, ServiceName
from leadcast.sandbox.server import CONTROL, Listeners, serve
from leadcast.sandbox.services import Services

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 10.0

T = TypeVar("T")


class Sandbox:
    """A running sandbox in a thread of its own.

    Example::

        with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
            requests.post(f"{sandbox.webhook_url}/hook", data=b"{}")
            assert len(sandbox.received("webhook")) == 1
    """

    def __init__(self, listeners: Listeners, *, names: Iterable[str] = ()) -> None:
        self._listeners = listeners
        self._names = frozenset(names)
        #: what the control service asks for
        self.token = new_token()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._services: Services
        self._thread = threading.Thread(target=self._run, name="leadcast-sandbox", daemon=True)

    @classmethod
    def start(cls, *, host: str = "127.0.0.1", ports: SandboxPorts | None = None, names: Iterable[str] = ()) -> Self:
        """Start all services and return when they listen. Raises `PortTakenError`.

        Args:
            names: host names under which the HTTP services may be asked, beside loopback's.
        """
        sandbox = cls(Listeners(host, ports or SandboxPorts()), names=names)
        sandbox._thread.start()
        if not sandbox._ready.wait(START_TIMEOUT_S):
            raise TimeoutError(f"sandbox: not ready after {START_TIMEOUT_S:.0f} s")
        if sandbox._failure is not None:
            raise RuntimeError("sandbox: could not start") from sandbox._failure
        return sandbox

    def stop(self) -> None:
        """Stop at once, whatever is pending. Again is harmless."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self._services.stopping.set)
            self._thread.join(STOP_TIMEOUT_S)
        self._listeners.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ports(self) -> SandboxPorts:
        """The real ports, also where 0 was asked for."""
        return self._listeners.ports

    @property
    def control_url(self) -> str:
        return self._listeners.url(CONTROL)

    @property
    def authorization(self) -> dict[str, str]:
        """The header that the control service asks for."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def amocrm_url(self) -> str:
        return self._listeners.url(ServiceName.AMOCRM)

    @property
    def bitrix24_url(self) -> str:
        return self._listeners.url(ServiceName.BITRIX24)

    @property
    def telegram_url(self) -> str:
        return self._listeners.url(ServiceName.TELEGRAM)

    @property
    def webhook_url(self) -> str:
        return self._listeners.url(ServiceName.WEBHOOK)

    @property
    def smtp_host(self) -> str:
        return self._listeners.host

    @property
    def smtp_port(self) -> int:
        return self.ports.smtp

    def received(self, service: str) -> list[dict[str, Any]]:
        """What the service received, newest last."""
        return self._call(lambda: self._services.received(ServiceName(service)))

    def stored(self, service: str) -> dict[str, list[dict[str, Any]]]:
        """What the service holds now, by kind: `stored("amocrm")["leads"]`."""
        return self._call(lambda: self._services.stored(ServiceName(service)))

    def fault(self, **fault: Any) -> Fault:
        """Set a fault, with the fields of `POST /faults`. Raises pydantic's ValidationError."""
        return self._call(lambda: self._services.set_fault(Fault.model_validate(fault)))

    def clear_faults(self) -> None:
        """Every service behaves again."""
        self._call(lambda: self._services.board.clear())

    def configure(self, service: str, **changes: Any) -> None:
        """Change settings, as `PATCH /settings/{service}` does. Raises pydantic's ValidationError."""
        self._call(lambda: self._services.configure(ServiceName(service), changes))

    def reset(self) -> None:
        """Nothing received, nothing stored, no faults, default settings."""
        self._call(lambda: self._services.reset())

    def _call(self, function: Callable[[], T]) -> T:
        """Run it on the sandbox's own event loop, where all its state lives."""

        async def call() -> T:
            return function()

        running: Coroutine[Any, Any, T] = call()
        return asyncio.run_coroutine_threadsafe(running, self._loop).result(CALL_TIMEOUT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._services = Services()
        await serve(self._listeners, self._services, token=self.token, names=self._names, when_ready=self._ready.set)
