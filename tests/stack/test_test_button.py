"""The Test button of the connection form, through the real api-server: what it says, and that it changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from leadcast.client.loopback import loopback_url
from tests.support.stack import NEEDLES, Stack

pytestmark = pytest.mark.system
TOKEN = "S3CRET-token-of-the-form"
CODE = "S3CRETcode"
OAUTH = {
    "client_id": "client-1",
    "client_secret": "S3CRET-client",
    "refresh_token": "S3CRET-refresh",
    "redirect_uri": "https://hook.example.com/amo",
}


def press(stack: Stack, conn_type: str, **form: Any) -> tuple[bool, str]:
    """Presses the button. Returns what it shows."""
    extra = json.dumps(form.pop("extra", {}))
    body = {"connection_id": f"form_{conn_type}", "conn_type": conn_type, "extra": extra, **form}
    answer = stack.api("admin").call("POST", "/api/v2/connections/test", json=body)
    shown = json.dumps(answer)
    assert not [needle for needle in NEEDLES if needle in shown]
    return answer["status"], answer["message"]


def called(stack: Stack, service: str) -> list[str]:
    return [entry["path"] for entry in stack.sandbox("GET", f"/received/{service}")]


def amocrm(stack: Stack) -> str:
    return loopback_url(stack.ports.sandbox.amocrm)


def bitrix24(stack: Stack) -> str:
    return loopback_url(stack.ports.sandbox.bitrix24)


def test_an_amocrm_account_that_works_is_named(stack: Stack) -> None:
    status, message = press(stack, "amocrm", host=amocrm(stack), password=TOKEN)
    assert status
    assert "account Песочница" in message
    assert called(stack, "amocrm") == ["/api/v4/account"]


def test_an_amocrm_token_that_is_not_taken_is_said(stack: Stack) -> None:
    stack.sandbox("PATCH", "/settings/amocrm", json={"accept_unknown_tokens": False})
    status, message = press(stack, "amocrm", host=amocrm(stack), password=TOKEN)
    assert not status
    assert "does not accept the access token" in message


def test_an_expired_amocrm_token_is_not_renewed_by_a_test(stack: Stack) -> None:
    stack.fault(service="amocrm", kind="token_expired")
    status, message = press(stack, "amocrm", host=amocrm(stack), password=TOKEN, extra=OAUTH)
    assert not status
    assert "the next delivery renews it" in message
    assert called(stack, "amocrm") == ["/api/v4/account"]


def test_a_bitrix24_webhook_that_works_says_who_it_acts_for(stack: Stack) -> None:
    status, message = press(stack, "bitrix24", host=f"{bitrix24(stack)}/rest/7/{CODE}/")
    assert status
    assert "as Анна Админ, id 7" in message


def test_the_webhook_may_stand_in_the_password(stack: Stack) -> None:
    status, message = press(stack, "bitrix24", host=bitrix24(stack), password=f"{bitrix24(stack)}/rest/7/{CODE}/")
    assert status, message


def test_a_bitrix24_webhook_that_was_withdrawn_is_said(stack: Stack) -> None:
    status, message = press(stack, "bitrix24", host=f"{bitrix24(stack)}/rest/7/revoked{CODE}/")
    assert not status
    assert "Bitrix24 refuses us (NO_AUTH_FOUND)" in message


def test_an_expired_bitrix24_token_is_not_renewed_by_a_test(stack: Stack) -> None:
    extra = {name: OAUTH[name] for name in ("client_id", "client_secret", "refresh_token")}
    status, message = press(stack, "bitrix24", host=bitrix24(stack), password=f"expired-{TOKEN}", extra=extra)
    assert not status
    assert "the next delivery renews it" in message
    assert called(stack, "bitrix24") == ["/rest/profile.json"]


@pytest.mark.parametrize(
    ("conn_type", "form"),
    [
        ("amocrm", {"host": "http://127.0.0.1:9", "password": TOKEN}),
        ("bitrix24", {"host": f"http://127.0.0.1:9/rest/1/{CODE}/"}),
    ],
)
def test_a_host_where_nobody_answers_is_named(stack: Stack, conn_type: str, form: dict[str, str]) -> None:
    status, message = press(stack, conn_type, **form)
    assert not status
    assert message.startswith("Cannot reach http://127.0.0.1:9: connection refused")


def test_a_form_that_is_not_filled_in_says_what_it_needs(stack: Stack) -> None:
    status, message = press(stack, "amocrm", host=amocrm(stack))
    assert not status
    assert "It needs the access token as password" in message


def test_a_stored_connection_is_tested_with_its_stored_secret(stack: Stack) -> None:
    api = stack.api("admin")
    stored = {"connection_id": "form_stored", "conn_type": "amocrm", "host": amocrm(stack), "password": TOKEN}
    api.call("POST", "/api/v2/connections", json=stored)
    try:
        answer = api.call("POST", "/api/v2/connections/test", json={**stored, "password": "***"})
    finally:
        headers = {"Authorization": f"Bearer {api.token}"}
        requests.delete(f"{api.url}/api/v2/connections/form_stored", headers=headers, timeout=30)
    assert answer["status"], answer["message"]


def test_the_mail_servers_own_button_works_too(stack: Stack) -> None:
    no_tls = {"disable_ssl": True, "disable_tls": True}
    status, message = press(stack, "smtp", host="127.0.0.1", port=stack.ports.sandbox.smtp, extra=no_tls)
    assert status, message
