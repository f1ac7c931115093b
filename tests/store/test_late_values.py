"""A new column of a large table is filled in beside traffic; until it is, nothing that is listed by it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select, text, update

from leadcast.core.settings import Settings
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.store.batches import lanes
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries
from leadcast.store.upkeep import late_values, migrate
from tests.support.older_store import older_store

from .conftest import StoppedClock

pytestmark = pytest.mark.store

BEFORE = "0008"
"""Its deliveries have no place in lists of their type."""


@pytest.fixture
def older(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    with older_store(postgres_url, name="late_values", revision=BEFORE, fernet_key=fernet_key) as store:
        yield store


@pytest.fixture
def accept(older: Store, clock: StoppedClock) -> Callable[..., str]:
    """Accepts a batch, a second after the one before. Returns its id."""
    inbox = Inbox(older, Settings(), clock=clock)

    def accept(*types: str) -> str:
        clock.pass_s(1)
        body = {"lead_id": "1", "lead": {"name": "Анна"}, "integrations": [{"type": kind} for kind in types]}
        accepted: Accepted = inbox.accept(body)
        return accepted.batch_id

    return accept


def all_ended(store: Store) -> None:
    """What is still to be sent has its place with the upgrade itself: it is little, and lanes go by it."""
    with store.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'delivered'"))
        connection.execute(text("UPDATE batches SET status = 'completed'"))


def not_listed(store: Store) -> list[str]:
    with store.begin() as connection:
        return list(connection.execute(select(deliveries.c.id).where(deliveries.c.listed_at.is_(None))).scalars())


def listed(store: Store, **wanted: object) -> list[str]:
    """All that a list shows, page after page."""
    found: list[str] = []
    place = None
    while True:
        with store.begin() as connection:
            page = listing(connection, Filter(**wanted, before=place, limit=2))  # type: ignore[arg-type]
        found += [batch.id for batch in page.batches]
        place = page.ends_at
        if place is None:
            return found


def test_an_upgrade_fills_it_in_step_by_step(
    older: Store, accept: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_values, "STEP", 3)
    for _ in range(5):
        accept("email", "telegram")
    all_ended(older)
    migrate.upgrade(older.engine)
    with older.begin() as connection:
        query = select(deliveries.c.listed_at, batches.c.accepted_at).join(batches)
        times = connection.execute(query).all()
    assert len(times) == 10
    assert all(of_delivery == of_batch for of_delivery, of_batch in times)


def fill(store: Store) -> None:
    late_values.fill(store.engine, migrate._declared(store.engine, "LATE_VALUES"))


def test_what_somebody_works_on_is_stepped_over_and_filled_in_by_the_next(
    older: Store, accept: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_values, "STEP", 1)
    first, held, last = (accept("email", "email") for _ in range(3))
    all_ended(older)
    with monkeypatch.context() as in_time:
        in_time.setattr(late_values, "fill", lambda *_: None)
        migrate.upgrade(older.engine)
    assert len(not_listed(older)) == 6
    with older.begin() as other:
        other.execute(update(deliveries).where(deliveries.c.batch_id == held).values(tries=1))
        fill(older)
    assert {delivery.rpartition("-")[0] for delivery in not_listed(older)} == {held}
    assert listed(older, type="email") == [last, held, first]
    fill(older)
    assert not_listed(older) == []
    assert listed(older, type="email") == [last, held, first]


def test_a_batch_of_a_process_of_the_older_version_is_in_its_place(older: Store, accept: Callable[..., str]) -> None:
    migrate.upgrade(older.engine)
    sent = [accept("email", "telegram") for _ in range(6)]
    assert not_listed(older) == []
    with older.begin() as connection:
        theirs = deliveries.c.batch_id.in_(sent[1::2])
        connection.execute(update(deliveries).where(theirs).values(listed_at=None))
    assert listed(older, type="email") == sent[::-1]
    assert listed(older, type="email", status="pending") == sent[::-1]
    assert listed(older, type="webhook") == []
    migrate.upgrade(older.engine)
    assert not_listed(older) == []


def test_before_the_upgrade_leads_are_accepted_all_the_same(older: Store, accept: Callable[..., str]) -> None:
    accept("email")
    with older.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 1


@pytest.mark.parametrize("state", ["pending", "retrying"])
def test_what_is_still_to_be_sent_is_in_its_lane_as_soon_as_the_tables_are_changed(
    older: Store, accept: Callable[..., str], clock: StoppedClock, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """The urgent first, then the oldest; what the schedule has sent again behind all of the same priority."""
    monkeypatch.setattr(late_values, "fill", lambda *_: None)
    again, normal, low, high = (accept("email") for _ in range(4))
    with older.begin() as connection:
        connection.execute(text(f"UPDATE deliveries SET state = '{state}'"))
        for batch_id, values in ((again, "rounds = 2"), (low, "priority = 2"), (high, "priority = 0")):
            connection.execute(text(f"UPDATE batches SET {values} WHERE id = '{batch_id}'"))
    migrate.upgrade(older.engine)
    with older.begin() as connection:
        due = lanes.due(connection, "email", now=clock(), limit=10)
    assert [ref.batch_id for ref in due] == [high, normal, again, low]
