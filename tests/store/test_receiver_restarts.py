"""A receiver of webhooks that restarts: whatever is said in its place meanwhile, the lead reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from leadcast.core.model import DeliveryState
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.database import Store
from tests.support.error_table.cases import SERVICES

from .one_lead import OneLead, accepted

pytestmark = pytest.mark.store
D = DeliveryState
WEBHOOK = next(service for service in SERVICES if service.type == "webhook")


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def one(running_sandbox: Sandbox, store: Store, deliverer: Deliverer) -> OneLead:
    running_sandbox.reset()
    return accepted(WEBHOOK, running_sandbox, store=store, deliverer=deliverer)


@pytest.mark.parametrize("status", [302, 401, 404, 409, 421, 423, 424, 426, 499])
def test_it_is_tried_again_within_its_run(one: OneLead, status: int) -> None:
    one.fault(kind="non_json", status=status, times=2)
    assert one.run("w1") is D.DELIVERED
    assert one.delivery.attempts == 3


@pytest.mark.parametrize("status", [403, 404])
def test_when_its_tries_are_used_up_the_schedule_sends_it_again(one: OneLead, status: int) -> None:
    one.fault(kind="non_json", status=status, times=3)
    assert one.run("w1") is D.FAILED
    assert one.delivery.error is not None
    assert one.delivery.error["may_pass"]

    now = one.deliverer.clock()
    put_back = one.retrier.window(since=now - timedelta(hours=1), until=now + timedelta(hours=1))

    assert put_back.deliveries == 1
    assert one.run("w2") is D.DELIVERED


def test_410_is_the_end(one: OneLead) -> None:
    one.fault(kind="gone")
    assert one.run("w1") is D.FAILED
    assert one.delivery.error is not None
    assert (one.delivery.attempts, one.delivery.error["may_pass"]) == (1, False)
