"""Airflow's connection form for each type: what a person fills in, and what the form then saves.

`tests/browser` fills the real one and looks whether it saves this; elsewhere it stands for what people have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leadcast.client.loopback import loopback_url
from leadcast.sandbox.ports import SandboxPorts

TOKEN = "S3CRET-token-of-the-form"
BOT_TOKEN = "700:S3CRET-telegram-token-of-the-form"
SIGNING_SECRET = "whsec_UzNDUkVULXdlYmhvb2sta2V5LW9mLXRoZS1mb3Jt"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One connection as it is made in the form; what is not named is left empty.

    label: of its type in the form.
    standard: name of a field of Airflow's own → what is typed; `extra`: the same for the type's own fields.
    switched_on: labels of the switches.
    saved: the extra that comes of it.
    credentials: what a request brings beside `conn_id`.
    """

    conn_type: str
    label: str
    standard: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)
    switched_on: tuple[str, ...] = ()
    saved: Mapping[str, Any] | None = None
    credentials: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """The connection, as AIRFLOW_CONN_… has one."""
        blank: dict[str, Any] = {"description": None, "login": None, "schema": None, "port": None, "password": None}
        fields = blank | dict(self.standard) | {"conn_type": self.conn_type, "extra": self.saved}
        return fields | ({"port": int(fields["port"])} if fields["port"] else {})


def forms(sandbox: SandboxPorts) -> dict[str, Form]:
    """For each integration, a form that is filled in as docs/integrations.md says, for the sandbox."""
    bitrix24 = loopback_url(sandbox.bitrix24)
    return {
        "amocrm": Form(
            conn_type="amocrm",
            label="amoCRM",
            standard={"host": loopback_url(sandbox.amocrm), "password": TOKEN},
            saved=dict.fromkeys(("client_id", "client_secret", "refresh_token", "redirect_uri", "requests_per_second")),
        ),
        "bitrix24": Form(
            conn_type="bitrix24",
            label="Bitrix24",
            standard={"host": bitrix24, "password": f"{bitrix24}/rest/1/S3CRETcode/"},
            saved=dict.fromkeys(("client_id", "client_secret", "refresh_token")),
        ),
        "telegram": Form(conn_type="telegram", label="Telegram", standard={"host": "@sales", "password": BOT_TOKEN}),
        "email": Form(
            conn_type="smtp",
            label="SMTP",
            standard={"host": "127.0.0.1", "port": str(sandbox.smtp)},
            extra={"from_email": "leads@example.com"},
            switched_on=("Disable TLS", "Disable SSL"),
            saved={
                "from_email": "leads@example.com",
                "timeout": 30,
                "retry_limit": 5,
                "disable_tls": True,
                "disable_ssl": True,
                "auth_type": "basic",
                **dict.fromkeys(("subject_template", "html_content_template")),
                **dict.fromkeys(("access_token", "client_id", "client_secret", "tenant_id", "scope")),
            },
            credentials={"emails": ["sales@example.com"]},
        ),
        "webhook": Form(
            conn_type="http",
            label="HTTP",
            standard={"host": loopback_url(sandbox.webhook), "password": SIGNING_SECRET},
            saved={"srv_lookup": None},
        ),
    }
