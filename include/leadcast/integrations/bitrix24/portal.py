"""Where a Bitrix24 portal is: its configured address, which hosts a secret may go to, and where it has moved to.

A renamed portal answers 302 with its new address (vendors.md 2.1). The new one is remembered for the account, so that
the next deliveries go there at once; where it is forgotten or no longer right, the configured address says it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from leadcast.core.errors import Blocked, RejectedError
from leadcast.integrations.base import Account, Memory
from leadcast.integrations.http.address import Target

if TYPE_CHECKING:
    from leadcast.integrations.bitrix24.settings import Bitrix24Credentials

MOVED_TO = "moved to"
MOVED_FOR_S = 7 * 86400.0
"""Then the configured address is asked again."""
# The zones of Bitrix24's cloud portals: each portal is a name under one of them.
ZONES = (
    *(".bitrix24.ru", ".bitrix24.com", ".bitrix24.by", ".bitrix24.kz", ".bitrix24.ua", ".bitrix24.eu", ".bitrix24.de"),
    *(".bitrix24.fr", ".bitrix24.it", ".bitrix24.es", ".bitrix24.pl", ".bitrix24.in", ".bitrix24.cn", ".bitrix24.jp"),
    *(".bitrix24.vn", ".bitrix24.id", ".bitrix24.com.br", ".bitrix24.com.tr"),
)


def is_vendors_host(host: str) -> bool:
    """Whether this is a portal in Bitrix24's cloud."""
    return host.lower().endswith(ZONES)


def origin_of(url: str) -> str:
    """Scheme, host and port, as the egress reads them: `https://evil.example\\.bitrix24.ru` is at evil.example.

    Raises:
        Blocked: it is no address that can be sent to.
    """
    return Target.of(url).origin


def own_address(account: Account[Bitrix24Credentials]) -> str:
    """The webhook's URL, or that of the portal's methods."""
    own = account.credentials
    return own.webhook_url.get_secret_value().rstrip("/") or f"https://{own.domain}/rest"


class Portal:
    """Where the calls of one account go.

    Raises:
        Blocked: the address is neither the operator's nor one of Bitrix24's cloud.
    """

    def __init__(self, account: Account[Bitrix24Credentials], *, memory: Memory) -> None:
        self._chosen = account.base_url.rstrip("/")
        own = own_address(account)
        self.path = urlsplit(own).path
        self.configured = origin_of(self._chosen or own)
        if not self._may_be_sent_to(self.configured):
            raise Blocked(
                "The portal is not one of Bitrix24's cloud (https://….bitrix24.ru and the like); nothing was sent. "
                "For a portal of your own use a connection, or set [leadcast] bitrix24_base_url.",
                code="host",
            )
        self._memory = memory
        moved_to = memory.recall(MOVED_TO)
        is_known = isinstance(moved_to, str) and self._may_be_sent_to(moved_to)
        self.origin: str = moved_to if is_known else self.configured

    @property
    def chosen(self) -> str:
        """The operator's address; empty for Bitrix24's cloud."""
        return self._chosen and origin_of(self._chosen)

    @property
    def has_moved(self) -> bool:
        """Whether calls go elsewhere than to the configured address."""
        return self.origin != self.configured

    def follow(self, location: str) -> None:
        """Calls go to where a redirect points.

        Raises:
            RejectedError: a secret may not be sent there.
        """
        if not self._may_be_sent_to(location):
            raise RejectedError(
                "Bitrix24 redirects to a host that is not its own (302); nothing was sent there. Check the address.",
                code="302",
            )
        self.origin = origin_of(location)

    def remember(self) -> None:
        """The portal has answered at its new address: the next deliveries go there at once."""
        if self._memory.recall(MOVED_TO) != self.origin:
            self._memory.remember(MOVED_TO, self.origin, for_s=MOVED_FOR_S)

    def come_back(self) -> None:
        """Calls go to the configured address again."""
        self.origin = self.configured
        self._memory.remember(MOVED_TO, "", for_s=1.0)

    def _may_be_sent_to(self, address: str) -> bool:
        """A secret goes to the operator's address, or else only to the vendor's own hosts."""
        try:
            url = Target.of(address)
            chosen = Target.of(self._chosen) if self._chosen else None
        except Blocked:
            return False
        is_chosen = chosen is not None and url.host == chosen.host and url.scheme in ("https", chosen.scheme)
        return is_chosen or (url.scheme == "https" and is_vendors_host(url.host))
