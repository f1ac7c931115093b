"""E-mail: signing in with an access token, given or fetched, and what happens when it is no longer taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, RateLimited, TransientError
from leadcast.core.model import Lead, Receipt
from leadcast.core.tokens import TokenVault
from leadcast.integrations.base import Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email import oauth as mail_oauth
from leadcast.integrations.email.integration import Email, EmailAccount
from leadcast.integrations.email.server import MailServer
from leadcast.integrations.email.settings import EmailSettings
from leadcast.sandbox import Sandbox

MakeCall = Callable[..., Call]
CLIENT = {"client_id": "11111111-2222", "client_secret": "s3cret-of-the-app", "tenant_id": "example.onmicrosoft.com"}


@pytest.fixture(autouse=True)
def authority(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox stands in for Microsoft: it answers as told, and keeps what it was asked."""
    monkeypatch.setattr(mail_oauth, "AUTHORITY", sandbox.webhook_url)


def gives(sandbox: Sandbox, token: str) -> None:
    body = {"token_type": "Bearer", "expires_in": 3599, "access_token": token}
    sandbox.fault(service="webhook", kind="answer", status=200, body=body)


def account(sandbox: Sandbox, **extra: Any) -> EmailAccount:
    usual = {"disable_ssl": True, "disable_tls": True, "from_email": "Leads <leads@example.com>", "auth_type": "oauth2"}
    fields = ConnectionFields(
        conn_id="smtp_default", host=sandbox.smtp_host, port=sandbox.smtp_port, extra=usual | extra
    )
    return Email.from_connection(fields, {"emails": ["admin@example.com"]})


def deliver(sandbox: Sandbox, lead: Lead, call: Call, **extra: Any) -> Receipt:
    return Email().deliver(lead, settings=EmailSettings(), account=account(sandbox, **extra), call=call)


def test_a_given_token_signs_in_who_writes(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.configure("smtp", user="leads@example.com", access_token="ya29.token", mechanisms=["XOAUTH2"])
    assert deliver(sandbox, lead, make_call(), access_token="ya29.token").detail["accepted"] == 1
    assert sandbox.received("webhook") == []


def test_a_given_token_that_is_refused_is_a_matter_of_credentials_and_stays_secret(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", access_token="ya29.token")
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), access_token="ya29.stale", **CLIENT)
    assert caught.value.code == "535"
    assert "ya29" not in f"{caught.value}{caught.value.detail}"
    assert sandbox.received("webhook") == []


def test_a_server_without_xoauth2_says_so(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.configure("smtp", mechanisms=["LOGIN", "PLAIN"])
    with pytest.raises(CredentialsError, match="XOAUTH2") as caught:
        deliver(sandbox, lead, make_call(), access_token="ya29.token")
    assert caught.value.code == "no_auth"


def test_a_token_is_fetched_once_and_used_for_the_next_letters_too(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", access_token="fetched-1")
    gives(sandbox, "fetched-1")
    deliver(sandbox, lead, make_call(), **CLIENT)
    deliver(sandbox, lead, make_call(key="another-key-0"), **CLIENT)
    [asked] = sandbox.received("webhook")
    assert asked["path"] == "/example.onmicrosoft.com/oauth2/v2.0/token"
    assert len(sandbox.stored("smtp")["letters"]) == 2


def test_a_token_that_has_expired_is_fetched_anew_once(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, vault: TokenVault
) -> None:
    sandbox.configure("smtp", access_token="fetched-1")
    gives(sandbox, "fetched-1")
    deliver(sandbox, lead, make_call(), **CLIENT)
    sandbox.configure("smtp", access_token="fetched-2")
    gives(sandbox, "fetched-2")
    deliver(sandbox, lead, make_call(key="another-key-0"), **CLIENT)
    assert len(sandbox.stored("smtp")["letters"]) == 2
    assert len(sandbox.received("webhook")) == 2


def test_a_fresh_token_that_is_refused_is_not_fetched_again(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.configure("smtp", access_token="another")
    gives(sandbox, "fetched-1")
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), **CLIENT)
    assert caught.value.code == "535"
    assert "fetched-1" not in f"{caught.value}{caught.value.detail}"
    assert len(sandbox.received("webhook")) == 1


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (
            {"status": 401, "body": {"error": "invalid_client", "error_description": "AADSTS7000215"}},
            CredentialsError,
            "invalid_client",
        ),
        ({"status": 400, "body": {"error": "unauthorized_client"}}, CredentialsError, "unauthorized_client"),
        ({"status": 403, "text": "no"}, TransientError, "403"),
        ({"status": 200, "body": {"access_token": "not one\r\n"}}, TransientError, "200"),
        ({"status": 200, "text": "<html>"}, TransientError, "200"),
        ({"status": 429, "text": ""}, RateLimited, "429"),
        ({"status": 503, "text": ""}, TransientError, "503"),
    ],
)
def test_why_there_is_no_token_is_told(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, answer: dict[str, Any], error: type[Exception], code: str
) -> None:
    sandbox.fault(service="webhook", kind="answer", **answer)
    with pytest.raises(error) as caught:
        deliver(sandbox, lead, make_call(), **CLIENT)
    assert type(caught.value) is error
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert CLIENT["client_secret"] not in f"{caught.value}{caught.value.detail}"  # type: ignore[attr-defined]
    assert sandbox.received("smtp") == []


@pytest.mark.parametrize("kind", ["down", "hang_up_after"])
def test_a_token_that_cannot_be_asked_for_is_no_doubt_about_the_letter(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, kind: str
) -> None:
    sandbox.fault(service="webhook", kind=kind)
    with pytest.raises(TransientError):
        deliver(sandbox, lead, make_call(), **CLIENT)


def test_a_probe_fetches_a_token_of_its_own_and_stores_none(sandbox: Sandbox, make_call: MakeCall, vault: Any) -> None:
    sandbox.configure("smtp", access_token="fetched-1")
    gives(sandbox, "fetched-1")
    words = Email().probe(account(sandbox, **CLIENT), call=make_call())
    assert "lets us in as leads@example.com" in words
    assert vault.stored == {}
    assert sandbox.received("smtp") == []


def test_no_secret_is_seen_when_the_account_is_printed(sandbox: Sandbox) -> None:
    given = account(sandbox, access_token="ya29.token", **CLIENT)
    assert "ya29.token" not in repr(given)
    assert CLIENT["client_secret"] not in repr(given)
    assert {"ya29.token", CLIENT["client_secret"]} <= set(given.secrets())


def test_the_extra_is_read_as_airflows_hook_reads_it() -> None:
    extra = {"auth_type": "oauth2", "client_id": "a", "client_secret": "b", "from_email": "x@example.com"}
    server = MailServer.from_connection(ConnectionFields(conn_id="c", host="h", extra=extra))
    assert server.oauth2 is not None
    assert (server.oauth2.tenant_id, server.oauth2.scope) == ("common", "https://outlook.office.com/.default")
    assert server.identity == "x@example.com"
    named = MailServer.from_connection(
        ConnectionFields(conn_id="c", host="h", login="robot", password=SecretStr("p"), extra=extra)
    )
    assert named.identity == "robot"
