"""Routes: the API's description, as OpenAPI for programs and as a page for people. Both need a token."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from leadcast.api.links import Links, LinksDep
from leadcast.api.pages import render

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def openapi(request: Request, links: LinksDep) -> Response:
    """The OpenAPI description of our routes, with the address that this caller has come by as its server."""
    return JSONResponse(request.app.openapi() | {"servers": [{"url": links.root or "/"}]})


@router.get("/docs")
def docs(request: Request, links: LinksDep) -> HTMLResponse:
    """Every call with its parameters, body and an example. Loads nothing from elsewhere, so it works offline."""
    described = request.app.openapi()
    schemas = described["components"]["schemas"]
    calls = [
        _call(path, method, operation, schemas, links)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    named = {name: _pretty(value) for name, value in sorted(schemas.items())}
    return render("docs.html", links, calls=calls, schemas=named, about=described["info"]["description"])


def _call(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any], links: Links) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return {
        "method": method.upper(),
        "path": links.root + path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", []),
        "model": model,
        "schema": _pretty(schemas[model]) if model else "",
        "example": _pretty(content["example"]) if "example" in content else "",
        "open": operation.get("security") == [],
    }


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
