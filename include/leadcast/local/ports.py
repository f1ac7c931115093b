"""The ports of a stack: all follow from LEADCAST_PORT, so that several stacks can stand side by side."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict

from leadcast.client.errors import StackError
from leadcast.client.loopback import DEFAULT_PORT, loopback_url
from leadcast.sandbox.ports import SandboxPorts

_SANDBOX_OFFSET = 10
_POSTGRES_OFFSET = 20


class Ports(BaseModel):
    """Where the stack's servers listen, on 127.0.0.1. `api` is LEADCAST_PORT."""

    model_config = ConfigDict(frozen=True)

    api: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Ports:
        """The ports that the environment asks for.

        Raises:
            StackError: LEADCAST_PORT is no usable port number.
        """
        text = environ.get("LEADCAST_PORT") or str(DEFAULT_PORT)
        last = 65535 - _POSTGRES_OFFSET
        if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= last:
            raise StackError(
                f"LEADCAST_PORT is {text!r}; it must be a number from 1024 to {last}.",
                mend=f"Unset it (the default is {DEFAULT_PORT}) or set another one.",
            )
        return cls(api=int(text))

    @property
    def postgres(self) -> int:
        """PostgreSQL's port."""
        return self.api + _POSTGRES_OFFSET

    @property
    def sandbox(self) -> SandboxPorts:
        """The ports of the sandbox's services."""
        return SandboxPorts.from_base(self.api + _SANDBOX_OFFSET)

    @property
    def api_url(self) -> str:
        """Base URL of Airflow's api-server."""
        return loopback_url(self.api)

    @property
    def all(self) -> dict[int, str]:
        """Every port with what listens there."""
        sandbox = {port: f"the sandbox's {name}" for name, port in asdict(self.sandbox).items()}
        return {self.api: "Airflow", **sandbox, self.postgres: "PostgreSQL"}


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that connections still closing from a stack before do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
