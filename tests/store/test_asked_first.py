"""A lead that a service may have is asked for before it is sent again, whoever wants it sent and whatever was said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
from sqlalchemy import update

from leadcast.core.model import AttemptOutcome, DeliveryState
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.database import Store
from leadcast.store.schema import attempts, deliveries
from tests.support.error_table.cases import SERVICES

from .one_lead import OneLead, accepted

pytestmark = pytest.mark.store
D = DeliveryState
ASKABLE = [service for service in SERVICES if service.type in ("amocrm", "bitrix24")]
FILES = {"amocrm": "/api/v4/leads/complex", "bitrix24": "crm.item.add"}
LOOKS = {"amocrm": "/api/v4/leads?query=", "bitrix24": "crm.item.list"}


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@dataclass(frozen=True)
class AskedFor(OneLead):
    """One whose service can be asked for it."""

    def fault(self, **fault: Any) -> None:
        super().fault(**{"match": FILES[self.service.type], **fault})

    @property
    def leads(self) -> int:
        return len(self.sandbox.stored(self.service.sandbox)["leads"])

    @property
    def looks(self) -> int:
        called = [f"{entry['path']}?{entry['query']}" for entry in self.sandbox.received(self.service.sandbox)]
        way = LOOKS[self.service.type].partition("?")[0]
        return sum(f"{way}?" in call.replace(".json", "") for call in called)

    def as_it_was_before(self) -> None:
        """As earlier versions left a delivery whose answer they took for a refusal: failed, and not in doubt."""
        with self.store.begin() as connection:
            connection.execute(update(attempts).values(outcome=AttemptOutcome.REJECTED, code="103"))
            error = {"class": "RejectedError", "code": "103", "message": "refused", "detail": "", "may_pass": False}
            connection.execute(update(deliveries).values(state=D.FAILED, in_doubt=False, waits_for=None, error=error))


@pytest.fixture(params=ASKABLE, ids=lambda service: str(service.type))
def one(request: pytest.FixtureRequest, running_sandbox: Sandbox, store: Store, deliverer: Deliverer) -> AskedFor:
    running_sandbox.reset()
    plain = accepted(request.param, running_sandbox, store=store, deliverer=deliverer)
    return AskedFor(**{field.name: getattr(plain, field.name) for field in fields(plain)})


@pytest.mark.parametrize("form", ["interim", "packed"])
def test_a_lead_that_was_taken_is_delivered_in_whatever_form_the_answer_comes(one: AskedFor, form: str) -> None:
    one.fault(kind=form)
    assert one.run("w1") is D.DELIVERED
    assert (one.leads, one.delivery.attempts) == (1, 1)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 499, 502])
def test_a_lead_that_a_gateway_hides_is_found_by_the_next_attempt(one: AskedFor, status: int) -> None:
    one.fault(kind="non_json", status=status, executes=True)
    assert one.run("w1") is D.DELIVERED
    assert (one.leads, one.delivery.attempts) == (1, 2)
    assert one.delivery.receipt is not None
    assert one.delivery.receipt["reconciled"]


@pytest.mark.parametrize("status", [404, 502])
def test_a_lead_that_a_gateway_hides_until_the_tries_are_used_up_is_found_by_a_persons_retry(
    one: AskedFor, status: int
) -> None:
    one.fault(kind="non_json", status=status, executes=True)
    one.sandbox.fault(service=one.service.sandbox, kind="non_json", status=502, match=LOOKS[one.service.type], times=2)
    assert one.run("w1") is D.UNKNOWN
    one.retrier.batch(one.batch_id)
    assert one.run("w2") is D.DELIVERED
    assert one.leads == 1


def test_what_an_earlier_version_took_for_a_refusal_is_asked_for_when_it_is_retried(one: AskedFor) -> None:
    one.fault(kind="hang_up_after")
    one.run("w1", tries=1)
    one.as_it_was_before()
    one.retrier.batch(one.batch_id)
    assert one.run("w2") is D.DELIVERED
    assert one.leads == 1


def test_what_the_service_refused_is_asked_for_and_then_sent(one: AskedFor) -> None:
    one.fault(kind="status", status=400)
    assert one.run("w1") is D.FAILED
    before = one.looks
    one.retrier.batch(one.batch_id)
    assert one.run("w2") is D.DELIVERED
    assert (one.leads, one.looks > before) == (1, True)


def test_a_service_that_cannot_say_keeps_nobody_from_sending_what_it_has_refused(one: AskedFor) -> None:
    one.fault(kind="status", status=400)
    assert one.run("w1") is D.FAILED
    one.sandbox.fault(service=one.service.sandbox, kind="status", status=400, match=LOOKS[one.service.type])
    one.retrier.batch(one.batch_id)
    assert one.run("w2") is D.DELIVERED
    assert one.leads == 1


def test_a_lead_that_was_not_begun_before_is_not_asked_for(one: AskedFor) -> None:
    assert one.run("w1") is D.DELIVERED
    assert one.looks == 0
