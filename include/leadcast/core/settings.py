"""All settings of Leadcast, in one model: section `[leadcast]` of Airflow's configuration.

Reading them from Airflow is `engine.settings.config`'s work; here is only what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from leadcast.core.conn_ids import OF_AIRFLOW, ConnIds, Pattern
from leadcast.core.delivering import Delivering
from leadcast.core.errors import SettingsError
from leadcast.core.host_name import ehlo_name
from leadcast.core.lead_mapping import LeadMapping, checked
from leadcast.core.setting_choices import Language, Occasion, OnUnknown
from leadcast.core.setting_fields import Seconds, Unit, WholeSeconds, comma_separated, parsed_json, what_is_wrong
from leadcast.core.signing_secret import signing_setting
from leadcast.core.tidy import FIELDS

RETIRED = frozenset({"wave_max_batches"})
"""Settings of older versions that nothing reads any more. They do no harm where they are still set."""


class Settings(BaseModel):
    """Section `[leadcast]` of Airflow's configuration: each field is a setting, as docs/settings.md lists them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the store, a PostgreSQL database.",
        examples=["postgresql+psycopg2://user:password@host/leadcast"],
    )
    fernet_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key(s) that seal credentials, comma-separated, the first one seals. Empty: [core] fernet_key.",
    )
    accept_unbound_seals: bool = Field(
        default=True,
        description="Whether what an older version has sealed, bound to no place of its own, still opens. Set it to "
        "false when `leadcast rotate-keys` has run after the upgrade.",
    )
    api_url: str = Field(
        default="http://127.0.0.1:8080", description="Where the api-server answers; the command line sends there."
    )
    language: Language = Field(default=Language.RU, description="Language of the shipped templates: ru or en.")
    phone_region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(
        default="RU", description="Country of phone numbers without a country code: two letters, ISO 3166."
    )
    templates_folder: str = Field(
        default="", description="Folder with your own templates; they win over the shipped ones of the same name."
    )
    hooks_file: str = Field(
        default="",
        description="Python file with your own then, catch, finally_; empty: include/hooks.py, if it is there.",
    )
    tries: Annotated[int, Unit("attempts")] = Field(
        default=3, ge=1, le=20, description="Attempts of a delivery in all, the first included."
    )
    retry_delay_s: Seconds = Field(
        default=10, gt=0, le=3600, description="Pause after the first failure; doubles each time."
    )
    retry_max_delay_s: Seconds = Field(
        default=900, gt=0, le=86400, description="The longest pause that we choose ourselves."
    )
    timeout_s: Seconds = Field(default=300, gt=0, le=3600, description="How long one attempt may take.")
    pool_slots: Annotated[int, Unit("slots")] = Field(
        default=10, ge=1, le=1000, description="Size of each integration's pool: how many of its tasks run at once."
    )
    at_once: Annotated[int, Unit("deliveries")] = Field(
        default=8,
        ge=1,
        le=8,
        description="How many deliveries a task sends at once. Where many leads wait, one task has up to 50 of them.",
    )
    give_up_after_s: WholeSeconds = Field(
        default=14400,
        ge=60,
        description="How long a delivery that was tried may be put off in all (greylisting, a limit, an open circuit). "
        "One that was never tried has its turn however long that takes, up to hold_after_s.",
    )
    hold_after_s: WholeSeconds = Field(
        default=86400,
        ge=0,
        description="A lead accepted longer ago than this is not sent by itself: it is held until a person retries it. "
        "0: it is sent however old it is.",
    )
    retry_rounds: Annotated[int, Unit("rounds")] = Field(
        default=3, ge=0, description="How often retry_leads sends again what failed and may pass, at most."
    )
    circuit_failures: Annotated[int, Unit("failures")] = Field(
        default=5,
        ge=1,
        le=1000,
        description="In a row, on credentials or network: the account is then left alone. One is enough where the "
        "service has refused the account as such.",
    )
    circuit_open_s: WholeSeconds = Field(
        default=60, ge=1, description="How long it is left alone at first; doubles each time it still fails."
    )
    circuit_longest_s: WholeSeconds = Field(default=900, ge=1, description="How long it is left alone at most.")
    overrides: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(parsed_json)] = Field(
        default_factory=dict,
        description="JSON: other tries, retry_delay_s, retry_max_delay_s, timeout_s, slots, at_once, calls_per_s for "
        "one integration type.",
        examples=['{"amocrm": {"tries": 5, "slots": 4}}'],
    )
    integration_settings: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(parsed_json)] = Field(
        default_factory=dict,
        description="JSON: for each integration type, the settings that all of its deliveries start from. "
        "A request's own win, field by field.",
        examples=['{"webhook": {"fields": {"phone": "{{ lead.phone | phone }}"}}}'],
    )
    on_unknown: OnUnknown = Field(
        default=OnUnknown.HOLD,
        description="Sent to a service that cannot be asked, no answer seen: hold (a person decides) or resend.",
    )
    wave_timeout_s: WholeSeconds = Field(
        default=3600, ge=60, description="How long a run may take. What it has not begun by then, another sends."
    )
    worker_lease_s: WholeSeconds = Field(
        default=30,
        ge=6,
        le=300,
        description="How long what a worker has begun to send is left to it after its last sign of life. After that "
        "another may go on with it.",
    )
    bell_timeout_s: WholeSeconds = Field(default=30, ge=1, description="When an unanswered bell is rung again.")
    keep_leads_days: Annotated[int, Unit("days")] = Field(
        default=0,
        ge=0,
        description="When personal data of leads is erased (statuses and counts stay), from the day the lead was last "
        "stored or sent. 0: never.",
    )
    keep_runs_days: Annotated[int, Unit("days")] = Field(
        default=30,
        ge=0,
        description="When finished runs of our DAGs are deleted from Airflow. 0: never. Runs of sweep that found all "
        "well go after a day in any case.",
    )
    max_claims: Annotated[int, Unit("processes")] = Field(
        default=3,
        ge=1,
        le=10,
        description="How many processes may die with a delivery, or break before it is begun, until it is ended and "
        "its batch called critical.",
    )
    amocrm_base_url: str = Field(default="", description="Instead of https://<subdomain>.amocrm.ru.")
    bitrix24_base_url: str = Field(default="", description="Instead of the portal's own address.")
    telegram_base_url: str = Field(default="", description="Instead of https://api.telegram.org.")
    smtp_ehlo_name: Annotated[str, AfterValidator(ehlo_name)] = Field(
        default="",
        description="What we call ourselves to mail servers (EHLO). Empty: the machine's full name where it has one, "
        "else the sender's domain. A connection's extra ehlo_name wins.",
        examples=["worker1.example.com"],
    )
    allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(comma_separated)] = Field(
        default=(),
        description="Private networks that HTTP calls may reach: webhooks, callbacks, and services of your own. "
        "Only there may a token go without TLS. Mail servers may be anywhere.",
        examples=["10.1.0.0/16,192.168.7.0/24"],
    )
    allowed_conn_ids: Annotated[tuple[Pattern, ...], BeforeValidator(comma_separated)] = Field(
        default=("leadcast_*",),
        description="Airflow connections that requests may name (conn_id), with * for anything, beside each "
        "integration's default one. Never leadcast_airflow and leads_conn_id; notify_conn_id by its full name only.",
        examples=["leadcast_*,portal_moscow"],
    )
    proxy_url: SecretStr = Field(
        default=SecretStr(""),
        description="Proxy that HTTP calls to the outside go through: http or https (both by CONNECT) or socks5h, with "
        "a login or without. env: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY decide. Empty: none, whatever they say.",
        examples=["http://user:password@proxy.example.com:3128"],
    )
    # a secret as a whole: their logins stand in the URLs
    proxies: Annotated[Secret[Mapping[str, str]], BeforeValidator(parsed_json)] = Field(
        default=Secret[Mapping[str, str]]({}),
        description="JSON: for one integration type another proxy_url; empty: none.",
        examples=['{"telegram": "socks5h://127.0.0.1:1080", "bitrix24": ""}'],
    )
    notify_on: Annotated[tuple[Occasion, ...], BeforeValidator(comma_separated)] = Field(
        default=tuple(Occasion),
        description="What people are told about, of: completed, partial, failed, critical, account.",
    )
    notify_emails: Annotated[tuple[str, ...], BeforeValidator(comma_separated)] = Field(
        default=(), description="Who gets the notifications by e-mail; empty: nobody.", examples=["sales@example.com"]
    )
    notify_from: str = Field(default="", description="Sender of e-mail; empty: the connection's from_email or login.")
    notify_conn_id: str = Field(default="smtp_default", description="Airflow connection of the mail server.")
    notifier: str = Field(
        default="",
        description="An Airflow notifier instead of e-mail: its import path.",
        examples=["airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier"],
    )
    # a secret as a whole: what a notifier takes may be a token
    notifier_kwargs: Annotated[Secret[Mapping[str, Any]], BeforeValidator(parsed_json)] = Field(
        default=Secret[Mapping[str, Any]]({}),
        description="JSON: its arguments; {subject} and {text} in them are filled in.",
        examples=['{"slack_webhook_conn_id": "slack", "text": "{subject}"}'],
    )
    callback_secret: Annotated[SecretStr, AfterValidator(signing_setting)] = Field(
        default=SecretStr(""),
        description="Signs what goes to a request's callback_url (Standard Webhooks): whsec_ and the base64 of 24 to "
        "64 random bytes. docs/callbacks.md has a line that makes one. Empty: nothing is signed.",
    )

    leads_conn_id: str = Field(
        default="", description="Airflow connection of the database with your own lead table; empty: there is none."
    )
    leads_table: str = Field(default="", description="That table: its name, or schema.table.")
    leads_key: str = Field(default="id", min_length=1, description="Its column with the lead's id.")
    leads_columns: Annotated[Mapping[str, str], BeforeValidator(parsed_json)] = Field(
        default_factory=dict,
        description="JSON: lead field → column of leads_table. Empty: columns named like the fields.",
        examples=['{"name": "full_name", "phone": "tel", "utm.utm_source": "src", "custom.city": "town"}'],
    )
    leads_query: str = Field(
        default="",
        description="Instead of leads_table, for reading: a SELECT with :lead_id whose columns are named like the "
        "lead's fields; utm_… go to utm, further ones to custom.",
    )
    status_column: str = Field(
        default="", description="Column of leads_table that the final status is written into; empty: it is not."
    )
    status_values: Annotated[Mapping[str, str | int], BeforeValidator(parsed_json)] = Field(
        default_factory=dict,
        description="JSON: how a final status is written there; one that is not named is written as it is called.",
        examples=['{"completed": "sent", "partial": "sent", "failed": 9}'],
    )
    status_time_column: str = Field(
        default="", description="Column of leads_table for the time of that status (UTC), say updated_at; empty: none."
    )

    @model_validator(mode="after")
    def _lead_table_makes_sense(self) -> Settings:
        if not self.leads_conn_id and (self.leads_table or self.leads_query or self.status_column):
            raise ValueError("leads_conn_id: leads_table, leads_query and status_column need it")
        self.lead_mapping()
        return self

    def lead_mapping(self) -> LeadMapping | None:
        """The user's own lead table; None: there is none."""
        if not self.leads_conn_id:
            return None
        by_name = {} if self.leads_query else {name: name for name in FIELDS}
        return checked(
            LeadMapping(
                conn_id=self.leads_conn_id,
                table=self.leads_table,
                query=self.leads_query,
                key=self.leads_key,
                columns=self.leads_columns or by_name,
                status_column=self.status_column,
                status_values=self.status_values,
                status_time_column=self.status_time_column,
            )
        )

    def conn_ids(self) -> ConnIds:
        """Which Airflow connections requests may name."""
        kept = [name for name in (OF_AIRFLOW, self.leads_conn_id) if name]
        return ConnIds(allowed=self.allowed_conn_ids, kept=kept, notifying=self.notify_conn_id)

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
            "at_once": self.at_once,
        }
        try:
            return Delivering.model_validate({**general, **self.overrides.get(integration_type, {})})
        except ValidationError as error:
            wrong = what_is_wrong(error, Delivering)
            raise SettingsError(f"[leadcast] overrides, {integration_type!r}: {wrong}") from None

    def proxy_of(self, integration_type: str) -> str:
        """The proxy of one integration's calls, `env`, or nothing. An empty type: that of our own calls."""
        return self.proxies.get_secret_value().get(integration_type, self.proxy_url.get_secret_value())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from text as configuration files hold it.

        Raises:
            SettingsError: a value is wrong or a key is unknown; names the key, and the value unless it is a secret.
        """
        try:
            settings = cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(f"[leadcast] {what_is_wrong(error, cls)}") from None
        for integration_type in settings.overrides:
            settings.delivering(integration_type)
        return settings
