"""One connection of the mail server: it tells the service when it opens and closes, and hangs up as servers do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP

_MAX_AUTH_LINE_BYTES = 12_288
"""RFC 4954 4: an access token does not fit into the 512 bytes of other commands."""


class Connection(SMTP):
    """aiosmtpd's protocol. It takes long AUTH lines, too."""

    line_length_limit = _MAX_AUTH_LINE_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.line_length_limit = SMTP.line_length_limit  # of letters
        self.command_size_limits = defaultdict(lambda: SMTP.command_size_limit, AUTH=_MAX_AUTH_LINE_BYTES)
        self._has_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        is_upgrade_to_tls = self.session is not None
        super().connection_made(transport)
        if not is_upgrade_to_tls:
            assert isinstance(transport, asyncio.Transport)
            self._plain_transport = transport
            self.event_handler.opened(transport)

    async def push(self, status: AnyStr) -> None:
        """Says it; after a refusal to talk at all it hangs up, as servers do."""
        said = status.decode() if isinstance(status, bytes) else status
        is_greeting, self._has_greeted = not self._has_greeted, True
        if is_greeting:
            said = self.event_handler.greeting(said)
        await super().push(said)
        if said.startswith("421") or (is_greeting and said.startswith("5")):
            assert isinstance(self.transport, asyncio.WriteTransport)
            self.transport.close()

    async def smtp_POST(self, line: str) -> None:
        """A web page's request, whatever its method: what stands in its body must not become commands."""
        await self.push("421 4.7.0 This is a mail server")
        raise asyncio.CancelledError  # ends aiosmtpd's task, which would go on with what has come in already

    smtp_GET = smtp_HEAD = smtp_PUT = smtp_PATCH = smtp_DELETE = smtp_OPTIONS = smtp_CONNECT = smtp_POST

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.closed(self._plain_transport)
        super().connection_lost(error)
