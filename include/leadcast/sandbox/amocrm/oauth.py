"""amoCRM's tokens: refresh tokens that work once, strictly or with grace (vendors.md 1.2)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

_PROBLEM_TYPE = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"
_BAD_REQUEST = {
    "title": "Некорректный запрос",
    "type": _PROBLEM_TYPE,
    "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
}
_BAD_CLIENT = {
    "title": "Некорректный клиент",
    "type": _PROBLEM_TYPE,
    "status": 401,
    "detail": "Авторизация клиента не прошла",
}


class RefreshMode(StrEnum):
    """When an old refresh token dies: at once, or when the new pair is first used (the sources disagree)."""

    STRICT = "strict"
    GRACE = "grace"


class OAuthError(Exception):
    """The token endpoint says no; `body` is its answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"token endpoint answers {status}")
        self.status = status
        self.body = body

    @classmethod
    def because(cls, hint: str, *, status: int = 400) -> OAuthError:
        return cls(status, {"hint": hint, **_BAD_REQUEST, "status": status})


@dataclass(kw_only=True)
class Pair:
    """An access token with its refresh token; `was_used` once either has been presented."""

    access: str
    refresh: str
    issued_at: float
    expires_at: float
    was_used: bool = False


class TokenBook:
    """Every token that was issued or used up. `clock` gives seconds, as `time.monotonic` does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_access: dict[str, Pair] = {}
        self._by_refresh: dict[str, Pair] = {}
        self._successor: dict[str, Pair] = {}
        self._used_codes: set[str] = set()

    def grant(
        self,
        request: Mapping[str, Any],
        *,
        mode: RefreshMode,
        lifetime_s: int,
        clients: Mapping[str, SecretStr] | None,
        api_domain: str,
    ) -> dict[str, Any]:
        """The answer of POST /oauth2/access_token; raises `OAuthError`."""
        client_id = _required(request, "client_id")
        secret = _required(request, "client_secret")
        known = None if clients is None else clients.get(client_id)
        if clients is not None and (known is None or known.get_secret_value() != secret):
            raise OAuthError(401, _BAD_CLIENT)
        _required(request, "redirect_uri")
        match request.get("grant_type"):
            case "authorization_code":
                self._use_code(_required(request, "code"))
                pair = self._issue(client_id, lifetime_s, api_domain)
            case "refresh_token":
                old = _required(request, "refresh_token")
                self._check_refresh(old, mode)
                pair = self._issue(client_id, lifetime_s, api_domain)
                self._successor[old] = pair
            case _:
                raise OAuthError.because("Check the `grant_type` parameter")
        return {
            "token_type": "Bearer",
            "expires_in": lifetime_s,
            "server_time": int(time.time()),
            "access_token": pair.access,
            "refresh_token": pair.refresh,
        }

    def accepts(self, access: str, *, not_before: float | None, unknown: bool) -> bool:
        """Is the access token good now?

        `not_before` (monotonic): tokens issued earlier have expired. `unknown`: tokens that were never issued are good.
        """
        pair = self._by_access.get(access)
        if pair is None:
            return unknown and not_before is None and not access.startswith(("expired", "revoked"))
        now = self._clock()
        is_good = now < pair.expires_at and (not_before is None or pair.issued_at > not_before)
        pair.was_used = pair.was_used or is_good
        return is_good

    def _use_code(self, code: str) -> None:
        if code.startswith("expired"):
            raise OAuthError.because("Authorization code has expired")
        if code in self._used_codes or code.startswith("revoked"):
            raise OAuthError.because("Authorization code has been revoked")
        self._used_codes.add(code)

    def _check_refresh(self, refresh: str, mode: RefreshMode) -> None:
        successor = self._successor.get(refresh)
        is_used_up = successor is not None and (mode is RefreshMode.STRICT or successor.was_used)
        if is_used_up or refresh.startswith(("revoked", "expired")):
            raise OAuthError.because("Token has been revoked", status=401)
        if refresh in self._by_refresh:
            self._by_refresh[refresh].was_used = True

    def _issue(self, client_id: str, lifetime_s: int, api_domain: str) -> Pair:
        now = self._clock()
        pair = Pair(
            access=_jwt(client_id, lifetime_s, api_domain),
            refresh="def50200" + secrets.token_hex(32),
            issued_at=now,
            expires_at=now + lifetime_s,
        )
        self._by_access[pair.access] = pair
        self._by_refresh[pair.refresh] = pair
        return pair


def _required(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise OAuthError.because(f"Check the `{name}` parameter")
    return value


def _jwt(client_id: str, lifetime_s: int, api_domain: str) -> str:
    """Looks like amoCRM's access token: clients read its claims, nobody checks its signature."""
    now = int(time.time())
    claims = {
        "aud": client_id,
        "jti": secrets.token_hex(16),
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_s,
        "sub": "901",
        "account_id": 31000001,
        "api_domain": api_domain,
        "scopes": ["crm"],
    }
    parts = [json.dumps({"typ": "JWT", "alg": "RS256"}).encode(), json.dumps(claims).encode(), secrets.token_bytes(32)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
