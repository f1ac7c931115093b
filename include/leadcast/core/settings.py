"""All settings of Leadcast, in one model: section `[leadcast]` of Airflow's configuration.

Reading them from Airflow is `engine.config`'s work; here is only what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from leadcast.core.errors import SettingsError
from leadcast.core.model import BatchStatus


class Language(StrEnum):
    """Languages that the shipped templates speak."""

    RU = "ru"
    EN = "en"


class OnUnknown(StrEnum):
    """What to do after a call without an answer, where the service cannot be asked."""

    HOLD = "hold"
    RESEND = "resend"


class Occasion(StrEnum):
    """What people are told about."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CRITICAL = "critical"

    @classmethod
    def of(cls, status: BatchStatus) -> Occasion | None:
        """The occasion that a final status is; None for a cancelled batch, which nobody needs to hear of."""
        return cls(status.value) if status.value in set(cls) else None


def _words(value: Any) -> Any:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _json(value: Any) -> Any:
    import json

    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


class Delivering(BaseModel):
    """How one integration's deliveries are tried. The defaults are those of the seed's Horizon: 3 tries, 300 s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tries: int = Field(default=3, ge=1, le=20, description="Attempts in all, the first included.")
    retry_delay_s: float = Field(default=10, gt=0, le=3600, description="Pause after the first failure; doubles.")
    retry_max_delay_s: float = Field(default=900, gt=0, le=86400, description="Longest pause that we choose ourselves.")
    timeout_s: float = Field(default=300, gt=0, le=3600, description="Longest life of one attempt.")
    slots: int = Field(default=10, ge=1, le=1000, description="Slots of the integration's pool.")


class Settings(BaseModel):
    """Section `[leadcast]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the store, a PostgreSQL database: postgresql+psycopg2://user:password@host/name",
    )
    fernet_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key(s) that seal credentials, comma-separated, the first one seals. Empty: [core] fernet_key.",
    )
    api_url: str = Field(
        default="http://127.0.0.1:8080", description="Where the api-server answers; the command line sends there."
    )
    language: Language = Field(default=Language.RU, description="Language of the shipped templates: ru or en.")
    templates_folder: str = Field(
        default="", description="Folder with your own templates; they win over the shipped ones of the same name."
    )
    hooks_file: str = Field(
        default="",
        description="Python file with your own then, catch, finally_; empty: include/hooks.py, if it is there.",
    )
    tries: int = Field(default=3, ge=1, le=20, description="Attempts of a delivery in all, the first included.")
    retry_delay_s: float = Field(
        default=10, gt=0, le=3600, description="Seconds to pause after the first failure; doubles each time."
    )
    retry_max_delay_s: float = Field(
        default=900, gt=0, le=86400, description="Seconds: the longest pause that we choose ourselves."
    )
    timeout_s: float = Field(default=300, gt=0, le=3600, description="Seconds that one attempt may take.")
    pool_slots: int = Field(default=10, ge=1, le=1000, description="Slots of each integration's pool.")
    overrides: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_json)] = Field(
        default_factory=dict,
        description="JSON: other tries, retry_delay_s, retry_max_delay_s, timeout_s, slots for one type: "
        '{"amocrm": {"tries": 5, "slots": 4}}',
    )
    wave_max_batches: int = Field(default=200, ge=1, le=1000, description="Batches that one wave claims at most.")
    wave_timeout_s: int = Field(default=3600, ge=60, description="Seconds after which a wave's run is timed out.")
    bell_timeout_s: int = Field(default=30, ge=1, description="Seconds after which an unanswered bell is rung again.")
    max_claims: int = Field(
        default=3, ge=1, le=10, description="Waves that may die holding a batch before it is called critical."
    )
    on_unknown: OnUnknown = Field(
        default=OnUnknown.HOLD,
        description="Sent to a service that cannot be asked, no answer seen: hold (a person decides) or resend.",
    )
    amocrm_base_url: str = Field(default="", description="Instead of https://<subdomain>.amocrm.ru.")
    bitrix24_base_url: str = Field(default="", description="Instead of the portal's own address.")
    telegram_base_url: str = Field(default="", description="Instead of https://api.telegram.org.")
    allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_words)] = Field(
        default=(), description="Private networks that webhooks may reach, comma-separated: 10.1.0.0/16,192.168.7.0/24"
    )
    notify_on: Annotated[tuple[Occasion, ...], BeforeValidator(_words)] = Field(
        default=tuple(Occasion), description="What people are told about, of: completed,partial,failed,critical"
    )
    notify_emails: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        default=(), description="Who gets the notifications by e-mail, comma-separated; empty: nobody."
    )
    notify_from: str = Field(default="", description="Sender of e-mail; empty: the connection's from_email or login.")
    notify_conn_id: str = Field(default="smtp_default", description="Airflow connection of the mail server.")
    notifier: str = Field(
        default="",
        description="An Airflow notifier instead of e-mail: its import path.",
    )
    notifier_kwargs: Annotated[Mapping[str, Any], BeforeValidator(_json)] = Field(
        default_factory=dict, description="JSON: its arguments; {subject} and {text} in them are filled in."
    )

    callback_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Signs what goes to a request's callback_url (Standard Webhooks): whsec_… .",
    )

    def delivering(self, integration_type: str) -> Delivering:
        """How deliveries of one integration are tried: the general settings with that type's overrides.

        Raises:
            SettingsError: the overrides of this type do not fit.
        """
        general = {
            "tries": self.tries,
            "retry_delay_s": self.retry_delay_s,
            "retry_max_delay_s": self.retry_max_delay_s,
            "timeout_s": self.timeout_s,
            "slots": self.pool_slots,
        }
        try:
            return Delivering.model_validate({**general, **self.overrides.get(integration_type, {})})
        except ValidationError as error:
            raise SettingsError(f"[leadcast] overrides, {integration_type!r}: {_first(error)}") from None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from text as configuration files hold it.

        Raises:
            SettingsError: a value is wrong or a key is unknown; names the key, never the value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(f"[leadcast] {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
