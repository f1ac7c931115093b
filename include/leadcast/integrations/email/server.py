"""Which mail server, how to reach it, and who writes: an Airflow connection of type `smtp`, as plain data."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from email.headerregistry import Address
from email.utils import parseaddr
from enum import StrEnum
from typing import Any, Self

from pydantic import SecretStr

from leadcast.core.errors import CredentialsError
from leadcast.core.host_name import ehlo_name
from leadcast.core.redact import one_line
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.oauth import OAuth2
from leadcast.integrations.email.smtp_name import default_name
from leadcast.integrations.http import tls
from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.domain import ascii_domain

_LONGEST_TIMEOUT_S = 600.0
_NO = frozenset({"", "0", "f", "false", "n", "no", "off"})


class TlsMode(StrEnum):
    """How the way to the server is secured: not, by STARTTLS after a greeting in clear, or from the first byte."""

    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"


_DEFAULT_PORTS = {TlsMode.PLAIN: 25, TlsMode.STARTTLS: 587, TlsMode.TLS: 465}


def header_text(text: str, *, limit: int) -> str:
    """`text` as a header takes it: one line, also for those who take U+0085 for the end of one, as Python does."""
    return one_line(" ".join(text.splitlines()), limit=limit)


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """A mail server with its account.

    from_email: who writes, an address or `Name <address>`.
    ehlo_name: what we call ourselves to it; empty: this machine's full name, or else the domain of who writes.
    oauth2: sign in by an access token instead of the password.
    timeout_s: for connecting and for each step of the dialogue.
    conn_id: the connection that it is from.
    verify: whether its certificate must be good. Only the operator can say no, for a server in a laboratory.
    """

    host: str
    port: int
    user: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    mode: TlsMode
    from_email: str
    ehlo_name: str = ""
    timeout_s: float = 30.0
    verify: bool = True
    conn_id: str = ""
    oauth2: OAuth2 | None = None

    def __str__(self) -> str:
        return repr(self.conn_id) if self.conn_id else self.place

    @property
    def place(self) -> str:
        """Host and port, for the operator alone: to all others it has the name of its connection."""
        return f"{self.host}:{self.port}"

    @property
    def sender(self) -> Address:
        """`from_email`, taken apart.

        Raises:
            ValueError: it is no address.
        """
        name, address = parseaddr(self.from_email)
        return Address(display_name=header_text(name, limit=100), addr_spec=mail_address(address))

    @property
    def identity(self) -> str:
        """Who signs in: the login, or else who writes, as Airflow's hook has it."""
        return self.user or self.sender.addr_spec

    @property
    def name(self) -> str:
        """What we call ourselves to it (EHLO)."""
        return self.ehlo_name or default_name(self.sender.domain)

    @property
    def signs_in(self) -> bool:
        """Whether there is something to sign in with."""
        return self.oauth2 is not None or bool(self.user and self.password.get_secret_value())

    def secrets(self) -> list[str]:
        """What must not be shown."""
        own = [self.password]
        if self.oauth2 is not None:
            own += [self.oauth2.access_token, self.oauth2.client_secret]
        return [secret.get_secret_value() for secret in own]

    def with_token(self, token: SecretStr) -> MailServer:
        """The same server, to be signed in to with this access token."""
        assert self.oauth2 is not None
        return replace(self, oauth2=replace(self.oauth2, access_token=token))

    def told(self, name: str) -> MailServer:
        """The same server, to be told this name of us where its connection has none."""
        return self if self.ehlo_name or not name else replace(self, ehlo_name=name)

    def tls_context(self) -> ssl.SSLContext:
        """The TLS settings. Without one of ours, `smtplib` would check no certificate (vendors.md 5.1)."""
        if self.verify:
            return tls.mail_context()
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return unchecked

    @classmethod
    def from_connection(cls, connection: ConnectionFields, *, from_email: str = "") -> Self:
        """The server of an Airflow connection, its fields read as Airflow's SmtpHook reads them.

        TLS from the first byte, unless extra `disable_ssl` is set; then STARTTLS, unless `disable_tls` is set too.
        `ssl_context: "none"` is the only way to an unchecked certificate. `auth_type: "oauth2"` signs in by XOAUTH2.
        Ours, and not the hook's: `ehlo_name`.

        Args:
            from_email: who writes; empty: the connection's extra `from_email`, or else its login.

        Raises:
            CredentialsError: a field is missing or wrong; says which one.
        """
        extra, conn_id = connection.extra, connection.conn_id
        if not connection.host:
            raise CredentialsError(f"Connection {conn_id!r} has no host: the mail server's name.", code="host")
        auth_type = extra.get("auth_type") or "basic"
        if auth_type not in ("basic", "oauth2"):
            raise CredentialsError(f"Connection {conn_id!r}: auth_type must be basic or oauth2.", code="auth_type")
        if (extra.get("ssl_context") or "default") not in ("default", "none"):
            raise CredentialsError(f"Connection {conn_id!r}: ssl_context must be default or none.", code="ssl_context")
        mode = _mode(disable_ssl=_is_set(extra.get("disable_ssl")), disable_tls=_is_set(extra.get("disable_tls")))
        server = cls(
            host=_host(connection.host, conn_id=conn_id),
            port=connection.port or _DEFAULT_PORTS[mode],
            user=connection.login,
            password=connection.password,
            mode=mode,
            from_email=from_email or str(extra.get("from_email") or connection.login),
            ehlo_name=_ehlo_name(extra.get("ehlo_name"), conn_id=conn_id),
            timeout_s=_timeout_s(extra.get("timeout"), conn_id=conn_id),
            verify=extra.get("ssl_context") != "none",
            conn_id=conn_id,
            oauth2=OAuth2.from_extra(extra, conn_id=conn_id) if auth_type == "oauth2" else None,
        )
        try:
            _ = server.sender
        except ValueError:
            raise CredentialsError(
                f"Connection {conn_id!r} says not who writes: set from_email in its extra to an e-mail address.",
                code="from_email",
            ) from None
        return server


def _mode(*, disable_ssl: bool, disable_tls: bool) -> TlsMode:
    if not disable_ssl:
        return TlsMode.TLS
    return TlsMode.PLAIN if disable_tls else TlsMode.STARTTLS


def _is_set(value: Any) -> bool:
    # A connection written as a URI has text here, and to Airflow's hook the text "false" is true.
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


def _host(value: str, *, conn_id: str) -> str:
    try:
        return ascii_domain(value)
    except ValueError:
        raise CredentialsError(f"Connection {conn_id!r}: host is no name of a server.", code="host") from None


def _ehlo_name(value: Any, *, conn_id: str) -> str:
    try:
        return ehlo_name(ascii_domain(str(value or "")))
    except ValueError:
        raise CredentialsError(
            f"Connection {conn_id!r}: ehlo_name must be this machine's name, such as mail.example.com.",
            code="ehlo_name",
        ) from None


def _timeout_s(value: Any, *, conn_id: str) -> float:
    try:
        timeout_s = float(value or MailServer.timeout_s)
    except (TypeError, ValueError):
        timeout_s = 0.0
    if not 0 < timeout_s <= _LONGEST_TIMEOUT_S:
        raise CredentialsError(
            f"Connection {conn_id!r}: timeout must be a number of seconds up to {_LONGEST_TIMEOUT_S:.0f}.",
            code="timeout",
        )
    return timeout_s
