"""The OpenAPI description, with the settings and credentials of every registered integration in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from leadcast.api.health import HealthAnswer
from leadcast.api.problems import MEDIA_TYPE
from leadcast.flow.request import LeadData, SendBatch
from leadcast.integrations import registry

_REF = "#/components/schemas/{model}"
LEAD_EXAMPLE: Mapping[str, Any] = {
    "name": "Анна Пример",
    "phone": "+79990000001",
    "email": "anna@example.com",
    "source": "landing",
    "utm": {"utm_source": "newsletter"},
}
EXAMPLE: Mapping[str, Any] = {
    "lead_id": 123,
    "integrations": [
        {"type": "amocrm", "settings": {"priority": "high"}},
        {"type": "email", "settings": {"template": "new_lead"}},
        {"type": "telegram", "settings": {"chat_id": "@notifications"}},
    ],
    "credentials": {
        "amocrm": {"conn_id": "leadcast_amocrm"},
        "email": {"emails": ["admin@example.com"], "subject": "New Lead: {lead_name}"},
        "telegram": {"bot_token": "your_bot_token", "chat_id": "@notifications"},
    },
    "lead": LEAD_EXAMPLE,
}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {
                        "type": "array",
                        "items": {"type": ["string", "integer"]},
                        "description": "Way to a field.",
                    },
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
_CONNECTION = {
    "type": "object",
    "description": "An Airflow connection instead of inline credentials; what stands beside it wins over its fields.",
    "required": ["conn_id"],
    "properties": {"conn_id": {"type": "string", "maxLength": 250}},
    "additionalProperties": True,
}


def body(model: str, *, example: Mapping[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model)}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The description of this application, made once."""
    if not app.openapi_schema:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas |= _request_schemas() | {"Problem": _PROBLEM, "Connection": _CONNECTION}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in made["paths"].values():
            for operation in operations.values():
                _describe_problems(operation)
        made["paths"]["/health"] = {"get": _HEALTH}
        app.openapi_schema = made
    return app.openapi_schema


_HEALTH: dict[str, Any] = {
    "summary": "Health",
    "description": "How Leadcast is. Needs no token. 503 when it is down.",
    "tags": ["health"],
    "security": [],
    "responses": {
        code: {
            "description": what,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="HealthAnswer")}}},
        }
        for code, what in (("200", "It works, or is degraded"), ("503", "It is down"))
    },
}


def _describe_problems(operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    operation["responses"]["default"] = {"description": "Any error", "content": content}


def _request_schemas() -> dict[str, Any]:
    found = {kind: registry.get_if_sound(kind) for kind in registry.types()}
    integrations = {kind: integration for kind, integration in found.items() if integration is not None}
    models: list[type[BaseModel]] = [SendBatch, LeadData, HealthAnswer]
    for integration in integrations.values():
        models += [integration.settings_model, integration.credentials_model]
    refs, defs = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas: dict[str, Any] = defs["$defs"]
    settings = {kind: refs[item.settings_model, "validation"] for kind, item in integrations.items()}
    credentials = {kind: refs[item.credentials_model, "validation"] for kind, item in integrations.items()}
    properties = schemas["SendBatch"]["properties"]
    properties["integrations"]["items"] = {"oneOf": [_item(kind, ref) for kind, ref in settings.items()]}
    properties["credentials"] |= {
        "description": "By type. Left out: the Airflow connection leadcast_<type> (e-mail: smtp_default).",
        "properties": {
            kind: {"anyOf": [ref, {"$ref": _REF.format(model="Connection")}]} for kind, ref in credentials.items()
        },
        "additionalProperties": False,
    }
    properties["lead_id"] |= {"type": ["string", "integer"], "description": "1 to 128 of A-Z a-z 0-9 . _ : @ -"}
    schemas.pop("IntegrationRequest", None)
    return schemas


def _item(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": kind,
        "required": ["type"],
        "properties": {"type": {"const": kind}, "settings": dict(settings)},
        "additionalProperties": False,
    }
