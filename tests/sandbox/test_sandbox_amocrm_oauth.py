"""The sandbox's amoCRM: tokens that are issued, expire, and are refreshed once."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox
from leadcast.sandbox.amocrm.oauth import RefreshMode, TokenBook

CLIENT = {"client_id": "0a0a", "client_secret": "shh", "redirect_uri": "https://hook.example.ru/amo"}


def exchange(sandbox: Sandbox, **more: Any) -> requests.Response:
    return requests.post(f"{sandbox.amocrm_url}/oauth2/access_token", json={**CLIENT, **more}, timeout=5)


def refresh(sandbox: Sandbox, token: str) -> requests.Response:
    return exchange(sandbox, grant_type="refresh_token", refresh_token=token)


def status_with(sandbox: Sandbox, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{sandbox.amocrm_url}/api/v4/account", headers=headers, timeout=5).status_code


def test_a_code_is_exchanged_once_for_a_pair_that_works(sandbox: Sandbox) -> None:
    first = exchange(sandbox, grant_type="authorization_code", code="code-1")
    again = exchange(sandbox, grant_type="authorization_code", code="code-1")

    assert first.json()["token_type"] == "Bearer"
    assert first.json()["expires_in"] == 86400
    assert status_with(sandbox, first.json()["access_token"]) == 200
    assert (again.status_code, again.json()["hint"]) == (400, "Authorization code has been revoked")


def test_a_refresh_token_works_once_and_then_is_revoked(sandbox: Sandbox) -> None:
    new = refresh(sandbox, "old-token").json()
    again = refresh(sandbox, "old-token")

    assert (again.status_code, again.json()["hint"]) == (401, "Token has been revoked")
    assert refresh(sandbox, new["refresh_token"]).status_code == 200


def test_with_grace_the_old_refresh_token_works_until_the_new_pair_is_used(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", refresh_mode="grace")
    refresh(sandbox, "old-token")

    second = refresh(sandbox, "old-token")
    assert second.status_code == 200
    assert status_with(sandbox, second.json()["access_token"]) == 200
    assert refresh(sandbox, "old-token").status_code == 401


def test_an_expiry_fault_holds_for_every_token_until_a_new_one_is_issued(sandbox: Sandbox) -> None:
    issued = refresh(sandbox, "r1").json()
    sandbox.fault(service="amocrm", kind="token_expired")

    assert status_with(sandbox, issued["access_token"]) == 401
    assert status_with(sandbox, "any-token") == 401
    assert status_with(sandbox, refresh(sandbox, issued["refresh_token"]).json()["access_token"]) == 200
    assert status_with(sandbox, "any-token") == 401


def test_an_issued_token_expires_after_its_lifetime() -> None:
    now = [1000.0]
    book = TokenBook(clock=lambda: now[0])
    request = {**CLIENT, "grant_type": "refresh_token", "refresh_token": "r1"}
    pair = book.grant(request, mode=RefreshMode.STRICT, lifetime_s=60, clients=None, api_domain="x")

    now[0] += 59
    assert book.accepts(pair["access_token"], not_before=None, unknown=False)
    now[0] += 1
    assert not book.accepts(pair["access_token"], not_before=None, unknown=True)


def test_tokens_that_were_never_issued_can_be_refused(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)
    assert status_with(sandbox, "never-issued") == 401
    assert status_with(sandbox, refresh(sandbox, "r1").json()["access_token"]) == 200


def test_only_configured_clients_are_known_once_there_are_any(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", clients={"0a0a": "another secret"})
    answer = refresh(sandbox, "r1")
    assert (answer.status_code, answer.json()["title"]) == (401, "Некорректный клиент")


@pytest.mark.parametrize("name", ["client_id", "client_secret", "redirect_uri", "refresh_token"])
def test_a_missing_parameter_is_named(sandbox: Sandbox, name: str) -> None:
    answer = exchange(sandbox, **{"grant_type": "refresh_token", "refresh_token": "r1", name: ""})
    assert answer.status_code == 400
    assert name in answer.json()["hint"]


def test_no_token_or_secret_is_readable_afterwards(sandbox: Sandbox) -> None:
    answer = refresh(sandbox, "very-secret-refresh").json()
    status_with(sandbox, answer["access_token"])

    shown = requests.get(f"{sandbox.control_url}/page", headers=sandbox.authorization, timeout=5).text
    kept = str(sandbox.received("amocrm")) + shown

    for secret in ("very-secret-refresh", "shh", answer["access_token"], answer["refresh_token"]):
        assert secret not in kept
