"""What every integration must do, whatever its service: these cases run for each one that is registered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.errors import DeliveryError, RateLimited, TransientError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.core.redact import secrets_in
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import ConnectionFields
from leadcast.sandbox import Sandbox

MakeCall = Callable[..., Call]
SECRET = "s3cret5bW4hJ9"
WEBHOOK_SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
HOSTILE = (
    "\r\nBcc: x@example.com\r\n<script>alert(1)</script> [url=//evil] {{ 7*7 }} {lead_phone} \u202e🚀" + "я" * 3000
)


def _amocrm(sandbox: Sandbox) -> Account[Any]:
    credentials = {"subdomain": "example", "client_id": "0a-1b", "client_secret": SECRET, "access_token": SECRET + "a"}
    return _inline("amocrm", credentials, base_url=sandbox.amocrm_url)


def _bitrix24(sandbox: Sandbox) -> Account[Any]:
    credentials = {"webhook_url": f"https://example.bitrix24.ru/rest/1/{SECRET}/"}
    return _inline("bitrix24", credentials, base_url=sandbox.bitrix24_url)


def _telegram(sandbox: Sandbox) -> Account[Any]:
    credentials = {"bot_token": f"123456:{SECRET}ABCDEFGHIJKLMNOPQRSTUV", "chat_id": "-1001234567890"}
    return _inline("telegram", credentials, base_url=sandbox.telegram_url)


def _webhook(sandbox: Sandbox) -> Account[Any]:
    credentials = {
        "url": f"{sandbox.webhook_url}/{SECRET}",
        "secret": WEBHOOK_SECRET,
        "headers": {"X-Token": SECRET},
    }
    return _inline("webhook", credentials, base_url="")


def _email(sandbox: Sandbox) -> Account[Any]:
    connection = ConnectionFields(
        conn_id="smtp_default",
        host=sandbox.smtp_host,
        port=sandbox.smtp_port,
        login="sender@example.com",
        password=SecretStr(SECRET),
        extra={"disable_ssl": True, "disable_tls": True, "from_email": "sender@example.com"},
    )
    return registry.get("email").from_connection(connection, {"emails": ["sales@example.com"]})


def _inline(integration_type: str, credentials: dict[str, Any], *, base_url: str) -> Account[Any]:
    integration = registry.get(integration_type)
    return integration.from_inline(integration.credentials_model.model_validate(credentials), base_url=base_url)


@dataclass(frozen=True, kw_only=True)
class Destination:
    """How an integration is tried out.

    arrived: what the service holds, one entry a lead.
    pause_s: what it asks for when told to say 'wait 7 s'; None: it has no way to say so.
    sends: stands in the path of the call that sends the lead, where others go before it.
    """

    service: str
    account: Callable[[Sandbox], Account[Any]]
    arrived: Callable[[Sandbox], list[Any]]
    pause_s: float | None = 7.0
    sends: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def _executed(service: str) -> Callable[[Sandbox], list[Any]]:
    return lambda sandbox: [entry for entry in sandbox.received(service) if entry["executed"]]


DESTINATIONS = {
    "amocrm": Destination(
        service="amocrm",
        account=_amocrm,
        arrived=lambda sandbox: sandbox.stored("amocrm")["leads"],
        sends="/api/v4/leads",
    ),
    "bitrix24": Destination(
        service="bitrix24",
        account=_bitrix24,
        arrived=lambda sandbox: sandbox.stored("bitrix24")["leads"],
        pause_s=10.0,  # Bitrix24 names no time; by then its bucket has room for 20 requests
        settings={"find_contact": False},  # the first call is the one that counts
    ),
    "telegram": Destination(service="telegram", account=_telegram, arrived=_executed("telegram")),
    "webhook": Destination(service="webhook", account=_webhook, arrived=_executed("webhook")),
    "email": Destination(service="smtp", account=_email, arrived=_executed("smtp"), pause_s=None),
}


@dataclass(frozen=True)
class Subject:
    """One integration with its destination, ready to be tried."""

    integration: Integration[Any, Any]
    destination: Destination
    sandbox: Sandbox
    make_call: MakeCall

    @property
    def account(self) -> Account[Any]:
        return self.destination.account(self.sandbox)

    @property
    def arrived(self) -> list[Any]:
        return self.destination.arrived(self.sandbox)

    def settings(self) -> Any:
        return self.integration.settings_model.model_validate(self.destination.settings)

    def deliver(self, lead: Lead, **call: Any) -> Any:
        return self.integration.deliver(
            lead, settings=self.settings(), account=self.account, call=self.make_call(**call)
        )

    def find(self, lead: Lead) -> Any:
        return self.integration.find(lead, settings=self.settings(), account=self.account, call=self.make_call())

    def fault(self, **fault: Any) -> None:
        if self.destination.sends and fault["kind"] != "down":
            fault["match"] = self.destination.sends
        self.sandbox.fault(service=self.destination.service, **fault)


@pytest.fixture(params=registry.types())
def subject(request: pytest.FixtureRequest, sandbox: Sandbox, make_call: MakeCall) -> Subject:
    assert request.param in DESTINATIONS, f"say in DESTINATIONS how {request.param!r} is tried out"
    return Subject(registry.get(request.param), DESTINATIONS[request.param], sandbox, make_call)


@pytest.fixture(params=[name for name in registry.types() if name != "email"])
def over_http(request: pytest.FixtureRequest, sandbox: Sandbox, make_call: MakeCall) -> Subject:
    """An integration whose service is called over HTTP."""
    return Subject(registry.get(request.param), DESTINATIONS[request.param], sandbox, make_call)


@pytest.fixture(params=[name for name in registry.types() if registry.get(name).can_find])
def askable(request: pytest.FixtureRequest, sandbox: Sandbox, make_call: MakeCall) -> Subject:
    """An integration that can ask its service for a delivery."""
    return Subject(registry.get(request.param), DESTINATIONS[request.param], sandbox, make_call)


def test_a_lead_arrives_once_with_the_key_and_the_receipt_says_under_which_id(subject: Subject, lead: Lead) -> None:
    receipt = subject.deliver(lead)

    assert len(subject.arrived) == 1
    assert receipt.external_id
    assert not receipt.reconciled
    if subject.integration.can_find or subject.integration.repeatable:
        assert subject.make_call().key in json.dumps(subject.sandbox.received(subject.destination.service))


def test_a_receipt_is_small_and_holds_neither_secrets_nor_personal_data(subject: Subject, lead: Lead) -> None:
    text = json.dumps(dict(subject.deliver(lead).detail))

    assert len(text) < 500
    for value in (*_secrets(subject), lead.name, lead.phone, lead.email):
        assert value not in text


@pytest.mark.parametrize(
    "lead",
    [
        Lead(id="1"),
        Lead(id="1", phone="8 (999) 000-00-01"),
        Lead(id="1", email="only@example.com"),
        Lead(
            id="1",
            name=HOSTILE[:1024],
            phone=HOSTILE[:1024],
            email=HOSTILE[:1024],
            company=HOSTILE[:1024],
            comment=HOSTILE * 20,
            source=HOSTILE[:1024],
            utm={HOSTILE[:128]: HOSTILE[:1024]},
            custom={HOSTILE[:128]: HOSTILE, "list": ["a", 1], "nothing": None},
        ),
    ],
    ids=["empty", "a phone only", "an e-mail only", "hostile"],
)
def test_any_lead_that_the_doors_let_in_is_delivered(subject: Subject, lead: Lead) -> None:
    assert subject.deliver(lead).external_id
    assert len(subject.arrived) == 1


def test_a_lost_answer_is_never_taken_for_a_failure_that_may_be_repeated_blindly(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="hang_up_after")

    expected = (UnknownOutcome, TransientError) if subject.integration.repeatable else UnknownOutcome
    with pytest.raises(expected):
        subject.deliver(lead)
    assert len(subject.arrived) == 1


def test_a_lead_whose_answer_was_lost_is_found_by_its_key(askable: Subject, lead: Lead) -> None:
    assert askable.find(lead) is None
    askable.fault(kind="hang_up_after")
    with pytest.raises(UnknownOutcome):
        askable.deliver(lead)

    found = askable.find(lead)
    assert found is not None
    assert found.external_id == str(askable.arrived[0]["id"])


def test_who_cannot_ask_says_so(subject: Subject, lead: Lead) -> None:
    if subject.integration.can_find:
        assert subject.find(lead) is None
    else:
        with pytest.raises(TypeError, match="cannot be asked"):
            subject.find(lead)


@pytest.mark.parametrize("form", ["interim", "packed"])
def test_an_answer_is_understood_in_whatever_form_it_comes(over_http: Subject, lead: Lead, form: str) -> None:
    over_http.fault(kind=form, times=None)

    assert over_http.deliver(lead).external_id
    assert len(over_http.arrived) == 1


def arrives_in_doubt(over_http: Subject, lead: Lead) -> None:
    """It has arrived, and what was answered does not say so: nobody takes that for a refusal."""
    with pytest.raises(DeliveryError) as failed:
        over_http.deliver(lead)
    assert failed.value.may_pass
    if not over_http.integration.repeatable:
        assert isinstance(failed.value, UnknownOutcome)
    assert len(over_http.arrived) == 1


GATEWAYS = [302, 303, 400, 401, 402, 403, 404, 405, 408, 409, 413, 421, 422, 423, 499]


@pytest.mark.parametrize("status", GATEWAYS)
def test_what_something_in_between_says_is_no_refusal(over_http: Subject, lead: Lead, status: int) -> None:
    over_http.fault(kind="non_json", status=status, executes=True)

    arrives_in_doubt(over_http, lead)
    if over_http.integration.can_find:
        assert over_http.find(lead).external_id == str(over_http.arrived[0]["id"])


PROBLEM = {"title": "No", "status": 400, "detail": "says a gateway", "instance": "/x"}


@pytest.mark.parametrize("type_", ["about:blank", None])
@pytest.mark.parametrize("status", GATEWAYS)
def test_a_problem_of_no_named_type_is_anybodys(over_http: Subject, lead: Lead, status: int, type_: str | None) -> None:
    """RFC 9457: what any gateway or framework says."""
    body = {**PROBLEM, "status": status} | ({"type": type_} if type_ else {})
    over_http.fault(kind="answer", status=status, executes=True, body=body)

    arrives_in_doubt(over_http, lead)


OWN_FORMS = {
    "amocrm": {"type": "https://httpstatus.es/400", "title": "No", "status": 400, "detail": "no"},
    "bitrix24": {"error": "TIMEOUT", "error_description": "no"},
    "telegram": {"ok": False, "error_code": 400, "description": "no"},
}


@pytest.mark.parametrize("status", [406, 407, 408, 409, 411, 412, 413, 414, 423, 425, 426, 431, 451, 499])
def test_a_status_that_the_service_does_not_give_is_none_of_its_refusals(
    over_http: Subject, lead: Lead, status: int
) -> None:
    over_http.fault(kind="answer", status=status, executes=True, body=OWN_FORMS.get(over_http.integration.type, {}))

    arrives_in_doubt(over_http, lead)


def test_another_deliverys_lead_is_not_mistaken_for_ours(askable: Subject, lead: Lead) -> None:
    askable.deliver(lead, key=askable.make_call().key + "0")

    assert askable.find(lead) is None


def test_a_search_that_fails_does_not_pass_for_nothing_found(askable: Subject, lead: Lead) -> None:
    for fault in ({"kind": "status", "status": 500}, {"kind": "hang_up_before"}, {"kind": "non_json", "status": 200}):
        askable.fault(**fault)
        with pytest.raises(DeliveryError):
            askable.find(lead)


def test_a_service_that_is_down_was_not_sent_anything(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="down")

    with pytest.raises(TransientError):
        subject.deliver(lead)
    assert subject.arrived == []


def test_an_attempt_whose_lease_is_over_sends_nothing(subject: Subject, lead: Lead) -> None:
    over = TransientError("held up", code="lease_over")

    def check() -> None:
        raise over

    egress = subject.make_call().egress.guarded(check)
    with pytest.raises(TransientError) as raised:
        subject.deliver(lead, egress=egress, check_lease=check)
    assert raised.value is over
    assert subject.arrived == []


def test_its_lease_is_looked_at_once_all_else_is_ready(subject: Subject, lead: Lead) -> None:
    """A connection may take long to stand, and a mail server to let us in."""
    met: list[int] = []

    def check() -> None:
        met.append(len(subject.arrived))

    subject.deliver(lead, egress=subject.make_call().egress.guarded(check), check_lease=check)
    assert 0 in met
    assert len(subject.arrived) == 1


def test_a_failure_of_the_service_is_unknown_unless_repeating_is_safe(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="status", status=451 if subject.destination.service == "smtp" else 500)

    expected = TransientError if subject.integration.repeatable else UnknownOutcome
    with pytest.raises(expected):
        subject.deliver(lead)


def test_nothing_is_repeated_by_the_integration_itself(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="status", status=451 if subject.destination.service == "smtp" else 503)

    with pytest.raises(DeliveryError):
        subject.deliver(lead)
    received = subject.sandbox.received(subject.destination.service)
    assert len([entry for entry in received if subject.destination.sends in entry["path"]]) == 1


def test_a_service_that_asks_to_wait_is_obeyed(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="rate_limit", retry_after=7)

    with pytest.raises(TransientError) as failed:
        subject.deliver(lead)
    if subject.destination.pause_s is not None:
        assert isinstance(failed.value, RateLimited)
        assert failed.value.retry_after_s == subject.destination.pause_s
    assert subject.arrived == []


def test_the_time_of_an_attempt_holds(subject: Subject, lead: Lead) -> None:
    subject.fault(kind="slow", delay_s=30)

    with pytest.raises((UnknownOutcome, TransientError)):
        subject.deliver(lead, timeout_s=0.3)


def test_no_error_holds_a_secret_or_personal_data(subject: Subject, lead: Lead) -> None:
    for fault in _faults(subject):
        subject.sandbox.reset()
        subject.fault(**fault)
        try:
            subject.deliver(lead)
        except DeliveryError as error:
            text = f"{error} {error!r} {error.code} {error.detail} {error.message}"
            for value in (*_secrets(subject), lead.name, lead.phone, lead.email):
                assert value not in text, fault
            assert "\n" not in text, fault
        else:
            pytest.fail(f"no error after {fault}")


def test_unknown_settings_and_credentials_are_refused_without_being_repeated(subject: Subject) -> None:
    credentials = subject.account.credentials.model_dump()
    for model, values in (
        (subject.integration.settings_model, subject.destination.settings),
        (subject.integration.credentials_model, credentials),
    ):
        model.model_validate(values)
        with pytest.raises(ValidationError) as refused:
            model.model_validate({**values, "no_such_field": SECRET})
        assert "no_such_field" in str(refused.value)
        assert SECRET not in str(refused.value)


def test_no_secret_is_seen_when_an_account_is_printed(subject: Subject) -> None:
    text = f"{subject.account!r} {subject.account} {subject.account.credentials!r}"

    for value in _secrets(subject):
        assert value not in text


def test_the_registry_knows_the_queue_without_importing_the_integration(subject: Subject) -> None:
    assert registry.queue_of(subject.integration.type) == subject.integration.queue_name()


def _secrets(subject: Subject) -> list[str]:
    own = secrets_in(subject.account.credentials.model_dump())
    return [SECRET, WEBHOOK_SECRET, *(secret for secret in own if secret)]


def _faults(subject: Subject) -> Iterator[dict[str, Any]]:
    yield {"kind": "down"}
    yield {"kind": "hang_up_before"}
    yield {"kind": "hang_up_after"}
    yield {"kind": "rate_limit"}
    if subject.destination.service == "smtp":
        yield from ({"kind": "status", "status": status} for status in (421, 450, 535, 550, 554))
        return
    yield from ({"kind": "status", "status": status} for status in (302, 400, 401, 402, 403, 404, 405, 422, 429))
    yield from ({"kind": "status", "status": status} for status in (500, 502, 503, 504))
    yield {"kind": "non_json", "status": 400, "text": f"Bad token {SECRET}"}
