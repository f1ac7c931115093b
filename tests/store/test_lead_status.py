"""A lead that is only in the user's own table: accepted from there, and its status goes back there, sooner or later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, select, text, update

from leadcast.control.monitor import Monitor
from leadcast.core.ending import Ending
from leadcast.core.errors import LeadTableError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.notes import Note
from leadcast.core.request_errors import LeadNotFound
from leadcast.core.settings import Settings
from leadcast.engine.tell.lead_status import LeadStatus
from leadcast.flow.inbox import Inbox, look_up
from leadcast.flow.notify import Dispatcher, Sender, Story
from leadcast.flow.settle import Settler
from leadcast.lead_table.table import LeadTable
from leadcast.store.batches import batches, leads, opening, views
from leadcast.store.database import Store
from leadcast.store.paces import Channel
from leadcast.store.schema import batches as batch_rows
from leadcast.store.schema import deliveries, notifications
from tests.support.planned import plan

from .conftest import StoppedClock
from .test_notify import Post

pytestmark = pytest.mark.store

REQUEST: dict[str, Any] = {"lead_id": 7, "integrations": [{"type": "telegram"}, {"type": "webhook"}]}


class Table:
    """The user's table, which can be taken away and brought back."""

    def __init__(self, real: LeadTable, crm: Engine) -> None:
        self.real, self.crm = real, crm
        self.is_away = False
        self.calls = 0

    def _knock(self) -> None:
        self.calls += 1
        if self.is_away:
            raise LeadTableError("The lead table's database cannot be reached", is_away=True)

    def find(self, lead_id: str) -> Mapping[str, Any] | None:
        self._knock()
        return self.real.find(lead_id)

    def write_status(self, lead_id: str, status: BatchStatus, **more: Any) -> bool:
        self._knock()
        return self.real.write_status(lead_id, status, **more)

    def run(self, statement: str) -> None:
        with self.crm.begin() as connection:
            connection.execute(text(statement))

    def state(self, lead_id: int = 7) -> Any:
        with self.crm.connect() as connection:
            return connection.execute(text("SELECT state FROM people WHERE nr = :nr"), {"nr": lead_id}).scalar_one()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    url = URL.create("sqlite", database=str(tmp_path / "crm.db"))
    mapping = LeadMapping(conn_id="crm", table="people", key="nr", columns={"name": "fio"}, status_column="state")
    crm = create_engine(url)
    made = Table(LeadTable(url, mapping), crm)
    made.run("CREATE TABLE people (nr INTEGER PRIMARY KEY, fio TEXT, state TEXT)")
    made.run("INSERT INTO people VALUES (7, 'Анна', 'new'), (8, 'Борис', 'new')")
    yield made
    made.real.close()
    crm.dispose()


@pytest.fixture
def settings() -> Settings:
    return Settings.of(
        {
            "leads_conn_id": "crm",
            "leads_table": "people",
            "status_column": "state",
            "notify_emails": "sales@example.com",
        }
    )


@pytest.fixture
def inbox(store: Store, settings: Settings, clock: StoppedClock, table: Table) -> Inbox:
    return Inbox(store, settings, lead_source=table, clock=clock)


@pytest.fixture
def dispatcher(store: Store, clock: StoppedClock, table: Table) -> Dispatcher:
    senders: dict[Channel, Sender] = {**dict.fromkeys(Channel, Post()), Channel.LEAD_STATUS: LeadStatus(store, table)}
    return Dispatcher(store=store, senders=senders, clock=clock)


def end(store: Store, settler: Settler, clock: StoppedClock, batch_id: str, *delivered: bool) -> None:
    """Ends a batch: its deliveries went out or not."""
    plan(store, settler.settings, run_id=f"run-{batch_id}", own_batch_id=batch_id, clock=clock)
    with store.begin() as connection:
        for index, went_out in enumerate(delivered):
            state = DeliveryState.DELIVERED if went_out else DeliveryState.FAILED
            connection.execute(update(deliveries).where(deliveries.c.id == f"{batch_id}-{index}").values(state=state))
    settler.wave(f"run-{batch_id}", Ending())


def queued(store: Store) -> list[tuple[str, str, int]]:
    with store.begin() as connection:
        rows = connection.execute(select(notifications).order_by(notifications.c.id))
        return [(row.channel, row.state, row.attempts) for row in rows if row.channel != "hook"]


def test_a_lead_that_only_the_users_table_has_is_accepted(inbox: Inbox, store: Store) -> None:
    accepted = inbox.accept(REQUEST)
    with store.begin() as connection:
        kept = connection.execute(select(batch_rows.c.lead).where(batch_rows.c.id == accepted.batch_id)).scalar_one()
        assert leads.find(connection, "7") is None
    assert kept["name"] == "Анна"


def test_the_users_table_comes_before_our_own_leads_and_these_before_not_found(inbox: Inbox, store: Store) -> None:
    with store.begin() as connection:
        leads.put(connection, leads.from_data("7", {"name": "stale"}))
        leads.put(connection, leads.from_data("9", {"name": "ours"}))
    inbox.accept(REQUEST)
    inbox.accept(REQUEST | {"lead_id": 9})
    with pytest.raises(LeadNotFound):
        inbox.accept(REQUEST | {"lead_id": 10})
    with store.begin() as connection:
        names = connection.execute(select(batch_rows.c.lead["name"].astext).order_by(batch_rows.c.lead_id)).scalars()
        assert list(names) == ["Анна", "ours"]


def test_data_that_comes_with_the_request_needs_no_table(inbox: Inbox, table: Table) -> None:
    table.is_away = True
    inbox.accept(REQUEST | {"lead": {"name": "inline"}})
    assert table.calls == 0


def test_while_the_table_is_away_nothing_is_accepted_and_nothing_stored(
    inbox: Inbox, table: Table, store: Store
) -> None:
    table.is_away = True
    with pytest.raises(LeadTableError):
        inbox.accept(REQUEST)
    with store.begin() as connection:
        assert connection.execute(select(batch_rows.c.id)).all() == []


def test_what_was_accepted_before_is_answered_without_the_table(inbox: Inbox, table: Table) -> None:
    first = inbox.accept(REQUEST, idempotency_key="k")
    table.run("DELETE FROM people")
    table.is_away = True
    again = inbox.accept(REQUEST, idempotency_key="k")
    assert (again.batch_id, again.repeated) == (first.batch_id, True)


def test_a_row_that_no_request_could_hold_is_mended_and_noted(inbox: Inbox, table: Table, store: Store) -> None:
    table.run("UPDATE people SET fio = ' ' || printf('%.*c', 2000, 'x') || char(8203)")
    accepted = inbox.accept(REQUEST)
    with store.begin() as connection:
        kept = connection.execute(select(batch_rows.c.lead).where(batch_rows.c.id == accepted.batch_id)).scalar_one()
        view = views.batch(connection, accepted.batch_id)
    assert kept["name"] == "x" * 1024
    note = Note(("lead", "name"), "cut to 1024 characters (had 2000)")
    assert view is not None
    assert list(view.notes) == list(accepted.notes) == [note]


def test_a_lead_of_the_table_is_shown_with_its_batches(inbox: Inbox, table: Table, store: Store) -> None:
    accepted = inbox.accept(REQUEST)
    view = Monitor(store, sees=lambda sender: True).lead("7")
    assert view.lead is not None
    assert (view.lead.name, [batch.id for batch in view.batches]) == ("Анна", [accepted.batch_id])


@pytest.mark.parametrize(
    ("delivered", "status"), [((True, True), "completed"), ((True, False), "partial"), ((False, False), "failed")]
)
def test_the_status_goes_into_the_leads_row(
    inbox: Inbox,
    store: Store,
    settler: Settler,
    clock: StoppedClock,
    dispatcher: Dispatcher,
    table: Table,
    delivered: tuple[bool, ...],
    status: str,
) -> None:
    end(store, settler, clock, inbox.accept(REQUEST).batch_id, *delivered)
    dispatcher.flush(bound_s=10)
    assert table.state() == status
    assert table.state(8) == "new"
    assert ("lead_status", "sent", 1) in queued(store)


def test_without_a_column_for_it_no_status_is_queued(store: Store, clock: StoppedClock, table: Table) -> None:
    settings = Settings.of({"leads_conn_id": "crm", "leads_table": "people"})
    batch_id = Inbox(store, settings, lead_source=table, clock=clock).accept(REQUEST).batch_id
    end(store, Settler(store=store, settings=settings, clock=clock), clock, batch_id, True, True)
    assert queued(store) == []


def test_a_table_that_is_away_holds_up_nothing_and_has_the_status_soon_after_it_is_back(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher, table: Table
) -> None:
    for lead_id in (7, 8):
        end(store, settler, clock, inbox.accept(REQUEST | {"lead_id": lead_id}).batch_id, True, True)
    table.is_away = True
    table.calls = 0
    dispatcher.flush(bound_s=10)
    assert table.calls == 1, "it is asked once a flush, however many rows wait"
    assert sorted(queued(store)) == [
        ("email", "sent", 1), ("email", "sent", 1), ("lead_status", "pending", 0), ("lead_status", "pending", 1)
    ]  # fmt: skip
    for _ in range(200):
        clock.pass_s(300)
        dispatcher.flush(bound_s=10)
    table.is_away = False
    clock.pass_s(300)
    dispatcher.flush(bound_s=10)
    assert (table.state(7), table.state(8)) == ("completed", "completed")


def test_a_status_that_comes_late_does_not_cover_a_newer_one(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher, table: Table
) -> None:
    older = inbox.accept(REQUEST).batch_id
    plan(store, settler.settings, run_id=f"run-{older}", own_batch_id=older, clock=clock)
    clock.pass_s(1)
    newer = inbox.accept(REQUEST).batch_id
    end(store, settler, clock, newer, True, True)
    dispatcher.flush(bound_s=10)
    assert table.state() == "completed"
    end(store, settler, clock, older, False, False)
    dispatcher.flush(bound_s=10)
    assert [state for channel, state, _ in queued(store) if channel == "lead_status"] == ["sent", "sent"]
    assert table.state() == "completed"


def test_a_lead_that_the_table_does_not_have_is_no_error(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher
) -> None:
    batch_id = inbox.accept(REQUEST | {"lead_id": 99, "lead": {"name": "inline"}}).batch_id
    end(store, settler, clock, batch_id, True, True)
    dispatcher.flush(bound_s=10)
    assert ("lead_status", "sent", 1) in queued(store)


def test_who_has_overwritten_a_newer_status_writes_again(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, table: Table
) -> None:
    first = inbox.accept(REQUEST).batch_id
    end(store, settler, clock, first, False, False)
    clock.pass_s(1)
    second = inbox.accept(REQUEST).batch_id
    write = table.write_status

    def held_up(lead_id: str, status: BatchStatus, **more: Any) -> bool:
        table.write_status = write  # type: ignore[method-assign]
        end(store, settler, clock, second, True, True)
        other(story, timeout_s=10)
        assert table.state() == "completed"
        return write(lead_id, status, **more)

    with store.begin() as connection:
        story = Story(key="k", occasion="failed", reason="", batch=views.batch(connection, first))
    table.write_status, other = held_up, LeadStatus(store, table)  # type: ignore[method-assign]
    LeadStatus(store, table)(story, timeout_s=10)
    assert table.state() == "completed"


def test_while_the_newest_batch_is_under_way_the_lead_has_the_status_of_the_one_before(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock
) -> None:
    end(store, settler, clock, inbox.accept(REQUEST).batch_id, True, False)
    clock.pass_s(1)
    inbox.accept(REQUEST)
    with store.begin() as connection:
        newest = batches.newest_ended(connection, lead_id="7")
    assert newest is not None
    assert newest[0] is BatchStatus.PARTIAL


def reopen(store: Store, settler: Settler, batch_id: str) -> None:
    """A person clears the batch's failed deliveries in Airflow: they are being sent."""
    with store.begin() as connection:
        locked = opening.lock_of(connection, delivery_ids=[f"{batch_id}-0"])
        of_batch = update(deliveries).where(deliveries.c.batch_id == batch_id)
        connection.execute(of_batch.values(state=DeliveryState.SENDING))
        opening.open_all(connection, locked.values(), run_id=f"run-{batch_id}")
    settler.so_far([batch_id])


def test_a_status_that_a_batch_has_again_is_written_again(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher, table: Table
) -> None:
    batch_id = inbox.accept(REQUEST).batch_id
    end(store, settler, clock, batch_id, False, False)
    table.is_away = True
    dispatcher.flush(bound_s=10)
    clock.pass_s(60)
    reopen(store, settler, batch_id)
    table.is_away = False
    dispatcher.flush(bound_s=10)
    assert table.state() == "new", "it has none just now"
    clock.pass_s(60)
    end(store, settler, clock, batch_id, False, False)
    dispatcher.flush(bound_s=10)
    assert table.state() == "failed"


def test_of_two_batches_that_are_sent_again_the_newer_one_has_the_last_word(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher, table: Table
) -> None:
    older = inbox.accept(REQUEST).batch_id
    end(store, settler, clock, older, False, False)
    clock.pass_s(1)
    newer = inbox.accept(REQUEST).batch_id
    end(store, settler, clock, newer, False, False)
    dispatcher.flush(bound_s=10)
    for batch_id in (older, newer):
        clock.pass_s(1)
        reopen(store, settler, batch_id)
    end(store, settler, clock, older, True, True)
    dispatcher.flush(bound_s=10)
    assert table.state() == "completed"
    clock.pass_s(1)
    end(store, settler, clock, newer, False, False)
    dispatcher.flush(bound_s=10)
    assert table.state() == "failed"


def test_rows_that_can_never_be_written_hold_up_no_other_lead(
    inbox: Inbox, store: Store, settler: Settler, clock: StoppedClock, dispatcher: Dispatcher, table: Table
) -> None:
    table.run(f"INSERT INTO people VALUES {', '.join(f'({number}, 0, 0)' for number in range(101, 107))}")
    table.run(
        "CREATE TRIGGER no BEFORE UPDATE ON people WHEN NEW.nr > 100 BEGIN SELECT raise(ABORT, 'not this one'); END"
    )
    for lead_id in (101, 102, 103, 104, 105, 106, 7):
        end(store, settler, clock, inbox.accept(REQUEST | {"lead_id": lead_id}).batch_id, True, True)
    dispatcher.flush(bound_s=10)
    assert table.state(7) == "completed"
    assert table.state(101) == "0"


def test_a_lead_that_the_trigger_has_looked_up_is_not_kept_among_our_own(inbox: Inbox, store: Store) -> None:
    found = look_up(inbox.lead_source, "7")
    accepted = inbox.accept(REQUEST, lead=found)
    with store.begin() as connection:
        kept = connection.execute(select(batch_rows.c.lead).where(batch_rows.c.id == accepted.batch_id)).scalar_one()
        assert leads.find(connection, "7") is None
    assert kept["name"] == "Анна"
