"""What an integration is: the one contract that every destination fulfils, a user's own included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr

from leadcast.core.clock import Clock, utc_now
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import secrets_in
from leadcast.core.settings import Settings

if TYPE_CHECKING:
    from leadcast.integrations.egress import Egress
    from leadcast.integrations.templating import Templates


class RequestModel(BaseModel):
    """Base of settings and credentials: unknown fields are refused, and no error repeats a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)


ModelClass = type[RequestModel]
SettingsT = TypeVar("SettingsT", bound=RequestModel)
CredentialsT = TypeVar("CredentialsT", bound=RequestModel)


@dataclass(frozen=True, kw_only=True)
class ConnectionFields:
    """An Airflow connection, as plain data. `extra` may hold secrets."""

    conn_id: str
    conn_type: str = ""
    host: str = ""
    port: int | None = None
    login: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Account(Generic[CredentialsT]):
    """Credentials ready for use, and where they may be sent.

    base_url: the address that the operator of the system chose (a connection or a setting); empty: the vendor's own.
    """

    credentials: CredentialsT
    base_url: str = ""

    def secrets(self) -> list[str]:
        """Every secret of the account, opened: what logs and errors must not show."""
        return list(secrets_in(self.credentials.model_dump()))


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """An OAuth access token with the refresh token that renews it."""

    access: SecretStr
    refresh: SecretStr


class TokenVault(Protocol):
    """Where rotated OAuth tokens live. One process renews an account's pair at a time."""

    def current(self, account: str) -> TokenPair | None:
        """The newest pair stored for this account, or None."""

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        """A pair newer than the access token `stale`.

        Under a lock: where the stored access token is no longer `stale`, that pair is returned; else `exchange` is
        called with the stored pair (None: nothing stored yet) and what it returns is committed before it is returned.
        """


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one attempt may use, besides lead, settings and account.

    key: the delivery's stable key, `<batch id>-<index>`: the same on every attempt.
    accepted_at: when the batch was accepted, UTC: the same on every attempt.
    attempt: 1 for the first.
    last_try: no attempt follows this one by itself.
    timeout_s: how long this attempt may take in all.
    """

    key: str
    batch_id: str
    accepted_at: datetime
    attempt: int
    egress: Egress
    templates: Templates
    tokens: TokenVault
    settings: Settings
    """Leadcast's own settings (language, base URLs)."""
    clock: Clock = utc_now
    timeout_s: float = 300
    last_try: bool = False


class Integration(ABC, Generic[SettingsT, CredentialsT]):
    """One kind of destination.

    Subclasses declare `type`, the two models, and `deliver`. None retries by itself: errors are raised as the classes
    of `core.errors`, and the retry policy decides.
    """

    type: ClassVar[str]
    queue: ClassVar[str] = ""
    """Name of pool and Celery queue; empty: `integration-<type>`."""
    default_conn_id: ClassVar[str] = ""
    """The Airflow connection used when the request brings no credentials; empty: `leadcast_<type>`."""
    needs_connection: ClassVar[bool] = False
    """Whether a connection is needed even when the request brings credentials (e-mail: the mail server)."""
    repeatable: ClassVar[bool] = False
    """Whether the receiver recognises a repeated delivery by its key, so that repeating after silence is safe."""
    can_find: ClassVar[bool] = False
    """Whether `find` can ask the service for a delivery by its key."""

    can_probe: ClassVar[bool] = False
    """Whether `probe` can ask the service whether it takes an account."""

    absent_after_s: ClassVar[float] = 0
    """How long the service may take to execute a call and to show it. Until then, not finding it proves nothing."""

    settings_model: ClassVar[ModelClass]
    """What `integrations[].settings` of a request may hold."""
    credentials_model: ClassVar[ModelClass]
    """What `credentials.<type>` of a request may hold; secrets as `SecretStr`."""

    @abstractmethod
    def deliver(self, lead: Lead, *, settings: SettingsT, account: Account[CredentialsT], call: Call) -> Receipt:
        """Sends the lead once.

        Raises:
            TransientError, RateLimited, RejectedError, CredentialsError, UnknownOutcome, Blocked
        """

    def find(self, lead: Lead, *, settings: SettingsT, account: Account[CredentialsT], call: Call) -> Receipt | None:
        """Asks the service whether the delivery with `call.key` arrived. Only where `can_find`."""
        raise TypeError(f"{self.type} cannot be asked for a delivery")

    def probe(self, account: Account[CredentialsT], *, call: Call) -> str:
        """Asks the service whether it takes this account, by a call that changes nothing. Only where `can_probe`.

        A token that has expired is not renewed: a refresh token works once, and this one may stand in a form that
        nobody saves.

        Returns:
            One line that says whose account it is.

        Raises:
            TransientError, RateLimited, RejectedError, CredentialsError, Blocked
        """
        raise TypeError(f"{self.type} has no harmless call")

    def may_resend(self, settings: SettingsT, leadcast: Settings) -> bool:
        """Whether to send again after a call without an answer, when the service was or cannot be asked.

        Args:
            settings: the delivery's own settings.
            leadcast: the installation's, whose `on_unknown` is the default where a service leaves the choice.
        """
        return self.repeatable or self.can_find

    @classmethod
    @abstractmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[CredentialsT]:
        """Builds the account from an Airflow connection.

        Args:
            connection: the connection's fields.
            inline: what the request's credentials held besides `conn_id` (say, the e-mail's recipients); it
                wins, or is refused where it would send the connection's secrets elsewhere.

        Raises:
            CredentialsError: the connection lacks something; says which field.
        """

    @classmethod
    def from_inline(cls, credentials: CredentialsT, *, base_url: str) -> Account[CredentialsT]:
        """The account of a request which brings its own credentials. `base_url`: the operator's setting, or empty."""
        return Account(credentials=credentials, base_url=base_url)

    @classmethod
    def queue_name(cls) -> str:
        """The pool and Celery queue of this integration."""
        return cls.queue or f"integration-{cls.type}"

    @classmethod
    def conn_id(cls) -> str:
        """The connection used when the request names none."""
        return cls.default_conn_id or f"leadcast_{cls.type}"
