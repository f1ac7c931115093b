"""The API's description: whole, with every integration in it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from leadcast.api.schema import EXAMPLE
from leadcast.flow.request import validate
from leadcast.integrations import registry

pytestmark = pytest.mark.store


def test_the_example_is_a_valid_request() -> None:
    assert validate(dict(EXAMPLE)).lead_id == "123"


@pytest.mark.parametrize("kind", registry.types())
def test_each_integrations_settings_and_credentials_are_described(client: TestClient, kind: str) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    request = schemas["SendBatch"]["properties"]
    items = {item["title"]: item for item in request["integrations"]["items"]["oneOf"]}
    settings = items[kind]["properties"]["settings"]["$ref"].rpartition("/")[2]
    credentials = request["credentials"]["properties"][kind]["anyOf"][0]["$ref"].rpartition("/")[2]

    integration = registry.get(kind)
    assert schemas[settings]["properties"].keys() == integration.settings_model.model_fields.keys()
    assert schemas[credentials]["properties"].keys() == integration.credentials_model.model_fields.keys()


def test_secrets_are_described_as_passwords(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["TelegramCredentials"]["properties"]["bot_token"]["format"] == "password"


def test_every_reference_leads_somewhere(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert {reference.rpartition("/")[2] for reference in references(described)} <= schemas.keys()


def test_the_page_lists_every_call_of_the_description(client: TestClient) -> None:
    html = client.get("/docs").text
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f'<span class="method">{method.upper()}</span> <code>/api/integrations{path}</code>' in html
