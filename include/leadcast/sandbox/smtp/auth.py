"""Who may sign in to the mail server: by a password, also without telling it (CRAM-MD5), or by an access token as
Google and Microsoft have it."""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Literal

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword
from pydantic import Field, SecretStr

from leadcast.sandbox.http_service import ServiceSettings
from leadcast.sandbox.received import fingerprint

MECHANISMS = frozenset({"CRAM-MD5", "LOGIN", "PLAIN", "XOAUTH2"})
_RESPONSE = re.compile("user=(?P<user>[^\x01]*)\x01auth=Bearer (?P<token>[^\x01]+)\x01\x01")


class SmtpSettings(ServiceSettings):
    """With `password` or `access_token` set, only who knows one of them may sign in (`user`: and only under that name),
    and nobody sends without."""

    user: str | None = None
    password: SecretStr | None = None
    access_token: SecretStr | None = Field(default=None, description="for XOAUTH2")
    mechanisms: tuple[Literal["CRAM-MD5", "LOGIN", "PLAIN", "XOAUTH2"], ...] = ("LOGIN", "PLAIN", "XOAUTH2")
    starttls: bool = False
    wants_full_name: bool = Field(default=False, description="EHLO by a full name; said at RCPT, as Postfix does")
    senders: tuple[str, ...] = Field(default=(), description="who may be written from; empty: anybody")
    senders_checked_at: Literal["mail", "rcpt", "data"] = Field(
        default="rcpt", description="rcpt: as Postfix with smtpd_delay_reject; data: as Amazon SES"
    )
    relays_for: tuple[str, ...] = Field(default=(), description="domains that may be written to; empty: all")

    @property
    def is_closed(self) -> bool:
        """Whether who sends must have signed in."""
        return self.password is not None or self.access_token is not None


@dataclass(frozen=True)
class AccessToken:
    """Who signs in, and with which token."""

    user: str
    token: str


@dataclass(frozen=True)
class Digest:
    """Who signs in by CRAM-MD5 (RFC 2195): what was asked, and what it makes with the password."""

    user: str
    challenge: bytes
    digest: str

    def is_of(self, password: str) -> bool:
        return hmac.compare_digest(self.digest, hmac.new(password.encode(), self.challenge, "md5").hexdigest())


async def read_digest(server: SMTP) -> Digest | None:
    """The response to a challenge; None: the client gave up, and that was answered."""
    challenge = f"<{secrets.token_hex(8)}@sandbox.localhost>".encode()
    given = await server.challenge_auth(challenge)
    if given is MISSING:
        return None
    user, _, digest = given.decode("utf-8", "replace").rpartition(" ")
    return Digest(user, challenge, digest)


async def read_access_token(server: SMTP, args: list[str]) -> AccessToken | None:
    """The response after `AUTH XOAUTH2`, on the same line or on the next; None: it is none, and that was answered."""
    if len(args) == 1:
        given = await server.challenge_auth("")
        if given is MISSING:
            return None
    else:
        try:
            given = b64decode(args[1].encode(), validate=True)
        except (binascii.Error, ValueError):
            await server.push("501 5.5.2 Can't decode base64")
            return None
    found = _RESPONSE.fullmatch(given.decode("utf-8", "replace"))
    if found is None:
        await server.push("501 5.5.2 Not an XOAUTH2 response")
        return None
    return AccessToken(found["user"], found["token"])


def sign_in(given: Any, *, settings: SmtpSettings) -> AuthResult:
    """Whether a `LoginPassword`, a `Digest` or an `AccessToken` lets its owner in."""
    if isinstance(given, Digest):
        known = settings.password.get_secret_value() if settings.password else ""
        given = LoginPassword(given.user.encode(), known.encode() if given.is_of(known) else b"")
    if isinstance(given, AccessToken):
        user, secret, wanted = given.user, given.token, settings.access_token
    elif isinstance(given, LoginPassword):
        user, secret = (part.decode("utf-8", "replace") for part in (given.login, given.password))
        wanted = settings.password
    else:
        return AuthResult(success=False, handled=False)
    is_right = not settings.is_closed or (wanted is not None and secret == wanted.get_secret_value())
    is_user = settings.user is None or user == settings.user
    return AuthResult(success=is_right and is_user, handled=False, auth_data=fingerprint(secret))
