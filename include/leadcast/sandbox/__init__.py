"""Local servers that behave like amoCRM, Bitrix24, Telegram, a webhook receiver and a mail server (vendors.md).

In a test::

    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        sandbox.fault(service="amocrm", kind="status", status=503, times=3)
        ...
        assert sandbox.received("amocrm")

From the command line: ``leadcast sandbox``, which calls `run`. Names load on first use: servers are heavy to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leadcast.sandbox.ports import PortTakenError, SandboxPorts, ServiceName
    from leadcast.sandbox.server import run
    from leadcast.sandbox.threaded import Sandbox

__all__ = ["PortTakenError", "Sandbox", "SandboxPorts", "ServiceName", "run"]

_HOME = {
    "PortTakenError": "leadcast.sandbox.ports",
    "Sandbox": "leadcast.sandbox.threaded",
    "SandboxPorts": "leadcast.sandbox.ports",
    "ServiceName": "leadcast.sandbox.ports",
    "run": "leadcast.sandbox.server",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
