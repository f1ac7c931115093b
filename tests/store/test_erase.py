"""Personal data goes, on request and after a time; what remains are ids, statuses, times and counts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from leadcast.control import erase as erase_module
from leadcast.control.erase import Eraser, InAirflow, Report
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, CredentialsError, RejectedError, TransientError
from leadcast.core.model import AttemptOutcome, BatchStatus, DeliveryState, Lead, Receipt
from leadcast.core.request_errors import BatchErased, IdempotencyConflict, LeadNotFound, NothingToErase
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Call
from leadcast.store import outbox
from leadcast.store.accounts import circuits
from leadcast.store.batches import leads, ledger, views
from leadcast.store.database import Store
from leadcast.store.erasing import erasures
from leadcast.store.schema import batches, metadata
from leadcast.store.schema import leads as leads_table
from tests.support.by_hand import by_hand
from tests.support.leases import dead, living
from tests.support.planned import plan

from .conftest import Service, StoppedClock, waits_or_ends
from .mortal_store import Place, Point, Process

pytestmark = pytest.mark.store
D, S = DeliveryState, BatchStatus

NEEDLES = (
    "Needle Personov",
    "+79995551234",
    "needle@person.example",
    "NeedleCompany",
    "needle comment",
    "needle-utm",
    "needle-custom",
    "needle-note",
    "needle_setting",
    "needle_chat",
    "needle-token",
    "needle-hook",
    "needle-external",
    "needle-receipt",
    "needle-words",
    "needle-kept",
)
LEAD = {
    "name": "Needle Personov",
    "phone": "+79995551234",
    "email": "needle@person.example",
    "company": "NeedleCompany",
    "comment": "needle comment",
    "utm": {"utm_source": "needle-utm"},
    # this one is mended, and a note names it
    "custom": {"city": "needle-custom", "needle-note": ["1"]},
}
BODY: dict[str, Any] = {
    "lead_id": "person-1",
    "lead": LEAD,
    "integrations": [{"type": "telegram", "settings": {"chat_id": "@needle_chat"}}, {"type": "amocrm"}],
    "credentials": {"telegram": {"bot_token": "700:needle-token"}},
    "callback_url": "https://example.com/needle-hook",
}
RECEIPT = Receipt(external_id="needle-external", detail={"to": "needle-receipt"})
WORDS = "it says needle-words"
REFUSED = RejectedError(WORDS, code="needle-words", detail=WORDS)
NO_RIGHT = CredentialsError(WORDS, code="needle-words", detail=WORDS)


class Sender:
    """Accepts leads, and sends and settles them as runs do."""

    def __init__(self, store: Store, settings: Settings, inbox: Inbox, deliverer: Deliverer, settler: Settler) -> None:
        self.store, self.settings, self.inbox, self.deliverer, self.settler = store, settings, inbox, deliverer, settler
        self.runs = 0

    def accept(self, key: str | None = None, **more: Any) -> str:
        return self.inbox.accept({**BODY, **more}, idempotency_key=key).batch_id

    def plan(self) -> str:
        self.runs += 1
        run_id = f"run-{self.runs}"
        plan(self.store, self.settings, run_id=run_id, clock=self.deliverer.clock)
        return run_id

    def send(self, batch_id: str, service: Service, *, run_id: str, index: int = 0) -> None:
        with suppress(AttemptFailed):
            self.deliverer.deliver(
                f"{batch_id}-{index}",
                integration=service,
                last_in_run=True,
                action=by_hand(self.deliverer),
                run_id=run_id,
            )

    def through(self, *answers: Receipt | BaseException, **more: Any) -> str:
        """One batch from the door to its status; its two deliveries get these answers."""
        batch_id, run_id = self.accept(**more), self.plan()
        service = Service(answers=list(answers))
        for index in range(2):
            self.send(batch_id, service, run_id=run_id, index=index)
        self.settler.wave(run_id, Ending())
        return batch_id

    def batch(self, batch_id: str) -> views.BatchView:
        with self.store.begin() as connection:
            found = views.batch(connection, batch_id)
        assert found is not None
        return found


@pytest.fixture
def settings() -> Settings:
    return Settings(notify_emails=("sales@example.com",), keep_leads_days=30)


@pytest.fixture
def sender(store: Store, settings: Settings, inbox: Inbox, deliverer: Deliverer, settler: Settler) -> Sender:
    return Sender(store, settings, inbox, deliverer, settler)


@pytest.fixture
def eraser(store: Store, settings: Settings, clock: StoppedClock) -> Eraser:
    return Eraser(store=store, settings=settings, clock=clock)


def ask(eraser: Eraser, lead_id: str = "person-1", **in_airflow: Any) -> Report:
    return eraser.lead(lead_id, asked_by="officer", in_airflow=InAirflow(**in_airflow))


def everything(store: Store) -> str:
    """All that the store holds, sealed texts opened."""

    def opened(word: str) -> str:
        return store.sealer._fernet.decrypt(word).decode() if word.startswith("gAAAA") else word

    def rows() -> Iterator[str]:
        with store.begin() as connection:
            for table in metadata.sorted_tables:
                for row in connection.execute(table.select()):
                    yield " ".join(opened(str(value)) for value in row)

    return "\n".join(rows())


def found_in(store: Store) -> list[str]:
    held = everything(store)
    return [needle for needle in NEEDLES if needle in held]


def test_the_needles_are_there_to_be_found(store: Store, sender: Sender) -> None:
    sender.through(RECEIPT, REFUSED)
    assert set(found_in(store)) >= set(NEEDLES) - {"needle_setting", "needle-kept"}


# --- on request


def test_of_a_person_nothing_is_left_but_ids(store: Store, sender: Sender, eraser: Eraser) -> None:
    def keeps(call: Call) -> None:
        call.keep({"so far": "needle-kept"})

    first = sender.accept(integrations=[{"type": "telegram", "settings": {"chat_id": "@needle_setting"}}])
    run_id, service = sender.plan(), Service(answers=[NO_RIGHT])
    service.while_sending = lambda: keeps(service.got[-1])
    sender.send(first, service, run_id=run_id)
    sender.settler.wave(run_id, Ending())
    second = sender.through(RECEIPT, REFUSED)
    assert set(found_in(store)) == set(NEEDLES)
    report = ask(eraser)
    assert found_in(store) == []
    assert report.erasure.done_at is not None
    assert report.sending == []
    with store.begin() as connection:
        assert leads.find(connection, "person-1") is None
    kept = sender.batch(second)
    assert (kept.status, [item.state for item in kept.deliveries]) == (S.PARTIAL, [D.DELIVERED, D.FAILED])
    assert [item.attempts for item in kept.deliveries] == [1, 1]
    assert kept.finished_at is not None
    assert kept.is_erased


def test_what_was_said_of_an_account_is_erased_with_the_lead_it_was_said_about(
    store: Store, sender: Sender, eraser: Eraser
) -> None:
    quick = sender.settings.model_copy(update={"circuit_failures": 1})
    sender.deliverer = replace(sender.deliverer, settings=quick)
    sender.through(NO_RIGHT, RECEIPT)
    ask(eraser)
    assert found_in(store) == []
    with store.begin() as connection:
        told = connection.execute(text("SELECT payload FROM notifications WHERE batch_id IS NULL")).scalars().all()
        assert [circuit.reason for circuit in circuits.listing(connection)] == ["Erased."]
    assert told == [{"reason": "Erased."}]


def test_a_service_that_repeats_the_lead_does_not_bring_it_into_error_or_log(
    sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    batch_id = sender.through(RejectedError("No mailbox needle@person.example", detail="+79995551234"), RECEIPT)
    error = sender.batch(batch_id).deliveries[0].error
    assert error is not None
    assert (error["message"], error["detail"]) == ("No mailbox ***", "***")
    assert "needle@" not in capsys.readouterr().out


def test_the_report_says_how_many_rows_held_something(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, REFUSED)
    erased = ask(eraser, erased={"runs": 2}).erasure.erased
    assert {kind: erased[kind] for kind in ("leads", "batches", "deliveries", "attempts", "runs", "callbacks")} == {
        "leads": 1,
        "batches": 1,
        "deliveries": 2,
        "attempts": 1,
        "runs": 2,
        "callbacks": 1,
    }


def test_asked_for_again_it_is_the_same_report(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, REFUSED)
    assert ask(eraser).erasure.erased == ask(eraser).erasure.erased


def test_who_asked_first_and_when_stays_on_record(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, REFUSED)
    first = ask(eraser).erasure
    assert eraser.lead("person-1", asked_by="another", in_airflow=InAirflow()).erasure == first
    sender.through(RECEIPT, REFUSED)
    again = eraser.lead("person-1", asked_by="another", in_airflow=InAirflow()).erasure
    assert (again.asked_by, again.asked_at > first.asked_at) == ("another", True), "another request was sent since"
    assert again.erased["batches"] == first.erased["batches"] + 1


def test_asked_again_a_run_that_is_gone_is_left_no_longer(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, REFUSED)
    first = ask(eraser, left={"manual-1": "It runs."}).erasure
    assert first.done_at is None
    again = eraser.lead("person-1", asked_by="another", in_airflow=InAirflow()).erasure
    assert (again.asked_at, again.asked_by, again.runs) == (first.asked_at, "officer", [])
    assert again.done_at is not None


def test_where_not_all_was_looked_at_it_is_asked_for_anew(sender: Sender, eraser: Eraser) -> None:
    """Something that came since may be among it."""
    sender.through(RECEIPT, REFUSED)
    first = ask(eraser).erasure
    again = ask(eraser, left=None).erasure
    assert again.asked_at > first.asked_at
    assert again.done_at is None


def test_a_lead_that_nobody_knows_is_said_to_be_unknown(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, RECEIPT)
    with pytest.raises(NothingToErase, match="person-2"):
        ask(eraser, "person-2")
    assert eraser.open_ones() == []


def test_other_leads_keep_all(store: Store, sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, REFUSED)
    other = sender.through(RECEIPT, REFUSED, lead_id="person-2")
    ask(eraser)
    assert set(found_in(store)) >= {"Needle Personov", "needle-external", "needle-words", "needle-token"}
    assert not sender.batch(other).is_erased


def test_what_waits_is_cancelled_and_never_sent(sender: Sender, eraser: Eraser, store: Store) -> None:
    batch_id = sender.accept()
    report = ask(eraser)
    assert (sender.batch(batch_id).status, report.erasure.done_at is not None) == (S.CANCELLED, True)
    service = Service()
    run_id = sender.plan()
    sender.send(batch_id, service, run_id=run_id)
    assert service.got == []
    assert found_in(store) == []


def test_what_has_ended_and_is_not_settled_yet_gets_its_status_first(
    store: Store, sender: Sender, eraser: Eraser
) -> None:
    batch_id, run_id, service = sender.accept(), sender.plan(), Service(answers=[RECEIPT, REFUSED])
    for index in range(2):
        sender.send(batch_id, service, run_id=run_id, index=index)
    assert ask(eraser).erasure.done_at is not None
    assert (sender.batch(batch_id).status, found_in(store)) == (S.PARTIAL, [])


def test_an_attempt_that_has_begun_a_moment_before_is_waited_for_and_goes_out(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    batch_id = sender.through(REFUSED, REFUSED)
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as connection:
            begun = ledger.begin(connection, f"{batch_id}-0", lease=living(store), now=clock())
            asking = pool.submit(ask, eraser)
            waits_or_ends(store, asking)
        report = asking.result(timeout=30)
    assert begun is not None
    assert (begun.is_erased, report.sending) == (False, [batch_id])


def test_what_is_just_being_sent_is_erased_in_the_moment_it_ends(store: Store, sender: Sender, eraser: Eraser) -> None:
    batch_id, run_id = sender.accept(), sender.plan()
    asked: list[Report] = []
    service = Service(answers=[RECEIPT], while_sending=lambda: asked.append(ask(eraser)))
    sender.send(batch_id, service, run_id=run_id)
    assert (asked[0].sending, asked[0].erasure.done_at) == ([batch_id], None)
    # as the task does that has sent the last of them
    sender.settler.so_far([batch_id])
    assert found_in(store) == []
    assert sender.batch(batch_id).status is S.PARTIAL
    (report,) = eraser.go_on()
    assert (report.erasure.done_at is not None, eraser.go_on()) == (True, [])


def test_a_failure_after_it_was_asked_for_is_not_tried_again(store: Store, sender: Sender, eraser: Eraser) -> None:
    batch_id, run_id = sender.accept(), sender.plan()
    service = Service(answers=[TransientError(WORDS)], while_sending=lambda: ask(eraser))
    with suppress(AttemptFailed):
        sender.deliverer.deliver(
            f"{batch_id}-0", integration=service, last_in_run=False, action=by_hand(sender.deliverer), run_id=run_id
        )
    sender.settler.so_far([batch_id])
    assert sender.batch(batch_id).status is S.CANCELLED
    assert found_in(store) == []


def test_the_task_of_an_erased_batch_sends_nothing_when_it_is_cleared(
    store: Store, sender: Sender, eraser: Eraser
) -> None:
    batch_id = sender.through(REFUSED, REFUSED)
    ask(eraser)
    service = Service()
    with pytest.raises(AttemptFailed, match="erased"):
        sender.deliverer.deliver(
            f"{batch_id}-0", integration=service, last_in_run=True, action=by_hand(sender.deliverer), run_id="run-1"
        )
    sender.settler.so_far([batch_id])
    assert (service.got, found_in(store)) == ([], [])
    with pytest.raises(BatchErased):
        Retrier(store=store, settings=sender.settings).batch(batch_id)


def test_erased_between_the_look_and_the_attempt_nothing_is_sent(store: Store, sender: Sender, eraser: Eraser) -> None:
    """A person has cleared a failed delivery's task, and the attempt waits for its turn meanwhile."""
    batch_id = sender.through(REFUSED, REFUSED)
    process = Process(store, Point(Place.AFTER, 1), lambda: ask(eraser))
    deliverer = replace(sender.deliverer, store=process.store)
    service = Service()
    with pytest.raises(AttemptFailed, match="has been erased"):
        deliverer.deliver(
            f"{batch_id}-0", integration=service, last_in_run=True, action=by_hand(deliverer), run_id="run-1"
        )
    sender.settler.so_far([batch_id])
    assert (service.got, found_in(store)) == ([], [])


def test_an_attempt_that_begins_while_it_is_erased_waits_and_then_sends_nothing(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    batch_id = sender.through(REFUSED, REFUSED)

    def begin() -> ledger.Begun | None:
        with store.begin() as connection:
            return ledger.begin(connection, f"{batch_id}-0", lease=living(store), now=clock())

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as connection:
            erasures.ask(connection, "person-1", asked_by="", erased_elsewhere={}, runs=[], now=clock())
            erasures.erase(connection, "person-1", [batch_id], now=clock())
            beginning = pool.submit(begin)
            waits_or_ends(store, beginning)
        begun = beginning.result(timeout=30)
    assert begun is not None
    assert begun.is_erased


def test_what_an_attempt_that_was_taken_for_dead_writes_later_is_erased_as_well(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    batch_id, run_id = sender.accept(), sender.plan()
    with store.begin() as connection:
        begun = ledger.begin(connection, f"{batch_id}-0", lease=dead(store), now=clock())
    assert begun is not None
    sender.settler.wave(run_id, Ending())
    ask(eraser)
    assert found_in(store) == []
    clock.pass_s(5)
    ended = ledger.Ended(state=D.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=RECEIPT)
    with store.begin() as connection:
        ledger.end(connection, begun, ended, now=clock())
    assert found_in(store) == ["needle-external", "needle-receipt"]
    eraser.old()
    assert found_in(store) == []


def test_the_request_is_on_record_before_anything_else_and_the_sweep_goes_on_with_it(
    store: Store, sender: Sender, eraser: Eraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, done = sender.accept(), sender.through(RECEIPT, REFUSED)

    class Killed(BaseException):
        pass

    def dies(*arguments: Any) -> None:
        raise Killed

    for step in ("_cancel", "_erase"):
        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(Eraser, step, dies)
            ask(eraser)
    assert [erasure.lead_id for erasure in eraser.open_ones()] == ["person-1"]
    eraser.go_on()
    assert (found_in(store), eraser.open_ones()) == ([], [])
    assert [sender.batch(batch_id).is_erased for batch_id in (waiting, done)] == [True, True]


def test_in_small_steps_that_may_break_off_anywhere(
    store: Store, sender: Sender, eraser: Eraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_module, "AT_ONCE", 1)
    for _ in range(3):
        sender.through(RECEIPT, REFUSED)
    erase, calls = erasures.erase, iter(range(10))

    def breaks(*arguments: Any, **more: Any) -> None:
        if next(calls) == 1:
            raise ConnectionError
        erase(*arguments, **more)

    monkeypatch.setattr(erasures, "erase", breaks)
    with pytest.raises(ConnectionError):
        ask(eraser)
    (report,) = eraser.go_on()
    assert (found_in(store), report.erasure.erased["batches"]) == ([], 3)


def test_a_run_that_still_holds_the_lead_keeps_it_open_and_what_it_brings_is_erased(
    store: Store, sender: Sender, eraser: Eraser
) -> None:
    stored = sender.through(RECEIPT, RECEIPT)
    ask(eraser, left={"manual-1": "It runs (409)."})
    late = sender.inbox.accept(BODY, idempotency_key="manual-1", caller="dag_run", run_id="manual-1").batch_id
    other = sender.accept()
    (report,) = eraser.go_on()
    assert (report.erasure.runs, report.erasure.done_at) == (["manual-1"], None)
    assert [sender.batch(batch_id).is_erased for batch_id in (stored, late, other)] == [True, True, False]
    eraser.in_airflow("person-1", InAirflow(erased={"runs": 1}))
    (report,) = eraser.go_on()
    assert report.erasure.done_at is not None
    assert report.erasure.erased["runs"] == 1


def test_it_is_not_done_while_nobody_could_look_for_runs(sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, RECEIPT)
    assert ask(eraser, left=None).erasure.done_at is None
    assert ask(eraser).erasure.done_at is not None


def test_people_are_still_told_and_callers_are_not(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    sender.through(REFUSED, REFUSED)
    ask(eraser)
    with store.begin() as connection:
        found = connection.execute(text("SELECT channel, state FROM notifications WHERE batch_id IS NOT NULL"))
        states: dict[str, str] = dict(found.tuples().all())
        troubles = outbox.troubles(connection, now=clock())
    assert (states["email"], states["callback_url"]) == ("pending", "erased")
    assert troubles == []


def test_the_same_request_is_not_sent_again_after_it(sender: Sender, eraser: Eraser) -> None:
    sender.accept(key="order-1")
    ask(eraser)
    with pytest.raises(IdempotencyConflict):
        sender.accept(key="order-1")


def test_a_lead_that_is_stored_again_is_a_new_one(store: Store, sender: Sender, eraser: Eraser) -> None:
    sender.through(RECEIPT, RECEIPT)
    ask(eraser)
    batch_id = sender.through(RECEIPT, RECEIPT)
    eraser.go_on()
    eraser.old()
    assert not sender.batch(batch_id).is_erased


def test_two_who_ask_at_once_and_a_wave_that_settles_do_not_block_each_other(
    store: Store, sender: Sender, eraser: Eraser
) -> None:
    ids = [sender.accept() for _ in range(8)]
    run_id = sender.plan()
    service = Service()
    with ThreadPoolExecutor(4) as pool:
        sends = [pool.submit(sender.send, batch_id, service, run_id=run_id) for batch_id in ids]
        asks = [pool.submit(ask, eraser) for _ in range(2)]
        settles = pool.submit(sender.settler.wave, run_id, Ending())
        futures: list[Future[Any]] = [*sends, *asks, settles]
        for future in futures:
            future.result(timeout=60)
    eraser.go_on()
    assert (found_in(store), eraser.open_ones()) == ([], [])


# --- after a time


def age(store: Store, clock: StoppedClock, *, days: float) -> None:
    """Time passes; the stored lead was stored when the clock stood where it does now."""
    with store.begin() as connection:
        connection.execute(update(leads_table).values(updated_at=clock()))
        connection.execute(text("UPDATE notifications SET state = 'sent', created_at = :now"), {"now": clock()})
        connection.execute(text("UPDATE circuits SET updated_at = :now"), {"now": clock()})
    clock.pass_s(days * 86400)


def test_what_is_old_loses_its_personal_data_and_keeps_what_counts(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    batch_id = sender.through(RECEIPT, NO_RIGHT)
    age(store, clock, days=31)
    assert eraser.count_old() == {"leads": 1, "batches": 1}
    erased = eraser.old()
    assert (erased.leads, erased.batches) == (1, 1)
    assert found_in(store) == ["needle-external"]
    kept = sender.batch(batch_id)
    assert (kept.status, kept.counters.delivered, kept.counters.failed) == (S.PARTIAL, 1, 1)
    assert kept.deliveries[0].receipt is not None
    assert kept.deliveries[0].receipt["external_id"] == "needle-external"
    assert (eraser.count_old(), eraser.old().batches) == ({"leads": 0, "batches": 0}, 0)


def test_who_asks_later_has_the_ids_that_services_gave_erased_too(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    sender.through(RECEIPT, REFUSED)
    age(store, clock, days=31)
    eraser.old()
    ask(eraser)
    assert found_in(store) == []


def test_what_is_not_old_enough_stays(store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock) -> None:
    sender.through(RECEIPT, REFUSED)
    age(store, clock, days=29)
    assert (eraser.count_old(), eraser.old().batches) == ({"leads": 0, "batches": 0}, 0)
    assert "Needle Personov" in found_in(store)


def test_a_lead_that_was_sent_again_since_stays_and_its_old_batch_does_not(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    old = sender.through(RECEIPT, RECEIPT)
    age(store, clock, days=31)
    new = sender.accept()
    with store.begin() as connection:
        connection.execute(update(leads_table).values(updated_at=clock() - timedelta(days=31)))
    assert eraser.old().leads == 0
    assert [sender.batch(batch_id).is_erased for batch_id in (old, new)] == [True, False]


def test_what_has_not_ended_is_never_erased_however_old(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    cleared = sender.through(REFUSED, REFUSED)
    untold = sender.through(RECEIPT, RECEIPT)
    waiting = sender.accept()
    age(store, clock, days=400)
    with store.begin() as connection:
        ledger.begin(connection, f"{cleared}-0", lease=living(store), now=clock())
        connection.execute(text("UPDATE notifications SET state = 'pending' WHERE batch_id = :id"), {"id": untold})
    assert (eraser.count_old()["batches"], eraser.old().batches) == (0, 0)
    assert not any(sender.batch(batch_id).is_erased for batch_id in (waiting, cleared, untold))


def test_a_batch_that_somebody_works_on_is_left_for_the_next_time(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    locked, free = sender.through(RECEIPT, REFUSED), sender.through(RECEIPT, REFUSED)
    age(store, clock, days=31)
    with store.begin() as connection:
        connection.execute(batches.select().where(batches.c.id == locked).with_for_update())
        assert eraser.old().batches == 1
        assert sender.batch(free).is_erased
    assert eraser.old().batches == 1


def test_zero_days_keeps_all(store: Store, sender: Sender, clock: StoppedClock) -> None:
    sender.through(RECEIPT, REFUSED)
    age(store, clock, days=4000)
    keeper = Eraser(store=store, settings=Settings(keep_leads_days=0), clock=clock)
    assert (keeper.count_old(), keeper.old().batches) == ({"leads": 0, "batches": 0}, 0)
    assert "Needle Personov" in found_in(store)


def test_a_walk_in_small_steps_passes_over_all_of_it(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_module, "AT_ONCE", 2)
    for number in range(5):
        sender.through(RECEIPT, REFUSED, lead_id=f"person-{number}")
        clock.pass_s(1)
    age(store, clock, days=31)
    steps: list[int] = []
    eraser.old(advance=steps.append)
    assert (sum(steps), max(steps)) == (10, 2)
    assert found_in(store) == ["needle-external"]


def test_an_erased_lead_must_be_sent_with_its_data(
    store: Store, sender: Sender, eraser: Eraser, clock: StoppedClock
) -> None:
    sender.through(RECEIPT, RECEIPT)
    age(store, clock, days=31)
    eraser.old()
    with pytest.raises(LeadNotFound):
        sender.inbox.accept({"lead_id": "person-1", "integrations": BODY["integrations"]})


def test_a_lead_that_was_only_stored_goes_as_well(store: Store, eraser: Eraser, clock: StoppedClock) -> None:
    with store.begin() as connection:
        leads.put(connection, Lead(id="person-1", name="Needle Personov"))
    age(store, clock, days=31)
    assert eraser.old().leads == 1
    assert found_in(store) == []


def test_who_cannot_look_at_the_audit_log_does_not_say_that_nothing_is_left_there(
    sender: Sender, eraser: Eraser
) -> None:
    sender.through(RECEIPT, REFUSED)
    assert ask(eraser, audit_log_left=True).erasure.done_at is None
    eraser.in_airflow("person-1", InAirflow(erased={"runs": 0}, audit_log_left=None))
    (report,) = eraser.go_on()
    assert report.erasure.done_at is None
    eraser.in_airflow("person-1", InAirflow(erased={"audit_log_rows": 1}))
    (report,) = eraser.go_on()
    assert report.erasure.done_at is not None
