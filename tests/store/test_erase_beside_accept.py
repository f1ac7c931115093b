"""A lead is erased in the very moment in which it is accepted once more: one of the two comes first, and nothing that
was there before the erasure is there after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from leadcast.control.cancel import Canceller
from leadcast.control.erase import Eraser, InAirflow, Report
from leadcast.control.retry import Retrier
from leadcast.core.clock import utc_now
from leadcast.core.ending import Ending
from leadcast.core.errors import CredentialsError, RejectedError, StoreError, TransientError
from leadcast.core.model import BatchStatus, Lead
from leadcast.core.request_errors import BatchErased, LeadNotFound, NothingToCancel, NothingToErase
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.settle import Settler
from leadcast.store.batches import leads as stored_leads
from leadcast.store.database import Store
from leadcast.store.erasing import erasures
from leadcast.store.schema import batches, leads
from tests.support.by_hand import chosen
from tests.support.planned import plan

from .conftest import Service, StoppedClock, waits_or_ends
from .mortal_store import Died, Place, Point, Process, dies
from .test_erase import Sender

pytestmark = pytest.mark.store

LEAD = {"name": "Needle Personov", "phone": "+79995551234"}
BODY: dict[str, Any] = {"lead_id": "person-1", "integrations": [{"type": "telegram"}]}
HANGS_S = 60
REFUSED = RejectedError("refused", code="refused")


@pytest.fixture
def sender(store: Store, settings: Settings, inbox: Inbox, deliverer: Deliverer, settler: Settler) -> Sender:
    return Sender(store, settings, inbox, deliverer, settler)


@pytest.fixture
def eraser(store: Store, settings: Settings, clock: StoppedClock) -> Eraser:
    return Eraser(store=store, settings=settings, clock=clock)


def kept(store: Store) -> list[tuple[str, bool]]:
    """Of each batch: its status, and whether it holds the lead."""
    with store.begin() as connection:
        found = connection.execute(select(batches.c.status, batches.c.lead)).all()
    return sorted((row.status, bool(row.lead)) for row in found)


@pytest.mark.parametrize("given", [{}, {"lead": LEAD}], ids=["stored", "inline"])
def test_what_is_just_being_accepted_is_waited_for_and_erased_too(
    store: Store, inbox: Inbox, eraser: Eraser, given: dict[str, Any]
) -> None:
    inbox.accept(BODY | {"lead": LEAD})

    def erase() -> None:
        asked = pool.submit(eraser.lead, "person-1", asked_by="tester", in_airflow=InAirflow())
        waits_or_ends(store, asked)
        erasing.append(asked)

    with ThreadPoolExecutor(1) as pool:
        erasing: list[Any] = []
        process = Process(store, Point(Place.UNCOMMITTED), erase)
        replace(inbox, store=process.store).accept(BODY | given)
        report = erasing[0].result(timeout=HANGS_S)
    assert kept(store) == [(BatchStatus.CANCELLED, False)] * 2
    assert report.erasure.done_at is not None
    assert "Needle" not in rows_of(store)


class OwnTable:
    """The user's own lead table. Something happens while it is asked."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def find(self, lead_id: str) -> Mapping[str, Any] | None:
        self._meanwhile()
        return LEAD


def test_what_was_read_of_an_own_table_before_the_erasure_is_not_accepted_after_it(
    store: Store, inbox: Inbox, eraser: Eraser
) -> None:
    inbox.accept(BODY | {"lead": LEAD})
    asked: list[object] = []

    def erase_once() -> None:
        if not asked:
            asked.append(eraser.lead("person-1", asked_by="tester", in_airflow=InAirflow()))

    from_table = replace(inbox, lead_source=OwnTable(erase_once))
    with pytest.raises(StoreError, match="erased"):
        from_table.accept(BODY)
    assert kept(store) == [(BatchStatus.CANCELLED, False)]
    assert "Needle" not in rows_of(store)
    from_table.accept(BODY)  # it is in the table still, and so it is another request after the erasure
    assert kept(store) == [(BatchStatus.CANCELLED, False), (BatchStatus.PENDING, True)]


def test_an_erasure_waits_for_what_is_accepted_from_an_own_table(store: Store, inbox: Inbox, eraser: Eraser) -> None:
    inbox.accept(BODY | {"lead": LEAD})

    def erase() -> None:
        asked = pool.submit(eraser.lead, "person-1", asked_by="tester", in_airflow=InAirflow())
        waits_or_ends(store, asked)
        erasing.append(asked)

    with ThreadPoolExecutor(1) as pool:
        erasing: list[Any] = []
        process = Process(store, Point(Place.UNCOMMITTED, 2), erase)  # the first one looks for erasures
        replace(inbox, store=process.store, lead_source=OwnTable(lambda: None)).accept(BODY)
        erasing[0].result(timeout=HANGS_S)
    assert kept(store) == [(BatchStatus.CANCELLED, False)] * 2
    assert "Needle" not in rows_of(store)


def beside(store: Store, work: Callable[[Store], object], eraser: Eraser, *, at: Point) -> Report:
    """Somebody does something with the store, and an erasure is asked for when he is at this point."""

    def erase() -> None:
        asked = pool.submit(ask, eraser)
        waits_or_ends(store, asked)
        erasing.append(asked)

    with ThreadPoolExecutor(1) as pool:
        erasing: list[Any] = []
        with suppress(LeadNotFound, BatchErased):
            work(Process(store, at, erase).store)
        report: Report = erasing[0].result(timeout=HANGS_S)
    return report


def ask(eraser: Eraser, **in_airflow: Any) -> Report:
    return eraser.lead("person-1", asked_by="tester", in_airflow=InAirflow(**in_airflow))


def rows_of(store: Store) -> str:
    with store.begin() as connection:
        return str([connection.execute(select(table)).all() for table in (batches, leads)])


POINTS = [Point(place, number) for number in (1, 2) for place in (Place.BEFORE, Place.UNCOMMITTED, Place.AFTER)]


@pytest.mark.parametrize("at", POINTS[:3], ids=str)
@pytest.mark.parametrize("is_again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("way", ["inline", "put"])
def test_a_lead_that_is_just_coming_for_the_first_time_comes_before_or_after_and_not_beside(
    store: Store, inbox: Inbox, eraser: Eraser, at: Point, is_again: bool, way: str
) -> None:
    def come(beside: Store) -> None:
        if way == "inline":
            replace(inbox, store=beside).accept(BODY | {"lead": LEAD})
            return
        with beside.begin() as connection:
            stored_leads.put(connection, Lead(id="person-1", name="Needle Personov"))

    if is_again:
        inbox.accept(BODY | {"lead": LEAD})
        ask(eraser)
    comes_first = at.place is not Place.BEFORE
    if not is_again and not comes_first:
        with pytest.raises(NothingToErase):
            beside(store, come, eraser, at=at)
    else:
        assert beside(store, come, eraser, at=at).erasure.done_at is not None
    assert ("Needle" in rows_of(store)) is not comes_first


SENT_SO = {
    "retry": REFUSED,
    "retry_leads": CredentialsError("The service does not take the token (401).", code="401"),
    "settle": REFUSED,
    "cancel": TransientError("away", code="away"),
}
"""What its deliveries were answered before: they have ended, or one may come again soon and can be cancelled."""


@pytest.mark.parametrize("at", POINTS, ids=str)
@pytest.mark.parametrize("what", ["plan", *SENT_SO])
def test_whatever_is_done_with_its_batches_meanwhile_nothing_of_it_is_left_or_sent(
    store: Store, settings: Settings, sender: Sender, eraser: Eraser, what: str, at: Point
) -> None:
    clock, batch_id = eraser.clock, sender.accept()
    if what != "plan":
        run_id, service = sender.plan(), Service(answers=[SENT_SO[what]] * 2)
        for index in range(2):
            sender.send(batch_id, service, run_id=run_id, index=index)
        if what != "settle":
            sender.settler.wave(run_id, Ending())

    def act(beside: Store) -> object:
        if what == "plan":
            return plan(beside, settings, run_id="beside", clock=clock)
        if what == "settle":
            return replace(sender.settler, store=beside).wave("run-1", Ending())
        if what == "cancel":
            with suppress(NothingToCancel):
                Canceller(store=beside, settings=settings, clock=clock).batch(batch_id)
            return None
        retrier = Retrier(store=beside, settings=settings, clock=clock)
        if what == "retry":
            return retrier.batch(batch_id)
        day = timedelta(days=1)
        return retrier.window(since=clock() - day, until=clock() + day, action=chosen(clock))

    passed: list[object] = []

    def erase() -> None:
        passed.append(pool.submit(ask, eraser))
        waits_or_ends(store, passed[0])  # type: ignore[arg-type]

    with ThreadPoolExecutor(1) as pool:
        with suppress(BatchErased):
            act(Process(store, at, erase).store)
        if not passed:
            passed.append(pool.submit(ask, eraser))
        report: Report = passed[0].result(timeout=HANGS_S)  # type: ignore[attr-defined]
    assert report.erasure.done_at is not None
    assert "Needle" not in rows_of(store)
    service, run_id = Service(), sender.plan()
    for run in ("beside", run_id):
        sender.send(batch_id, service, run_id=run)
    assert service.got == []
    assert "Needle" not in rows_of(store)


def test_a_run_that_is_older_than_the_erasure_and_was_not_found_brings_nothing_back(
    store: Store, inbox: Inbox, sender: Sender, eraser: Eraser
) -> None:
    made_at = utc_now()
    inbox.accept(BODY | {"lead": LEAD})
    assert ask(eraser).erasure.done_at is not None
    more: dict[str, Any] = {"caller": "dag_run", "made_at": made_at}
    old = inbox.accept(BODY | {"lead": LEAD}, idempotency_key="old", run_id="old", **more).batch_id
    service = Service()
    sender.plan()
    sender.send(old, service, run_id="run-1")
    assert service.got == []
    (report,) = eraser.go_on()
    assert report.erasure.done_at is not None
    assert len(kept(store)) == 2
    assert "Needle" not in rows_of(store)


@pytest.mark.parametrize("is_found", [False, True], ids=["older", "found"])
@pytest.mark.parametrize("body", [BODY, BODY | {"lead": LEAD}], ids=["by its id", "with the lead"])
def test_what_was_stored_anew_since_is_not_replaced_by_an_old_run(
    store: Store, inbox: Inbox, eraser: Eraser, body: dict[str, Any], is_found: bool
) -> None:
    made_at = utc_now() + (timedelta(minutes=5) if is_found else -timedelta(minutes=5))
    inbox.accept(BODY | {"lead": LEAD})
    ask(eraser, left={"old": "It runs."} if is_found else {})
    with store.begin() as connection:
        stored_leads.put(connection, Lead(id="person-1", name="Anew"), stored_by="ann")
    inbox.accept(body, run_id="old", made_at=made_at, sent_by="bob")
    eraser.go_on()
    with store.begin() as connection:
        rows = connection.execute(select(leads.c.data, leads.c.stored_by)).all()
    assert [(row.data["name"], row.stored_by) for row in rows] == [("Anew", "ann")]
    assert "Needle" not in rows_of(store)
    assert not any(holds for _, holds in kept(store))


def test_a_repeated_request_brings_back_nothing_that_was_erased_meanwhile(
    store: Store, inbox: Inbox, eraser: Eraser, clock: StoppedClock
) -> None:
    def same_comes_first_and_is_to_be_erased() -> None:
        inbox.accept(BODY | {"lead": LEAD}, idempotency_key="order-1")
        with store.begin() as connection:
            erasures.ask(connection, "person-1", asked_by="", erased_elsewhere={}, runs=[], now=clock())

    process = Process(store, Point(Place.AFTER, 1), same_comes_first_and_is_to_be_erased)
    answer = replace(inbox, store=process.store).accept(BODY | {"lead": LEAD}, idempotency_key="order-1")
    assert answer.repeated
    (report,) = eraser.go_on()
    assert report.erasure.done_at is not None
    assert "Needle" not in rows_of(store)


def test_a_run_that_was_made_after_the_erasure_is_a_new_request(store: Store, inbox: Inbox, eraser: Eraser) -> None:
    inbox.accept(BODY | {"lead": LEAD})
    ask(eraser)
    inbox.accept(BODY | {"lead": LEAD}, idempotency_key="new", caller="dag_run", run_id="new", made_at=utc_now())
    assert (BatchStatus.PENDING, True) in kept(store)
    assert eraser.open_ones() == []


def test_two_at_once_are_one(store: Store, inbox: Inbox, eraser: Eraser) -> None:
    inbox.accept(BODY | {"lead": LEAD})
    for point in (Point(place, number) for number in range(1, 5) for place in (Place.UNCOMMITTED, Place.AFTER)):
        inbox.accept(BODY | {"lead": LEAD})
        reports = [beside(store, lambda beside: ask(replace(eraser, store=beside)), eraser, at=point), ask(eraser)]
        assert all(report.erasure.done_at is not None for report in reports)
        assert "Needle" not in rows_of(store)
    # each batch and lead was counted by one of them
    assert (reports[-1].erasure.erased["batches"], reports[-1].erasure.erased["leads"]) == (9, 8)


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("place", [Place.BEFORE, Place.UNCOMMITTED, Place.AFTER])
def test_one_that_is_killed_is_gone_on_with_or_was_never_asked_for(
    store: Store, inbox: Inbox, eraser: Eraser, place: Place, number: int
) -> None:
    inbox.accept(BODY | {"lead": LEAD})
    with suppress(Died):
        ask(replace(eraser, store=Process(store, Point(place, number), dies).store))
    eraser.go_on()
    is_asked = place is Place.AFTER or number > 1
    assert ("Needle" in rows_of(store)) is not is_asked
    with store.begin() as connection:
        found = erasures.find(connection, "person-1")
    assert (found is not None and found.done_at is not None) is is_asked
