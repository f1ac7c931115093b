"""What Leadcast tells Airflow of itself as a provider: connection types with their forms, and its settings."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Airflow's provider information: see `airflow providers get leadcast` and `airflow config list`."""
    return {
        "package-name": "leadcast",
        "name": "Leadcast",
        "description": "Sends one lead to several integrations at once.",
        "connection-types": [_AMOCRM, _BITRIX24],
        "config": {"leadcast": {"description": "Leadcast.", "options": _options()}},
    }


def _secret(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"], "format": "password"}}


def _text(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"]}}


_AMOCRM = {
    "connection-type": "amocrm",
    "hook-class-name": "leadcast.engine.provider.NoHook",
    "hook-name": "amoCRM",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port", "login"],
        "relabeling": {"host": "Base URL", "password": "Access token"},
        "placeholders": {"host": "https://example.amocrm.ru", "password": "a long-lived token, or OAuth's"},
    },
    "conn-fields": {
        "client_id": _text("Client id (OAuth)"),
        "client_secret": _secret("Client secret (OAuth)"),
        "refresh_token": _secret("Refresh token (OAuth)"),
        "redirect_uri": _text("Redirect URI (OAuth)"),
    },
}
_BITRIX24 = {
    "connection-type": "bitrix24",
    "hook-class-name": "leadcast.engine.provider.NoHook",
    "hook-name": "Bitrix24",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port", "login"],
        "relabeling": {"host": "Portal", "password": "Webhook URL, or access token"},
        "placeholders": {"host": "https://example.bitrix24.ru", "password": "https://example.bitrix24.ru/rest/1/code/"},
    },
    "conn-fields": {
        "client_id": _text("Client id (OAuth)"),
        "client_secret": _secret("Client secret (OAuth)"),
        "refresh_token": _secret("Refresh token (OAuth)"),
    },
}
_TYPES: dict[Any, str] = {int: "integer", float: "float", bool: "boolean"}


class NoHook:
    """Leadcast's integrations use these connections themselves; there is no hook to build on them."""


def _options() -> dict[str, Any]:
    from pydantic import SecretStr

    from leadcast.core.settings import Settings

    options: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        options[name] = {
            "description": field.description,
            "type": _TYPES.get(field.annotation or str, "string"),
            "version_added": "0.1.0",
            "example": None,
            "default": _as_text(default),
            "sensitive": isinstance(default, SecretStr),
        }
    return options


def _as_text(value: Any) -> str:
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    # Airflow runs str.format over defaults
    return "{{}}" if value == {} else str(value)
