"""Signing in to a mail server with an OAuth 2.0 access token (XOAUTH2), as Airflow's `smtp` connection has it.

The token lies in the connection, or Microsoft gives one to the application whose id and secret lie there (the client
credentials of Microsoft 365). A token that was given is kept in the vault and used until the mail server no longer
takes it: then one process gets a new one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, RateLimited, TransientError, UnknownOutcome
from leadcast.core.redact import one_line
from leadcast.integrations.http.oauth import account_name

if TYPE_CHECKING:
    from leadcast.integrations.http.egress import Egress

AUTHORITY = "https://login.microsoftonline.com"
OUTLOOK = "https://outlook.office.com/.default"
TOKEN_TIMEOUT_S = 30.0
_PAUSE_S = 60.0
"""How long to wait after a 429 that names no time."""
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,128}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_NOTHING = SecretStr("")


@dataclass(frozen=True, kw_only=True)
class OAuth2:
    """The connection's extra, named as Airflow's SmtpHook names it. A given token wins, as there."""

    access_token: SecretStr = _NOTHING
    client_id: str = ""
    client_secret: SecretStr = field(default=_NOTHING)
    tenant_id: str = "common"
    scope: str = OUTLOOK

    @classmethod
    def from_extra(cls, extra: Mapping[str, Any], *, conn_id: str) -> Self:
        """Reads the client, or the token, from a connection's extra.

        Raises:
            CredentialsError: there is neither a token nor a client, or one of them cannot be one.
        """
        token = str(extra.get("access_token") or "")
        client_id, secret = str(extra.get("client_id") or ""), str(extra.get("client_secret") or "")
        tenant = str(extra.get("tenant_id") or cls.tenant_id)
        if not token and not (client_id and secret):
            raise CredentialsError(
                f"Connection {conn_id!r}: auth_type oauth2 needs access_token, or client_id and client_secret, "
                "in its extra.",
                code="access_token",
            )
        if token and not _TOKEN.fullmatch(token):
            raise CredentialsError(f"Connection {conn_id!r}: access_token cannot be one.", code="access_token")
        if not _TENANT.fullmatch(tenant):
            raise CredentialsError(
                f"Connection {conn_id!r}: tenant_id is a directory's id or domain.", code="tenant_id"
            )
        return cls(
            access_token=SecretStr(token),
            client_id=client_id,
            client_secret=SecretStr(secret),
            tenant_id=tenant,
            scope=str(extra.get("scope") or cls.scope),
        )

    @property
    def is_given(self) -> bool:
        """Whether the token is there already; nobody can renew it then."""
        return bool(self.access_token.get_secret_value())

    @property
    def account(self) -> str:
        """What the vault knows the token by."""
        return account_name("smtp", self.tenant_id, self.client_id, self.client_secret.get_secret_value(), self.scope)

    def fetched(self, egress: Egress, *, timeout_s: float = TOKEN_TIMEOUT_S) -> SecretStr:
        """A new token from Microsoft. Getting one twice does no harm.

        Raises:
            CredentialsError: the client is not known, or its secret is wrong or has expired.
            TransientError, RateLimited: not now.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
            "scope": self.scope,
        }
        try:
            answer = egress.send(
                "POST",
                f"{AUTHORITY}/{self.tenant_id}/oauth2/v2.0/token",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                timeout_s=timeout_s,
                public_only=False,
            )
        except UnknownOutcome as error:
            raise TransientError(f"No access token: {error.message}", code=error.code) from None
        body = answer.json()
        told: Mapping[str, Any] = body if isinstance(body, dict) else {}
        token = told.get("access_token")
        if answer.status == 200 and isinstance(token, str) and _TOKEN.fullmatch(token):
            return SecretStr(token)
        if answer.status == 429:
            pause_s = answer.retry_after_s()
            raise RateLimited("Microsoft asks to wait.", retry_after_s=_PAUSE_S if pause_s is None else pause_s)
        if 400 <= answer.status < 500 and told.get("error"):
            why = one_line(str(told["error"]), limit=64)
            raise CredentialsError(
                f"Microsoft gives no access token for the mail server: {why}. Check tenant_id, client_id and "
                "client_secret in the connection's extra.",
                code=why,
                detail=one_line(str(told.get("error_description", "")), limit=200),
            )
        raise TransientError(f"Microsoft gave no access token ({answer.status}).", code=str(answer.status))
