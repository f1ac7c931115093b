"""80 leads to each service that publishes limits, sent by several processes at once: none meets a 429."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import exists, select, text

from leadcast.core.model import DeliveryState
from leadcast.core.settings import Settings
from leadcast.flow.deliver.chunk import Chunk, Part
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.worker import Worker
from leadcast.flow.inbox import Inbox
from leadcast.integrations import registry
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import deliveries
from leadcast.store.sealing import Sealer
from tests.support.planned import plan

pytestmark = pytest.mark.store
LEADS = 80
"""A call each, and more than any of them takes at once: Bitrix24 50, and then two a second."""
CHATS = 10
PROCESSES_EACH = 2
PAUSE_S = 0.5
"""From one task to the next."""
LONGEST_S = 300
ENFORCED: dict[str, dict[str, Any]] = {
    "amocrm": {"requests_per_second": 7, "block_after_429": 3},
    "bitrix24": {"leaky_bucket": True},
    "telegram": {"flood_control": True},
}
CREDENTIALS: dict[str, dict[str, Any]] = {
    "amocrm": {"subdomain": "example", "access_token": "access-long-lived"},
    "bitrix24": {"webhook_url": "https://example.bitrix24.ru/rest/1/s3cret/"},
    "telegram": {"bot_token": "123456:ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789"},
}


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    """Services that refuse what is over their published limits."""
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        for service, settings in ENFORCED.items():
            sandbox.configure(service, **settings)
        yield sandbox


def carry(store_url: str, key: str, base_urls: dict[str, str], kind: str) -> int:
    """What a worker does, without Airflow: one task after the other takes what is due in its lane, until nothing is
    open. How many deliveries it made."""
    settings = Settings.of({**base_urls, "allowed_networks": "127.0.0.0/8"})
    store = Store(open_engine(store_url), Sealer(key))
    integration = registry.get(kind)
    deliverer = Deliverer(
        store=store,
        settings=settings,
        accounts=lambda found, inline: found.from_inline(
            found.credentials_model.model_validate(inline), base_url=base_urls[f"{kind}_base_url"]
        ),
        tokens=StoredTokens(store),
        hide=lambda secret: None,
    )
    until, made = time.monotonic() + LONGEST_S, 0
    while is_open(store, kind) and time.monotonic() < until:
        worker = deliverer.new_worker(sends_many=True)

        def send(part: Part, by: Worker = worker) -> None:
            deliverer.deliver(part.delivery_id, integration=integration, last_in_run=False, run_id="wave", by=by)

        chunk = Chunk([], send, at_once=settings.delivering(kind).at_once, lane=worker.lane(kind))
        with worker.lease.of_process():
            chunk.run()
        made += chunk.end().arrived
        time.sleep(PAUSE_S)
    store.engine.dispose()
    return made


def is_open(store: Store, kind: str) -> bool:
    """Whether something is still to be sent there."""
    to_send = deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.RETRYING])
    with store.begin() as connection:
        return bool(connection.execute(select(exists().where(deliveries.c.type == kind, to_send))).scalar())


def test_eighty_leads_at_once_meet_no_429(store: Store, postgres_url: str, fernet_key: str, strict: Sandbox) -> None:
    inbox = Inbox(store, Settings())
    for number in range(LEADS):
        chat = {"type": "telegram", "settings": {"chat_id": 1000 + number % CHATS}}
        integrations = [{"type": "amocrm"}, {"type": "bitrix24"}, chat]
        lead = {"name": f"Анна {number}"}
        inbox.accept({"lead_id": number, "lead": lead, "integrations": integrations, "credentials": CREDENTIALS})
    made_plan = plan(store, Settings(), run_id="wave")
    assert {kind: takers.due for kind, takers in made_plan.takers.items()} == dict.fromkeys(ENFORCED, LEADS)
    base_urls = {f"{kind}_base_url": getattr(strict, f"{kind}_url") for kind in ENFORCED}

    with ProcessPoolExecutor(len(ENFORCED) * PROCESSES_EACH, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(carry, postgres_url, fernet_key, base_urls, kind)
            for kind in ENFORCED
            for _ in range(PROCESSES_EACH)
        ]
        made = sum(job.result() for job in jobs)

    answers = Counter((kind, call["status"]) for kind in ENFORCED for call in strict.received(kind))
    assert {key: count for key, count in answers.items() if key[1] != 200} == {}
    assert made == LEADS * len(ENFORCED)
    assert len(strict.stored("amocrm")["leads"]) == LEADS
    assert len(strict.stored("bitrix24")["leads"]) == LEADS
    assert len(strict.stored("telegram")["messages"]) == LEADS
    with store.begin() as connection:
        tried = connection.execute(text("SELECT max(tries), max(attempts), count(*) FROM attempts, deliveries")).one()
    assert tried[0] == 1, "to wait for one's turn uses no try"
