"""What an integration is: the one contract that every destination fulfils, a user's own included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, get_args, get_origin

from pydantic import ConfigDict, ValidationError

from leadcast.core.clock import Clock, utc_now
from leadcast.core.limits import Limit
from leadcast.core.meant import AsMeant
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import opened, secrets_in
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenVault
from leadcast.integrations.connection import ConnectionFields, InConnection, refuse_beside

if TYPE_CHECKING:
    from leadcast.integrations.http.egress import Egress
    from leadcast.integrations.text.templating import Templates


class RequestModel(AsMeant):
    """Base of settings and credentials: values are taken as they were meant, unknown fields are refused, and no error
    repeats a value."""

    model_config = ConfigDict(str_strip_whitespace=True)


ModelClass = type[RequestModel]
SettingsT = TypeVar("SettingsT", bound=RequestModel)
CredentialsT = TypeVar("CredentialsT", bound=RequestModel)


@dataclass(frozen=True, kw_only=True)
class Account(Generic[CredentialsT]):
    """Credentials ready for use, and where they may be sent.

    base_url: the address that the operator of the system chose (a connection or a setting); empty: the vendor's own.
    source: where the operator has said so, as people may read it: the connection's id, or the setting's name; empty:
        the account is the request's own, and so is its address.
    addresses: what the operator has said there of where it is; `operators_words` has the rule.
    """

    credentials: CredentialsT
    base_url: str = ""
    source: str = ""
    addresses: tuple[str, ...] = field(default=(), repr=False)

    def secrets(self) -> list[str]:
        """Every secret of the account, opened: what logs and errors must not show."""
        return list(secrets_in(self.credentials.model_dump()))


class Memory(Protocol):
    """What an account's service has once told us and we need again: where a chat or a portal has moved to, say. Kept
    for the account, seen by all processes. Nothing secret and nothing about a lead belongs in there."""

    def recall(self, name: str) -> Any:
        """What was remembered under this name (JSON), or None: nothing, or it is too old."""

    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        """Keeps a small JSON value; `for_s`: seconds that it is good for, None: until it is written anew."""


class NoMemory:
    """For calls without a store behind them."""

    def recall(self, name: str) -> Any:
        """Nothing."""
        return None

    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        """Forgets it at once."""


def _unpaced() -> None:
    pass


def _not_kept(progress: Mapping[str, Any]) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one attempt may use, besides lead, settings and account.

    key: the delivery's stable key, `<batch id>-<index>`: the same on every attempt.
    accepted_at: when the batch was accepted, UTC: the same on every attempt.
    attempt: 1 for the first.
    timeout_s: how long this attempt may take in all.
    pace: to be called before each call to the service: waits until `Integration.limits` let it go out. The first time
        it returns at once, since that call was waited for before the attempt began. Raises TransientError where this
        attempt was held up for so long that another may have begun.
    check_lease: raises it without waiting. `egress` does so before each request; whoever sends by other means and is
        long about it calls it before what cannot be taken back.
    memory: what the account's service told us before.
    kept: what earlier attempts of this delivery have kept of their progress (JSON); empty at first.
    keep: writes progress down at once, instead of what was kept before; the next attempt finds it in `kept`.
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
    pace: Callable[[], None] = _unpaced
    check_lease: Callable[[], None] = _unpaced
    memory: Memory = field(default_factory=NoMemory)
    kept: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[Mapping[str, Any]], None] = _not_kept


class Integration(ABC, Generic[SettingsT, CredentialsT]):
    """One kind of destination.

    Subclasses name the two models, as in `Integration[SlackSettings, SlackCredentials]`, and declare `type`, what lies
    where `in_connection`, and `deliver`. None retries by itself: errors are raised as the classes of `core.errors`, and
    the retry policy decides.
    """

    type: ClassVar[str]
    queue: ClassVar[str] = ""
    """Name of pool and Celery queue; empty: `integration-<type>`."""
    default_conn_id: ClassVar[str] = ""
    """The Airflow connection used when the request brings no credentials; empty: `leadcast_<type>`."""
    connection_types: ClassVar[tuple[str, ...]] = ()
    """The types of Airflow connections that may be used, as their forms and URIs have them. Empty: those of the name
    `<type>`; and the default connection of whatever type, since its name says what it is for."""
    in_connection: ClassVar[InConnection] = InConnection()
    """Which of the credentials lies in which field of a connection; the others are in its extra, by their names."""
    beside_connection: ClassVar[tuple[str, ...] | None] = ()
    """Which fields of the credentials a request may give beside `conn_id`; None: all of them. Not the one that says
    where to: the connection's secrets would go there."""
    identified_by: ClassVar[tuple[str, ...]] = ()
    """The credentials that make an account another one than others; empty: all of them. See `identity`."""
    public_hosts: ClassVar[tuple[str, ...]] = ()
    """The vendor's own hosts: a name, or with a dot before it all names below it. Everybody knows them, so errors may
    show them, and no private address is behind them."""
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
    """What `integrations[].settings` of a request may hold: the first model that the class names."""
    credentials_model: ClassVar[ModelClass]
    """What `credentials.<type>` of a request may hold, secrets as `SecretStr`: the second one."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for named in cls.__dict__.get("__orig_bases__", ()):
            models = get_args(named) if get_origin(named) is Integration else ()
            for name, model in zip(("settings_model", "credentials_model"), models, strict=False):
                if name not in vars(cls):
                    setattr(cls, name, model)

    def limits(self, *, settings: SettingsT, account: Account[CredentialsT]) -> Sequence[Limit]:
        """What the service publishes of how many calls it takes, for every call of this delivery; the account's first,
        the narrowest last. After a 429 the narrowest one pauses. None: no limit is known."""
        return ()

    def identity(self, account: Account[CredentialsT]) -> Sequence[str]:
        """What makes this account another one than others: its circuit and its memory are its own. Only a hash is kept.

        All secrets that the service looks at belong in there, or a caller with a wrong one could close the account of
        those who have the right one. What only says where within the account something goes does not.
        """
        own = account.credentials
        if not self.identified_by:
            return (account.base_url, own.model_dump_json(), *account.secrets())
        return (self.address_of(account), *(opened(getattr(own, name)) for name in self.identified_by))

    def label(self, account: Account[CredentialsT]) -> str:
        """What people know the account by, without a secret: the host of its address, as in `example.amocrm.ru`, or
        else the type."""
        from leadcast.integrations.http.address import netloc_of

        return netloc_of(self.address_of(account)) or self.type

    def address_of(self, account: Account[CredentialsT]) -> str:
        """The URL of what this account's calls go to, whoever has chosen it. Beyond its host, it may hold secrets."""
        return self.chosen_url(account)

    def chosen_url(self, account: Account[CredentialsT]) -> str:
        """The URL that somebody has chosen for this account's calls: only public addresses and `allowed_networks` are
        reached there. Empty: they go to the vendor. `leadcast doctor` judges it."""
        return account.base_url

    @abstractmethod
    def deliver(self, lead: Lead, *, settings: SettingsT, account: Account[CredentialsT], call: Call) -> Receipt:
        """Sends the lead once.

        Raises:
            TransientError, RateLimited, RejectedError, CredentialsError, Gone, UnknownOutcome, Blocked
            Postponed: nothing was sent, and it is too early for it.
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

    @property
    def needs_decision(self) -> bool:
        """Whether a person has to decide about what may have arrived: a repetition is not recognised, nor can the
        service be asked."""
        return not self.repeatable and not self.can_find

    def may_resend(self, settings: SettingsT, leadcast: Settings) -> bool:
        """Whether to send again after a call without an answer, when the service was or cannot be asked.

        Args:
            settings: the delivery's own settings.
            leadcast: the installation's, whose `on_unknown` is the default where a service leaves the choice.
        """
        return self.repeatable or self.can_find

    @classmethod
    def credentials_in(cls, connection: ConnectionFields) -> dict[str, Any]:
        """The credentials that an Airflow connection holds, by their names, as far as it holds them."""
        return cls.in_connection.credentials(connection, cls.credentials_model)

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[CredentialsT]:
        """Builds the account from an Airflow connection.

        Args:
            connection: the connection's fields.
            inline: what the request's credentials held besides `conn_id` (say, the e-mail's recipients); it wins.

        Raises:
            CredentialsError: the connection lacks something, and it says which field; or the request holds something
                that is not in `beside_connection`.
        """
        refuse_beside(connection, inline, allowed=cls.beside_connection)
        try:
            credentials: Any = cls.credentials_model.model_validate(cls.credentials_in(connection) | dict(inline))
        except ValidationError as error:
            raise cls.in_connection.misfit(connection, error) from None
        return Account(credentials=credentials, base_url=cls.in_connection.base_url_of(connection))

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
