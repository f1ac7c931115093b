"""Accepting a request: all of it in one transaction, or none of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, text

from leadcast.core.model import BatchStatus, DeliveryState, Lead
from leadcast.core.request_errors import IdempotencyConflict, InvalidRequest, LeadNotFound
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.store.batches import leads, views
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, metadata
from leadcast.store.sealing import credentials_of

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]


def rows(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(select(func.count()).select_from(batches)).scalar_one()


def test_a_batch_is_written_with_its_deliveries_pending(store: Store, accept: Accept) -> None:
    accepted = accept("amocrm", "email", "telegram", credentials={"telegram": {"conn_id": "leadcast_bot"}})
    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    assert (view.status, view.lead_id, accepted.total_jobs) == (BatchStatus.PENDING, "123", 3)
    assert [(item.type, item.state) for item in view.deliveries] == [
        ("amocrm", DeliveryState.PENDING),
        ("email", DeliveryState.PENDING),
        ("telegram", DeliveryState.PENDING),
    ]
    assert [item.id for item in view.deliveries] == [f"{accepted.batch_id}-{index}" for index in range(3)]


def test_an_inline_lead_is_stored_and_a_later_batch_may_name_it_only(
    store: Store, inbox: Inbox, accept: Accept
) -> None:
    accept(lead_id=5)
    assert inbox.accept({"lead_id": "5", "integrations": [{"type": "email"}]}).lead_id == "5"


def test_a_batch_keeps_the_lead_as_it_was_when_accepted(store: Store, accept: Accept) -> None:
    accepted = accept(lead_id=5)
    with store.begin() as connection:
        leads.put(connection, Lead(id="5", name="Somebody else"))
        kept = connection.execute(select(batches.c.lead).where(batches.c.id == accepted.batch_id)).scalar_one()
    assert kept["name"] == "Анна"


def test_a_lead_that_an_older_version_has_stored_as_it_came_is_mended_when_it_is_sent(
    store: Store, inbox: Inbox
) -> None:
    with store.begin() as connection:
        leads.put(connection, Lead(id="5", name="\u202e", email="anna@example.com ", custom={"sum": ["1"]}))
    accepted = inbox.accept({"lead_id": 5, "integrations": [{"type": "email"}]})
    with store.begin() as connection:
        kept = connection.execute(select(batches.c.lead).where(batches.c.id == accepted.batch_id)).scalar_one()
    assert (kept["name"], kept["email"], kept["custom"]) == ("", "anna@example.com", {"sum": "1"})
    assert [note.loc for note in accepted.notes] == [("lead", "custom", "sum")]


def test_an_unknown_lead_is_refused_and_the_error_says_how_to_send_one(store: Store, inbox: Inbox) -> None:
    with pytest.raises(LeadNotFound, match=r"PUT /api/integrations/leads/999"):
        inbox.accept({"lead_id": 999, "integrations": [{"type": "email"}]})
    assert rows(store) == 0


def test_bad_input_stores_nothing(store: Store, inbox: Inbox) -> None:
    with pytest.raises(InvalidRequest):
        inbox.accept({"lead_id": 1, "lead": {"name": "x"}, "integrations": [{"type": "fax"}]})
    with store.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM leads")).scalar() == 0
    assert rows(store) == 0


def test_no_secret_can_be_read_anywhere_in_the_store(store: Store, accept: Accept) -> None:
    accepted = accept(
        "telegram",
        credentials={"telegram": {"bot_token": "123:clear-text-token", "chat_id": "@x"}},
        callback_url="https://example.com/hook?token=clear-text-token",
    )
    with store.begin() as connection:
        for table in metadata.sorted_tables:
            assert "clear-text-token" not in str(connection.execute(select(table)).all())
        sealed = connection.execute(select(deliveries.c.credentials_sealed)).scalar_one()
    assert sealed is not None
    opened = store.sealer.open(sealed, for_=credentials_of(f"{accepted.batch_id}-0"))
    assert opened["bot_token"] == "123:clear-text-token"


def test_the_same_key_and_body_get_the_first_answer(store: Store, inbox: Inbox) -> None:
    body = {"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}
    first = inbox.accept(body, idempotency_key="k", caller="anna")
    again = inbox.accept(body, idempotency_key="k", caller="anna")
    assert (again.batch_id, again.run_id) == (first.batch_id, first.run_id)
    assert (again.repeated, again.must_ring) == (True, False)
    assert rows(store) == 1


def test_the_same_key_with_another_body_is_a_conflict(store: Store, inbox: Inbox) -> None:
    inbox.accept({"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        inbox.accept({"lead_id": 2, "lead": {}, "integrations": [{"type": "email"}]}, idempotency_key="k")
    assert rows(store) == 1


def test_two_callers_may_use_the_same_key(store: Store, inbox: Inbox) -> None:
    body = {"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}
    one = inbox.accept(body, idempotency_key="k", caller="anna")
    two = inbox.accept(body, idempotency_key="k", caller="boris")
    assert one.batch_id != two.batch_id


def test_two_equal_requests_at_the_same_moment_make_one_batch(store: Store, inbox: Inbox) -> None:
    body: dict[str, Any] = {"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: inbox.accept(body, idempotency_key="k"), range(8)))
    assert len({answer.batch_id for answer in answers}) == 1
    assert sum(not answer.repeated for answer in answers) == 1
    assert rows(store) == 1
