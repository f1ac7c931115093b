"""What outside services do in real life, met by the real operators in real runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from sqlalchemy import func, update

from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.schema import deliveries

from .conftest import BOT_TOKEN, ROOT, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
D = DeliveryState
PROCESSES = 8


def delivery(store: Store, accepted: Accepted) -> views.DeliveryView:
    with store.begin() as connection:
        batch = views.batch(connection, accepted.batch_id)
    assert batch is not None
    return batch.deliveries[0]


def status(store: Store, accepted: Accepted) -> BatchStatus:
    with store.begin() as connection:
        batch = views.batch(connection, accepted.batch_id)
    assert batch is not None
    return batch.status


def let_time_pass(store: Store) -> None:
    """What waits is due now."""
    with store.begin() as connection:
        connection.execute(
            update(deliveries).where(deliveries.c.waits_for.is_not(None)).values(next_attempt_at=func.now())
        )


def letters(sandbox: Sandbox, to: str) -> list[dict[str, Any]]:
    return [item for item in sandbox.received("smtp") if item["executed"] and to in item["rcpt_tos"]]


def executed(sandbox: Sandbox, service: str) -> list[dict[str, Any]]:
    return [item for item in sandbox.received(service) if item["executed"]]


# --- amoCRM: a refresh token works once


def test_eight_processes_meet_an_expired_token_at_once_and_it_is_renewed_once(
    send_lead: Any, accept: Accept, store: Store, sandbox: Sandbox, tmp_path: Path
) -> None:
    tokens = {"access_token": "expired-access", "refresh_token": "refresh-0", "redirect_uri": "https://hook.example/"}
    account = {"subdomain": "example", "client_id": "0a-1b", "client_secret": "s3cret-of-the-race", **tokens}
    settings = {"find_contact": False}
    accepted = [
        accept({"type": "amocrm", "settings": settings}, credentials={"amocrm": account}, lead_id=number)
        for number in range(PROCESSES)
    ]
    # The limiter lets them go one after another; the renewal takes so long that the later ones meet the old token too.
    sandbox.fault(service="amocrm", kind="slow", delay_s=3, times=1, match="/oauth2/access_token")
    script = Path(__file__).with_name("deliveries.py")
    gate = tmp_path / "go"
    pairs = [f"{item.batch_id}-0:{item.batch_id}" for item in accepted]
    with subprocess.Popen(
        [sys.executable, str(script), "amocrm", str(gate), *pairs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "include")},
    ) as parent:
        assert parent.stdout is not None
        lines = iter(parent.stdout)
        ready = list(islice((line for line in lines if line.startswith("ready")), PROCESSES))
        assert len(ready) == PROCESSES, "one ended before it was ready"
        gate.touch()
        said = list(lines)
    assert parent.returncode == 0, said

    calls = Counter((call["path"], call["status"]) for call in sandbox.received("amocrm"))
    assert calls["/oauth2/access_token", 200] == 1
    assert [path for path, code in calls if path == "/oauth2/access_token" and code != 200] == []
    assert calls["/api/v4/leads/complex", 401] > 1, "they did not meet it at once"
    assert len(sandbox.stored("amocrm")["leads"]) == PROCESSES
    assert [delivery(store, item).state for item in accepted] == [D.DELIVERED] * PROCESSES


# --- e-mail: greylisting


def test_a_greylisted_letter_waits_without_a_run_and_arrives_once(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="smtp", kind="reject", code=450, times=None, match="grey@example.com")
    emails = ["grey@example.com", "quick@example.com"]
    accepted = accept({"type": "email"}, credentials={"email": {"emails": emails}})
    first = run()
    assert task_states(first)["deliver_email[0]"] == "skipped"
    waiting = delivery(store, accepted)
    assert (waiting.state, waiting.waits_for) == (D.RETRYING, "service")
    assert status(store, accepted) is BatchStatus.PROCESSING
    assert len(letters(sandbox, "quick@example.com")) == 1, "one mailbox that is put off holds up no other"

    for _ in range(4):  # more often than there are tries
        let_time_pass(store)
        run()
    assert delivery(store, accepted).state is D.RETRYING
    sandbox.clear_faults()
    let_time_pass(store)
    run()
    done = delivery(store, accepted)
    assert (done.state, status(store, accepted)) == (D.DELIVERED, BatchStatus.COMPLETED)
    assert [len(letters(sandbox, to)) for to in emails] == [1, 1]
    assert len({letter["message_id"] for to in emails for letter in letters(sandbox, to)}) == 1


# --- Telegram: a group becomes a supergroup


def test_a_group_that_has_moved_is_followed_and_remembered(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-4001, migrate_to_chat_id=-1001234567890)
    credentials = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "-4001"}}
    accepted = [accept({"type": "telegram"}, credentials=credentials, lead_id=1)]
    run()
    assert len(sandbox.received("telegram")) == 2
    accepted.append(accept({"type": "telegram"}, credentials=credentials, lead_id=2))
    run()
    assert len(sandbox.received("telegram")) == 3, "it knows the way by now"
    assert {call["body"]["chat_id"] for call in executed(sandbox, "telegram")} == {-1001234567890}
    for item in accepted:
        receipt = delivery(store, item).receipt
        assert receipt is not None
        assert receipt["detail"]["migrated_to_chat_id"] == -1001234567890


# --- webhook: 410, and a name that answers differently the second time


def test_an_endpoint_that_is_gone_is_left_alone_and_people_are_told_once(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="webhook", kind="gone")
    credentials = {"webhook": {"url": f"{sandbox.webhook_url}/hook"}}
    accepted = [accept({"type": "webhook"}, credentials=credentials, lead_id=1)]
    run()
    accepted += [accept({"type": "webhook"}, credentials=credentials, lead_id=number) for number in (2, 3)]
    run()
    assert len(sandbox.received("webhook")) == 1
    assert {delivery(store, item).state for item in accepted} == {D.FAILED}
    told = [item for item in letters(sandbox, "sales@example.com") if "Интеграция не принимает" in item["subject"]]
    assert len(told) == 1


class Internal:
    """A service that nobody outside may reach: it counts who comes."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.2", port))
        self.listener.settimeout(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.listener.close()

    def visitors(self) -> int:
        count = 0
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def only_one_address_is_open(monkeypatch: pytest.MonkeyPatch, environment: None) -> Iterator[None]:
    from leadcast.engine.settings import config

    monkeypatch.setenv("AIRFLOW__LEADCAST__ALLOWED_NETWORKS", "127.0.0.1/32")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([["127.0.0.1"], ["127.0.0.2"]], D.DELIVERED),
        ([["127.0.0.2", "127.0.0.1"]], D.DELIVERED),
        ([["127.0.0.2"]], D.FAILED),
        ([["::ffff:127.0.0.2"], ["127.0.0.2"]], D.FAILED),
    ],
    ids=["another answer the second time", "both in one answer", "inside only", "inside, written as IPv6"],
)
def test_a_name_that_is_rebound_leads_nobody_inside(
    run: Run,
    accept: Accept,
    store: Store,
    sandbox: Sandbox,
    only_one_address_is_open: None,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[list[str]],
    state: D,
) -> None:
    port = int(sandbox.webhook_url.rpartition(":")[2])
    real = socket.getaddrinfo
    asked: list[str] = []

    def rebound(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebind.example":
            return real(host, *args, **kwargs)
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [entry for address in found for entry in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    accepted = accept({"type": "webhook"}, credentials={"webhook": {"url": f"http://rebind.example:{port}/hook"}})
    with Internal(port) as internal:
        run()
        assert internal.visitors() == 0
    assert delivery(store, accepted).state is state
    assert len(executed(sandbox, "webhook")) == (1 if state is D.DELIVERED else 0)


# --- an account that fails in a row


def test_while_a_service_is_away_leads_wait_and_all_arrive_once_it_is_back(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="bitrix24", kind="down")
    credentials = {"bitrix24": {"webhook_url": "https://example.bitrix24.ru/rest/1/s3cret/"}}
    accepted = [accept({"type": "bitrix24"}, credentials=credentials, lead_id=number) for number in range(4)]
    run()
    assert {status(store, item) for item in accepted} <= {BatchStatus.FAILED, BatchStatus.PROCESSING}
    waiting = [item for item in accepted if status(store, item) is BatchStatus.PROCESSING]
    assert len(waiting) >= 2
    sandbox.clear_faults()
    _close_all(store)
    run()
    assert {status(store, item) for item in waiting} == {BatchStatus.COMPLETED}
    titles = [json.dumps(item["originId"]) for item in sandbox.stored("bitrix24")["leads"]]
    assert len(titles) == len(set(titles)) == len(waiting)


def _close_all(store: Store) -> None:
    from leadcast.core.clock import utc_now
    from leadcast.store.accounts import circuits

    with store.begin() as connection:
        assert circuits.close(connection, "", now=utc_now())
