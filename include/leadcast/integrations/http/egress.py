"""The one way out over HTTP: bounded in time and size, one attempt, and sure of whether anything was sent.

Connecting and sending are two steps. What fails in the first (`connecting`) was not sent; what fails in the second
(`exchange`) may have been executed. An exception's class cannot tell the two apart (a TLS error may come from either),
and a lead that is sent twice is the worst that can happen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from leadcast.integrations.http.address import Target
from leadcast.integrations.http.answer import Answer
from leadcast.integrations.http.connecting import Connector
from leadcast.integrations.http.exchange import exchange, prepared
from leadcast.integrations.http.reachable import Network

if TYPE_CHECKING:
    from leadcast.core.settings import Settings

__all__ = ["Answer", "Egress"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


def _unchecked() -> None:
    pass


class Egress:
    """Sends HTTP requests: each once, on a connection of its own, without cookies or redirects.

    Args:
        allowed_networks: private networks that `public_only` requests may reach all the same.
        connect_timeout_s: how long to try to connect, TLS included.
        proxy: a proxy's URL; `env`: those of the environment; empty: none, whatever the environment says.
    """

    def __init__(
        self, *, allowed_networks: Sequence[Network] = (), connect_timeout_s: float = 10.0, proxy: str = ""
    ) -> None:
        self._connector = Connector(allowed_networks=allowed_networks, connect_timeout_s=connect_timeout_s, proxy=proxy)
        self._check: Callable[[], None] = _unchecked

    def guarded(self, check: Callable[[], None]) -> Egress:
        """The same, but for a check that is made before anything is sent, on the connection that stands by then."""
        guarded = copy(self)
        guarded._check = check
        return guarded

    @classmethod
    def under(cls, settings: Settings, integration_type: str = "") -> Egress:
        """As the settings have it, for calls of this integration; empty: for calls of our own."""
        return cls(allowed_networks=settings.allowed_networks, proxy=settings.proxy_of(integration_type))

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NOTHING,
        json: Any = None,
        body: bytes | None = None,
        timeout_s: float = 60.0,
        max_answer_bytes: int = 65536,
        body_s: float | None = None,
        public_only: bool = True,
        operators: bool = False,
    ) -> Answer:
        """Sends once and returns the answer, whatever its status, and whether or not its body is `whole`.

        Args:
            json: sent as JSON in UTF-8, instead of `body`.
            timeout_s: for all of it, from connecting to the answer's last byte (the system's name lookup apart).
            max_answer_bytes: what is longer is cut.
            body_s: who needs no more than status and headers says how long the rest is waited for; None: as long as
                there is time.
            public_only: reach public addresses and `allowed_networks` only. False only for a host that is fixed, as a
                vendor's own.
            operators: the address is the operator's choice, and his token goes there: without TLS to `allowed_networks`
                only; and what no name server here knows, his proxy may look up.

        Raises:
            TransientError: nothing was sent.
            UnknownOutcome: it was sent, and no answer came.
            Blocked: the address is not one that we send to.
            Unsendable: a header cannot be sent.
            Exception: of the check, if this one is `guarded`; nothing was sent.
        """
        target = Target.of(url)
        content, all_headers = prepared(target, headers, json, body)
        deadline = monotonic() + timeout_s
        line = self._connector.connect(target, public_only=public_only, operators=operators, deadline=deadline)
        try:
            self._check()
            return exchange(line, target, method, all_headers, content, deadline, max_answer_bytes, body_s)
        finally:
            line.close()

    def reach(self, url: str, *, timeout_s: float = 20.0, public_only: bool = True) -> None:
        """Connects, TLS included, as `send` would, and sends nothing.

        Raises:
            TransientError: it cannot be reached.
            Blocked: the address is not one that we send to.
        """
        self._connector.connect(Target.of(url), public_only=public_only, deadline=monotonic() + timeout_s).close()

    def judge(self, url: str, *, operators: bool) -> None:
        """Looks up where this is, and calls nobody: whether `send` would go to it, where `public_only`.

        Args:
            operators: as in `send`.

        Raises:
            TransientError: its name cannot be looked up here.
            Blocked: the address is not one that we send to.
        """
        self._connector.judge(Target.of(url), operators=operators)
