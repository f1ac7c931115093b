"""Whether a run is older than an erasure is decided by the store's clock, and by nothing that a caller gives."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, text

from leadcast.control.erase import Eraser, InAirflow
from leadcast.core.clock import utc_now
from leadcast.core.settings import Settings
from leadcast.engine.runs import own_request
from leadcast.engine.settings import config
from leadcast.flow.inbox import Inbox
from leadcast.store.batches import run_requests
from leadcast.store.database import Store
from leadcast.store.schema import batches, erasures, leads
from leadcast.store.upkeep import migrate
from tests.support.older_store import older_store

pytestmark = pytest.mark.store
LEAD = {"name": "Needle Personov", "phone": "+79995551234"}
BODY: dict[str, Any] = {"lead_id": "person-1", "lead": LEAD, "integrations": [{"type": "telegram"}]}
YEAR = timedelta(days=365)


@pytest.fixture(autouse=True)
def here(store: Store, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "store", lambda *_: store)
    monkeypatch.setattr(config, "inbox", lambda: inbox)


def erase(store: Store, inbox: Inbox) -> None:
    inbox.accept(BODY)
    Eraser(store=store, settings=Settings()).lead("person-1", asked_by="ann", in_airflow=InAirflow())


def note(store: Store, *, is_new: bool = True) -> None:
    with store.begin() as connection:
        run_requests.note(connection, run_id="manual__1", now=utc_now(), is_new=is_new)


def stays(store: Store, run_after: datetime, *, clear_number: int = 0) -> bool:
    """Whether what the run brings is there still when the sweep has gone on with what was asked for."""
    run = SimpleNamespace(run_id="manual__1", run_after=run_after, clear_number=clear_number, conf=BODY)
    own_request.accept(run)
    Eraser(store=store, settings=Settings()).go_on()
    with store.begin() as connection:
        rows = str([connection.execute(select(table)).all() for table in (batches, leads)])
        is_open = select(func.count()).select_from(erasures).where(erasures.c.done_at.is_(None))
        assert connection.execute(is_open).scalar_one() == 0
    return "Needle" in rows


@pytest.mark.parametrize("given", [-YEAR, timedelta(0), YEAR], ids=["past", "now", "future"])
@pytest.mark.parametrize("is_older", [True, False], ids=["older", "newer"])
def test_a_time_that_the_caller_gives_makes_a_run_neither_older_nor_newer(
    store: Store, inbox: Inbox, given: timedelta, is_older: bool
) -> None:
    if is_older:
        note(store)
    erase(store, inbox)
    if not is_older:
        note(store)
    assert stays(store, utc_now() + given) is not is_older


@pytest.mark.parametrize(("made_s", "is_newer"), [(-300, False), (30, False), (300, True)])
def test_without_a_note_a_run_counts_as_older_as_long_as_it_may_be(
    store: Store, inbox: Inbox, made_s: float, is_newer: bool
) -> None:
    erase(store, inbox)
    assert stays(store, utc_now() + timedelta(seconds=made_s)) is is_newer


def test_a_run_that_is_cleared_after_the_erasure_is_no_newer(store: Store, inbox: Inbox) -> None:
    made = utc_now()
    erase(store, inbox)
    note(store, is_new=False)
    assert not stays(store, made, clear_number=1)


def test_a_note_keeps_its_time_until_there_is_another_run_of_that_id(store: Store, inbox: Inbox) -> None:
    note(store)
    erase(store, inbox)
    note(store, is_new=False)
    with store.begin() as connection:
        run_requests.due(connection, before=utc_now() + YEAR, now=utc_now(), limit=9)
    with store.begin() as connection:
        first = run_requests.noted_at(connection, run_id="manual__1")
        asked_at = connection.execute(select(erasures.c.asked_at)).scalar_one()
    assert first is not None
    assert first < asked_at
    note(store)
    assert stays(store, utc_now() + YEAR)


def test_what_was_noted_before_the_upgrade_has_no_time_and_what_an_older_version_notes_after_it_has(
    postgres_url: str, fernet_key: str
) -> None:
    def noted_at(run_id: str) -> datetime | None:
        with older.begin() as connection:
            return run_requests.noted_at(connection, run_id=run_id)

    with older_store(postgres_url, name="unnoted", revision="0013", fernet_key=fernet_key) as older:
        with older.begin() as connection:
            run_requests.note(connection, run_id="before", now=utc_now(), is_new=True)
        assert noted_at("before") is None
        migrate.upgrade(older.engine)
        with older.begin() as connection:
            connection.execute(text("INSERT INTO run_requests (run_id, looked_at) VALUES ('after', now())"))
        assert noted_at("before") is None
        assert noted_at("after") is not None
