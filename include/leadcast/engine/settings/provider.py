"""What Leadcast tells Airflow of itself as a provider: connection types with their forms, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def get_provider_info() -> dict[str, Any]:
    """Airflow's provider information: see `airflow providers get leadcast` and `airflow config list`."""
    return {
        "package-name": "leadcast",
        "name": "Leadcast",
        "description": "Sends one lead to several integrations at once.",
        "connection-types": [_AMOCRM, _BITRIX24],
        "config": {"leadcast": {"description": "Leadcast: see its docs/settings.md.", "options": _options()}},
    }


def _secret(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"], "format": "password"}}


def _text(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["string", "null"]}}


def _number(label: str) -> dict[str, Any]:
    return {"label": label, "schema": {"type": ["integer", "null"]}}


_AMOCRM = {
    "connection-type": "amocrm",
    "hook-class-name": "leadcast.engine.setup.connection_hooks.AmoCrmHook",
    "hook-name": "amoCRM",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port", "login"],
        "relabeling": {"host": "Account's address", "password": "Access token"},
        "placeholders": {"host": "https://example.amocrm.ru", "password": "a long-lived token, or OAuth's"},
    },
    "conn-fields": {
        "client_id": _text("Client id (OAuth)"),
        "client_secret": _secret("Client secret (OAuth)"),
        "refresh_token": _secret("Refresh token (OAuth)"),
        "redirect_uri": _text("Redirect URI (OAuth)"),
        "requests_per_second": _number("Calls a second, if amoCRM allows you more than 7"),
    },
}
_BITRIX24 = {
    "connection-type": "bitrix24",
    "hook-class-name": "leadcast.engine.setup.connection_hooks.Bitrix24Hook",
    "hook-name": "Bitrix24",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port", "login"],
        "relabeling": {"host": "Portal's address", "password": "Webhook's URL, or access token"},
        "placeholders": {"host": "https://example.bitrix24.ru", "password": "https://example.bitrix24.ru/rest/1/code/"},
    },
    "conn-fields": {
        "client_id": _text("Client id (OAuth)"),
        "client_secret": _secret("Client secret (OAuth)"),
        "refresh_token": _secret("Refresh token (OAuth)"),
    },
}
_TYPES: dict[Any, str] = {int: "integer", float: "float", bool: "boolean"}


def _options() -> dict[str, Any]:
    from leadcast.core.setting_fields import default_text, is_secret
    from leadcast.core.settings import Settings

    return {
        name: {
            "description": _description(field),
            "type": _TYPES.get(field.annotation, "string"),
            "version_added": "0.1.0",
            "example": next(iter(field.examples or ()), None),
            # None, not "": Airflow writes every default into a new airflow.cfg, where an empty value would stand
            # before the same setting's _cmd and _secret
            "default": default_text(field) or None,
            "sensitive": is_secret(field),
        }
        for name, field in Settings.model_fields.items()
    }


def _description(field: FieldInfo) -> str:
    from leadcast.core.setting_fields import unit_of

    unit = unit_of(field)
    return f"{field.description} Unit: {unit}." if unit else f"{field.description}"
