"""Webhooks: what is sent and signed, where nothing is sent to, and what each answer is called."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from leadcast.core.errors import (
    Blocked,
    CredentialsError,
    DeliveryError,
    Gone,
    NotLetIn,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.http.answer import Answer
from leadcast.integrations.http.egress import Egress
from leadcast.integrations.webhook.answer import check
from leadcast.integrations.webhook.integration import Webhook
from leadcast.integrations.webhook.message import BodyKind, message_body, signed_headers
from leadcast.integrations.webhook.settings import WebhookCredentials, WebhookSettings
from leadcast.sandbox import Sandbox

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
PREVIOUS = "whsec_" + base64.b64encode(b"the one that came before").decode()
OTHER = "whsec_" + base64.b64encode(b"one that was never in use").decode()
MakeCall = Callable[..., Call]


def to(sandbox: Sandbox, **credentials: Any) -> Account[WebhookCredentials]:
    values = {"url": f"{sandbox.webhook_url}/hook?token=hidden-token", "secret": SECRET} | credentials
    return Account(credentials=WebhookCredentials.model_validate(values))


def opened(call: Call) -> Call:
    """The call of an installation that lets webhooks reach the sandbox."""
    return replace(call, egress=Egress(allowed_networks=[ip_network("127.0.0.0/8")]))


def deliver(sandbox: Sandbox, lead: Lead, call: Call, *, settings: Any = None, **credentials: Any) -> Receipt:
    return Webhook().deliver(
        lead,
        settings=WebhookSettings.model_validate(settings or {}),
        account=to(sandbox, **credentials),
        call=opened(call),
    )


def test_a_lead_arrives_signed(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.configure("webhook", secrets=[SECRET])
    call = make_call()
    receipt = deliver(sandbox, lead, call)
    [received] = sandbox.received("webhook")
    assert received["verified"] is True
    assert received["webhook_id"] == call.key == receipt.external_id
    assert receipt.detail == {"status": 200}
    assert received["headers"]["content-type"] == "application/json"
    body = json.loads(received["body"])
    assert body["type"] == "lead.created"
    assert datetime.fromisoformat(body["timestamp"]) == call.accepted_at
    assert body["data"]["delivery_key"] == call.key
    for name in ("id", "name", "phone", "email", "company", "comment", "source", "utm", "custom"):
        assert body["data"][name] == getattr(lead, name)


def test_the_event_can_be_chosen(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, lead, make_call(), settings={"event": "crm.lead_added"})
    assert json.loads(sandbox.received("webhook")[0]["body"])["type"] == "crm.lead_added"


def test_every_attempt_sends_the_same_body_under_the_same_id(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    call = make_call()
    later = replace(call, attempt=2, clock=lambda: call.clock() + timedelta(seconds=90))
    deliver(sandbox, lead, call)
    deliver(sandbox, lead, later)
    first, second = sandbox.received("webhook")
    assert first["body"] == second["body"]
    assert second["repeat"] is True
    assert first["headers"]["webhook-timestamp"] != second["headers"]["webhook-timestamp"]
    assert Webhook.repeatable


def test_without_a_secret_it_has_an_id_and_no_signature(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    call = make_call()
    deliver(sandbox, lead, call, secret=None)
    [received] = sandbox.received("webhook")
    assert received["webhook_id"] == call.key
    assert received["headers"]["webhook-timestamp"].isdigit()
    assert "webhook-signature" not in received["headers"]


def test_headers_of_the_receiver_are_sent(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, lead, make_call(), headers={"X-Tenant": "acme", "Authorization": "Bearer abc"})
    [received] = sandbox.received("webhook")
    assert received["headers"]["x-tenant"] == "acme"
    assert received["credential"] is not None


def test_the_signature_is_that_of_the_specification() -> None:
    # vendors.md 4.1, the test vector
    body = b'{"type":"lead.created","data":{"id":"L-1"}}'
    at = datetime.fromtimestamp(1767225600, tz=timezone(timedelta(hours=3)))
    headers = signed_headers(body, message_id="msg_sandbox_0001", secret=SecretStr(SECRET), at=at)
    assert headers["webhook-timestamp"] == "1767225600"
    assert headers["webhook-signature"] == "v1,4dPiSPGT/FxWG6/F1V6v+J57KS3o8aKbztS1VOYI1vg="


def headers_of(received: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in received["headers"].items() if name.startswith("webhook-")}


def test_while_a_secret_is_changed_a_receiver_may_have_either(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    deliver(sandbox, lead, make_call(), previous_secret=PREVIOUS)
    [received] = sandbox.received("webhook")
    assert received["headers"]["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, PREVIOUS):
        assert Receiver(secret).verify(received["body"], headers_of(received))["data"]["id"] == lead.id
    with pytest.raises(WebhookVerificationError):
        Receiver(OTHER).verify(received["body"], headers_of(received))


def test_a_form_is_signed_as_it_is_sent(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    call = make_call()
    deliver(sandbox, lead, call, settings={"body": "form"})
    [received] = sandbox.received("webhook")
    assert received["headers"]["content-type"] == "application/x-www-form-urlencoded"
    Receiver(SECRET).verify(received["body"], headers_of(received), json_parse=False)
    fields = dict(parse_qsl(received["body"], keep_blank_values=True, strict_parsing=True))
    assert fields == {
        "type": "lead.created",
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "id": lead.id,
        "name": lead.name,
        "phone": lead.phone,
        "email": lead.email,
        "company": lead.company,
        "comment": lead.comment,
        "source": lead.source,
        "utm[utm_source]": "yandex",
        "utm[medium]": "cpc",
        "utm[utm_extra]": "x1",
        "custom[Площадь]": "42",
        "custom[Срочно]": "1",
        "custom[Пусто]": "",
        "delivery_key": call.key,
    }


def test_a_forms_lists_are_counted_as_php_counts_them() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    body = message_body("a", at=at, data={"phones": [{"kind": "work"}, False], "type": "mine"}, kind=BodyKind.FORM)
    assert dict(parse_qsl(body.decode())) == {
        "type": "mine",
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "phones[0][kind]": "work",
        "phones[1]": "0",
    }


def test_a_mapping_takes_the_place_of_the_lead(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    call = make_call()
    fields = {
        "contact.name": "{lead_name}",
        "contact.phones": ["{{ lead.phone | digits }}"],
        "area": "{{ lead.custom['Площадь'] }}",
        "note": "{{ lead.company }}: {lead_comment}",
        "channel": 7,
        "urgent": "{{ lead.custom['Срочно'] }}",
    }
    deliver(sandbox, lead, call, settings={"fields": fields})
    body = json.loads(sandbox.received("webhook")[0]["body"])
    assert body["type"] == "lead.created"
    assert body["data"] == {
        "contact": {"name": lead.name, "phones": ["79990000001"]},
        "area": 42,
        "note": f"{lead.company}: {lead.comment}",
        "channel": 7,
        "urgent": True,
        "delivery_key": call.key,
    }


def test_a_mapped_form_is_flat(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    settings = {"body": "form", "fields": {"NAME": "{lead_name}", "utm.source": "{lead_utm_source}", "none": None}}
    deliver(sandbox, lead, make_call(), settings=settings)
    fields = dict(parse_qsl(sandbox.received("webhook")[0]["body"], keep_blank_values=True))
    assert fields.keys() == {"type", "timestamp", "NAME", "utm[source]", "none", "delivery_key"}
    assert (fields["NAME"], fields["utm[source]"], fields["none"]) == (lead.name, "yandex", "")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"a": 1, "a.b": 2}, "'a.b': 'a' stands there as well"),
        ({"a.b.c": 1, "a": 2}, "'a.b.c'"),
        ({"a..b": 1}, r"'a\.\.b': words with dots"),
        ({".": 1}, "words with dots"),
        ({".".join("abcdefghijk"): 1}, "at most 10"),
        ({"delivery_key": 1}, "is set by Leadcast"),
        ({"delivery_key.a": 1}, "is set by Leadcast"),
        ({"a": "{{ lead.nmae }}"}, "'a': no 'lead.nmae'"),
    ],
)
def test_a_mapping_without_a_place_for_each_field_is_refused_at_the_door(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        WebhookSettings(fields=fields)


def test_a_mapping_that_cannot_be_filled_in_sends_nothing(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(RejectedError, match="'sum'"):
        deliver(sandbox, lead, make_call(), settings={"fields": {"sum": "{{ lead.name + 1 }}"}})
    assert sandbox.received("webhook") == []


def test_an_endpoint_has_a_limit_so_that_it_can_be_paused(sandbox: Sandbox) -> None:
    def name(**credentials: Any) -> str:
        [limit] = Webhook().limits(settings=WebhookSettings(), account=to(sandbox, **credentials))
        return limit.name

    assert name() == name(secret=PREVIOUS)
    assert name() != name(url=f"{sandbox.webhook_url}/other")
    assert "hidden-token" not in name()


def test_an_endpoint_is_told_from_others_by_all_that_it_knows_us_by_and_shown_by_its_host(sandbox: Sandbox) -> None:
    others: list[dict[str, Any]] = [
        {},
        {"url": f"{sandbox.webhook_url}/other"},
        {"secret": PREVIOUS},
        {"secret": None, "previous_secret": SECRET},
        {"headers": {"X-A": "b"}},
        {"headers": {"X-B": "b"}},
    ]
    accounts = [to(sandbox, **given) for given in others]
    assert len({tuple(Webhook().identity(account)) for account in accounts}) == len(others)
    assert {Webhook().label(account) for account in accounts} == {sandbox.webhook_url.partition("//")[2]}


def test_the_rate_limit_is_waited_for_before_the_call(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    seen: list[int] = []
    deliver(sandbox, lead, make_call(pace=lambda: seen.append(len(sandbox.received("webhook")))))
    assert seen == [0]


def test_a_test_of_the_endpoint_posts_nothing(sandbox: Sandbox, make_call: MakeCall) -> None:
    line = Webhook().probe(to(sandbox), call=opened(make_call()))
    assert "Nothing was posted" in line
    assert "hidden-token" not in line
    assert sandbox.received("webhook") == []


def test_a_test_of_the_endpoint_reaches_no_more_than_a_delivery(sandbox: Sandbox, make_call: MakeCall) -> None:
    with pytest.raises(Blocked, match="allowed_networks"):
        Webhook().probe(to(sandbox), call=replace(make_call(), egress=Egress()))
    with pytest.raises(TransientError) as caught:
        Webhook().probe(to(sandbox, url="http://127.0.0.1:1/?token=hidden-token"), call=opened(make_call()))
    assert "hidden-token" not in str(caught.value)


def test_a_private_address_is_not_reached(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    closed = replace(make_call(), egress=Egress())
    with pytest.raises(Blocked, match="allowed_networks"):
        Webhook().deliver(lead, settings=WebhookSettings(), account=to(sandbox), call=closed)
    assert sandbox.received("webhook") == []


def test_a_redirect_is_not_followed(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="webhook", kind="redirect", location=f"{sandbox.webhook_url}/elsewhere")
    with pytest.raises(TransientError, match="not followed"):
        deliver(sandbox, lead, make_call())
    assert len(sandbox.received("webhook")) == 1


def test_a_receiver_that_is_gone_is_not_tried_again(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="webhook", kind="gone")
    with pytest.raises(Gone) as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.code == "410"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, TransientError) for status in (300, 302, 303, 307, 308)),
        *((status, TransientError) for status in (400, 402, 404, 405, 406, 407, 408, 409, 411, 413, 415, 418)),
        *((status, TransientError) for status in (421, 422, 423, 424, 425, 426, 428, 431, 451, 499)),
        (401, NotLetIn),
        (403, NotLetIn),
        (500, TransientError),
        (520, TransientError),
        (503, TransientError),
        (504, TransientError),
    ],
)
def test_an_answer_means_what_its_status_says(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, status: int, error: type[DeliveryError]
) -> None:
    sandbox.fault(service="webhook", kind="status", status=status)
    with pytest.raises(DeliveryError) as caught:
        deliver(sandbox, lead, make_call())
    assert type(caught.value) is error
    assert caught.value.code == str(status)
    assert caught.value.may_pass
    assert "hidden-token" not in f"{caught.value}{caught.value.detail}"


def test_a_receiver_that_asks_to_wait_is_heard(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="webhook", kind="rate_limit", retry_after=42)
    with pytest.raises(RateLimited) as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.retry_after_s == 42


def test_a_receiver_cannot_make_us_wait_for_more_than_an_hour(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.fault(service="webhook", kind="rate_limit", retry_after=86_400)
    with pytest.raises(RateLimited) as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.retry_after_s == 3600


def test_a_receiver_that_does_not_say_how_long_is_left_alone_for_half_a_minute(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.fault(service="webhook", kind="status", status=429)
    with pytest.raises(RateLimited) as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.retry_after_s == 30


@pytest.mark.parametrize("status", [200, 204])
def test_of_a_long_answer_only_the_status_counts(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, status: int
) -> None:
    body = None if status == 204 else ["x" * 200_000]
    sandbox.fault(service="webhook", kind="answer", status=status, body=body)
    assert deliver(sandbox, lead, make_call()).detail == {"status": status}


def test_the_pause_may_be_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=120), usegmt=True)
    with pytest.raises(RateLimited) as caught:
        check(Answer(status=503, headers={"Retry-After": date}, body=b""), now=now)
    assert caught.value.retry_after_s == 120


@pytest.mark.parametrize("kind", ["hang_up_before", "hang_up_after"])
def test_a_lost_answer_is_unknown(sandbox: Sandbox, lead: Lead, make_call: MakeCall, kind: str) -> None:
    sandbox.fault(service="webhook", kind=kind)
    with pytest.raises(UnknownOutcome):
        deliver(sandbox, lead, make_call())


def test_a_receiver_that_is_not_there_is_tried_again(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(TransientError) as caught:
        deliver(sandbox, lead, make_call(), url="http://127.0.0.1:1/hook?token=hidden-token")
    assert "hidden-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://example.com/hook"}, "https://example.com/hook"),
        ({"host": "example.com"}, "https://example.com"),
        ({"host": "example.com/hook", "port": 8443}, "https://example.com:8443/hook"),
        ({"host": "example.com", "schema": "http"}, "http://example.com"),
    ],
)
def test_a_connection_holds_the_url(fields: dict[str, Any], url: str) -> None:
    account = Webhook.from_connection(ConnectionFields(conn_id="c", **fields), {})
    assert account.credentials.url.get_secret_value() == url
    assert account.credentials.secret is None


def test_a_connection_holds_secrets_and_headers_and_nothing_else_of_its_extra() -> None:
    fields = ConnectionFields(
        conn_id="c",
        host="example.com",
        password=SecretStr(SECRET),
        extra={"headers": {"X-Tenant": "acme"}, "previous_secret": PREVIOUS, "timeout": 5, "X-Other": "no"},
    )
    credentials = Webhook.from_connection(fields, {}).credentials
    assert credentials.secret is not None
    assert credentials.secret.get_secret_value() == SECRET
    assert credentials.previous_secret is not None
    assert credentials.previous_secret.get_secret_value() == PREVIOUS
    assert {name: value.get_secret_value() for name, value in credentials.headers.items()} == {"X-Tenant": "acme"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"host": ""}, "host"),
        ({"host": "ftp://example.com"}, "host"),
        ({"password": SecretStr("not-a-secret")}, "password"),
        ({"extra": {"headers": {"Host": "x"}}}, "headers"),
        ({"extra": {"previous_secret": "not-a-secret"}}, "previous_secret"),
    ],
)
def test_a_connection_that_lacks_something_says_what(changes: dict[str, Any], word: str) -> None:
    fields = replace(ConnectionFields(conn_id="my_hook", host="example.com"), **changes)
    with pytest.raises(CredentialsError, match=word) as caught:
        Webhook.from_connection(fields, {})
    assert "my_hook" in str(caught.value)
    assert "not-a-secret" not in str(caught.value)


def test_a_request_cannot_send_a_connections_secrets_to_an_address_of_its_own() -> None:
    fields = ConnectionFields(conn_id="my_hook", host="example.com", extra={"headers": {"Authorization": "Bearer a"}})
    with pytest.raises(CredentialsError, match="url"):
        Webhook.from_connection(fields, {"url": "https://eve.example.net/"})


def _secret(size: int) -> str:
    return "whsec_" + base64.b64encode(b"k" * size).decode()


@pytest.mark.parametrize("size", [24, 25, 64])
def test_secrets_of_24_to_64_bytes_are_taken_with_and_without_padding(size: int) -> None:
    for secret in (_secret(size), _secret(size).rstrip("=")):
        WebhookCredentials.model_validate({"url": "https://example.com", "secret": secret})


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "example.com"},
        {"url": "ftp://example.com"},
        {"url": "https://"},
        {"url": "https://user:pass@example.com"},
        {"url": "https://example.com/a b"},
        {"url": "https://example.com/\r\nX: y"},
        {"url": "https://example.com:99999/"},
        {"url": "https://example.com/" + "x" * 2048},
        {"secret": "x"},
        {"secret": SECRET.removeprefix("whsec_")},
        {"secret": _secret(23)},
        {"secret": _secret(65)},
        {"secret": "whsec_***"},
        {"headers": {"Host": "eve.example.com"}},
        {"headers": {"content-length": "0"}},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Connection": "keep-alive"}},
        {"headers": {"Webhook-Id": "x"}},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X A": "a"}},
        {"headers": {"X-A": "a", "x-a": "b"}},
        {"headers": {f"X-{number}": "x" for number in range(21)}},
    ],
)
def test_credentials_that_do_not_fit_are_refused_at_the_door_without_repeating_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookCredentials.model_validate({"url": "https://example.com"} | wrong)
    assert "input" not in str(caught.value)


@pytest.mark.parametrize("event", ["a b", ".a", "a.", "a..b", "заявка", "x" * 129])
def test_an_event_is_words_with_dots_between(event: str) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings(event=event)
