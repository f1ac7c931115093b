"""The way out as for a vendor's own host: whatever address its name has, as the tests' servers are on this machine."""

from __future__ import annotations

from typing import Any

from leadcast.integrations.http.answer import Answer
from leadcast.integrations.http.egress import Egress


class Anywhere(Egress):
    """Reaches private addresses, too, unless told not to."""

    def send(self, method: str, url: str, **more: Any) -> Answer:
        """As `Egress.send`."""
        return super().send(method, url, **({"public_only": False} | more))

    def reach(self, url: str, **more: Any) -> None:
        """As `Egress.reach`."""
        super().reach(url, **({"public_only": False} | more))
