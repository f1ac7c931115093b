"""Bitrix24's OAuth server: access tokens for an hour, refresh tokens that are replaced (vendors.md 2.1)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from leadcast.sandbox.bitrix24.store import BitrixError

EXPIRED = BitrixError("expired_token", "The access token provided has expired.", status=401)


class PortalTokens:
    """The access tokens issued, and the refresh tokens and codes used up."""

    def __init__(self) -> None:
        self._issued_at: dict[str, float] = {}
        self._expires_at: dict[str, float] = {}
        self._used: set[str] = set()

    def grant(self, params: Mapping[str, Any], *, lifetime_s: int, user_id: int, base_url: str) -> dict[str, Any]:
        """The answer of /oauth/token/; raises `BitrixError`.

        Whether an old refresh token dies at once is not documented: it does here, the strict case.
        """
        if not params.get("client_id") or not params.get("client_secret"):
            raise BitrixError("invalid_client", "Client is not known")
        names = {"refresh_token": "refresh_token", "authorization_code": "code"}
        name = names.get(str(params.get("grant_type")))
        if name is None:
            raise BitrixError("invalid_request", "grant_type is authorization_code or refresh_token")
        given = str(params.get(name) or "")
        if not given or given in self._used or given.startswith(("revoked", "expired")):
            raise BitrixError("invalid_grant", "The refresh token or the code is used up or has expired")
        self._used.add(given)
        access = secrets.token_hex(35)
        self._issued_at[access] = time.monotonic()
        self._expires_at[access] = time.monotonic() + lifetime_s
        return {
            "access_token": access,
            "expires": int(time.time()) + lifetime_s,
            "expires_in": lifetime_s,
            "scope": "crm,user",
            "domain": "oauth.bitrix24.tech",
            "server_endpoint": f"{base_url}rest/",
            "client_endpoint": f"{base_url}rest/",
            "status": "F",
            "member_id": "a223c6b3710f85df22e9377d6c4f7553",
            "user_id": user_id,
            "refresh_token": secrets.token_hex(35),
        }

    def is_newer(self, access: str, moment: float) -> bool:
        """Was it issued after that moment (monotonic)?"""
        return self._issued_at.get(access, 0.0) > moment

    def has_expired(self, access: str) -> bool:
        """Has its hour passed? Tokens that were not issued here never expire."""
        return self._expires_at.get(access, float("inf")) <= time.monotonic()
