"""Which HTTP requests are taken at all: those under a name of this machine's, and none that a foreign web page makes.

A page in a browser may send requests to 127.0.0.1. It may not read the answers, unless a name of its own leads there
(DNS rebinding): the browser then takes us for a part of its site. What such a request cannot hide is that name, in
`Host`, and where it comes from, in `Origin` and `Sec-Fetch-Site`, which a page cannot set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?P<port>:[0-9]{1,5})?")
_OUR_OWN_PAGE = ("same-origin", "none")
_SHOWN_CHARS = 64


class OnlyOurs:
    """ASGI application around another one, which answers all others itself: 421 for a name, 403 for a page.

    names: host names, beside `localhost` and loopback addresses, under which it may be asked.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        app: ASGIApp = self._app
        if not self._is_ours(host, scope):
            words = (
                f"sandbox: {host[:_SHOWN_CHARS]!r} is not a name of this machine. If it is: "
                "leadcast sandbox --allow-host NAME"
            )
            app = PlainTextResponse(words, status_code=421)
        elif _is_of_a_foreign_page(headers, scope):
            app = PlainTextResponse("sandbox: not from a web page of another site", status_code=403)
        await app(scope, receive, send)

    def _is_ours(self, host: str, scope: Scope) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower()
        if name in self._names:
            return True
        try:
            address = ip_address(name.strip("[]"))
            here = scope.get("server")
            return address.is_loopback or (here is not None and address == ip_address(here[0]))
        except ValueError:
            return False


def _is_of_a_foreign_page(headers: Mapping[str, str], scope: Scope) -> bool:
    site = headers.get("sec-fetch-site", "none")
    # A link that somebody follows shows the page to nobody else, and does nothing.
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if site not in _OUR_OWN_PAGE and not (is_link and scope["method"] == "GET"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin != f"http://{headers['host']}"
