"""Which services the sandbox has, and the ports they listen on."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

DEFAULT_BASE_PORT = 8090


class ServiceName(StrEnum):
    """The outside services that the sandbox stands in for."""

    AMOCRM = "amocrm"
    BITRIX24 = "bitrix24"
    TELEGRAM = "telegram"
    WEBHOOK = "webhook"
    SMTP = "smtp"


class PortTakenError(OSError):
    """A port cannot be listened on. The message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class SandboxPorts:
    """One TCP port a service. 0 means: any free port (the real ones are in `Sandbox.ports`)."""

    control: int = DEFAULT_BASE_PORT
    amocrm: int = DEFAULT_BASE_PORT + 1
    bitrix24: int = DEFAULT_BASE_PORT + 2
    telegram: int = DEFAULT_BASE_PORT + 3
    webhook: int = DEFAULT_BASE_PORT + 4
    smtp: int = DEFAULT_BASE_PORT + 5

    @classmethod
    def from_base(cls, base: int = DEFAULT_BASE_PORT) -> Self:
        """Six ports in a row, `base` being the control service's."""
        return cls(
            control=base,
            amocrm=base + 1,
            bitrix24=base + 2,
            telegram=base + 3,
            webhook=base + 4,
            smtp=base + 5,
        )

    @classmethod
    def any_free(cls) -> Self:
        """Whatever ports are free, for tests."""
        return cls(control=0, amocrm=0, bitrix24=0, telegram=0, webhook=0, smtp=0)


def bind(host: str, port: int, *, family: socket.AddressFamily) -> socket.socket:
    """A socket that holds `host`:`port` and does not listen; raises OSError."""
    # With the protocol named asyncio sets TCP_NODELAY; without, every answer takes 40 ms (Nagle, delayed ACK).
    holder = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except BaseException:
        holder.close()
        raise
    holder.setblocking(False)
    return holder


def listen(host: str, port: int, *, what: str) -> socket.socket:
    """A listening socket on `host`:`port`; raises `PortTakenError` when that is not possible."""
    try:
        listener = bind(host, port, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listener.listen()
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PortTakenError(
            f"sandbox: cannot listen on {host}:{port} for {what} ({reason}). "
            f"Stop what uses it, or choose another base port."
        ) from None
    return listener
