"""A wave of 80 leads to each service that publishes limits, carried by several processes at once: none meets a 429."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import text

from leadcast.core.errors import AttemptFailed
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.plan import plan
from leadcast.integrations import registry
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from tests.support.by_hand import by_hand

pytestmark = pytest.mark.store
LEADS = 80
"""A call each, and more than any of them takes at once: Bitrix24 50, and then two a second."""
CHATS = 10
PROCESSES_EACH = 2
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


def carry(store_url: str, key: str, base_urls: dict[str, str], kind: str, delivery_ids: list[str]) -> int:
    """What a worker does, without Airflow: attempts, and pauses where it is told to. How many deliveries it made."""
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
    until = time.monotonic() + LONGEST_S
    waiting, made = [(0.0, item) for item in delivery_ids], 0
    while waiting and time.monotonic() < until:
        due_at, delivery_id = min(waiting)
        waiting.remove((due_at, delivery_id))
        time.sleep(max(0.0, due_at - time.monotonic()))
        try:
            deliverer.deliver(delivery_id, integration=integration, last_in_run=False, action=by_hand(deliverer))
            made += 1
        except AttemptFailed as failed:
            if failed.retry_in_s is not None:
                waiting.append((time.monotonic() + failed.retry_in_s, delivery_id))
    store.engine.dispose()
    return made


def test_eighty_leads_at_once_meet_no_429(store: Store, postgres_url: str, fernet_key: str, strict: Sandbox) -> None:
    inbox = Inbox(store, Settings())
    for number in range(LEADS):
        chat = {"type": "telegram", "settings": {"chat_id": 1000 + number % CHATS}}
        integrations = [{"type": "amocrm"}, {"type": "bitrix24"}, chat]
        lead = {"name": f"Анна {number}"}
        inbox.accept({"lead_id": number, "lead": lead, "integrations": integrations, "credentials": CREDENTIALS})
    work = plan(store, Settings(wave_max_batches=LEADS), run_id="wave").work
    base_urls = {f"{kind}_base_url": getattr(strict, f"{kind}_url") for kind in ENFORCED}

    with ProcessPoolExecutor(len(ENFORCED) * PROCESSES_EACH, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                carry,
                postgres_url,
                fernet_key,
                base_urls,
                kind,
                [ref.delivery_id for ref in refs][part::PROCESSES_EACH],
            )
            for kind, refs in work.items()
            for part in range(PROCESSES_EACH)
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
