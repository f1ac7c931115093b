"""Who sends a delivery holds it by a lease: a process that vanishes, freezes or comes back late does no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from leadcast.control.retry import Retrier
from leadcast.core.clock import utc_now
from leadcast.core.ending import Ending
from leadcast.core.errors import LEASE_OVER, AttemptFailed, RejectedError, TransientError
from leadcast.core.model import AttemptOutcome, BatchStatus, DeliveryState, Receipt
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import take_over
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from leadcast.store.lease import Lease, forget_old
from leadcast.store.schema import attempts, batches, deliveries, workers
from tests.support.leases import age, dead, held, living
from tests.support.planned import plan

from .conftest import Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
LEASE_S = 30


@pytest.fixture
def delivery_id(accept: Accept, store: Store, settler: Settler, clock: StoppedClock) -> str:
    batch_id = accept("telegram").batch_id
    plan(store, settler.settings, run_id="w", clock=clock)
    return f"{batch_id}-0"


def row(store: Store, delivery_id: str) -> Any:
    with store.begin() as connection:
        return connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()


def outcomes(store: Store, delivery_id: str) -> list[str]:
    with store.begin() as connection:
        query = select(attempts.c.outcome).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number)
        return list(connection.execute(query).scalars())


def begin(store: Store, delivery_id: str, lease: Lease) -> ledger.Begun:
    with store.begin() as connection:
        begun = ledger.begin(connection, delivery_id, lease=lease, now=utc_now())
    assert begun is not None
    return begun


def end(store: Store, begun: ledger.Begun, state: DeliveryState, **more: Any) -> DeliveryState:
    outcome = AttemptOutcome.DELIVERED if state is D.DELIVERED else AttemptOutcome.TRANSIENT
    ended = ledger.Ended(state=state, outcome=outcome, **more)
    with store.begin() as connection:
        return ledger.end(connection, begun, ended, now=utc_now(), run_id="w")


def deliver(deliverer: Deliverer, delivery_id: str, service: Service, *, last: bool = False) -> Receipt | AttemptFailed:
    try:
        receipt = deliverer.deliver(delivery_id, integration=service, last_in_run=last, run_id="w")
    except AttemptFailed as failed:
        return failed
    assert receipt is not None
    return receipt


class Watch:
    """The clock of one process. It goes only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


# I1: nothing goes out without a lease that still runs


def test_a_process_that_was_frozen_before_its_call_does_not_send(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    watch = Watch()
    frozen = replace(deliverer, new_lease=lambda store, **its: Lease(store, **its, clock=watch))
    service = Service()

    def sends() -> None:
        watch.seconds += LEASE_S
        service.got[-1].pace()
        raise AssertionError("it went out")

    service.while_sending = sends
    failed = deliver(frozen, delivery_id, service)
    assert isinstance(failed, AttemptFailed)
    assert failed.error.code == LEASE_OVER
    found = row(store, delivery_id)
    assert (found.state, found.in_doubt, found.tries) == (D.RETRYING, False, 0)


def test_the_last_third_of_a_lease_is_for_what_is_on_its_way(store: Store, delivery_id: str) -> None:
    watch = Watch()
    lease = Lease(store, name="w", lease_s=LEASE_S, clock=watch)
    with pytest.raises(TransientError):
        lease.check()  # it has none yet
    begin(store, delivery_id, lease)
    watch.seconds += LEASE_S * 2 / 3 - 0.1
    lease.check()
    watch.seconds += 0.2
    with pytest.raises(TransientError, match="sent nothing more"):
        lease.check()
    lease.renew()
    lease.check()


def test_its_time_counts_from_before_the_store_was_asked(store: Store, delivery_id: str) -> None:
    """A store that takes long to answer gives nothing away."""
    moments = iter([0.0, 25.0])
    lease = Lease(store, name="w", lease_s=LEASE_S, clock=lambda: next(moments))
    begin(store, delivery_id, lease)
    with pytest.raises(TransientError):
        lease.check()


def test_a_lease_that_has_run_out_is_not_renewed(store: Store, delivery_id: str) -> None:
    lease = Lease(store, name="w", lease_s=LEASE_S)
    begin(store, delivery_id, lease)
    age(store, LEASE_S + 1)
    lease.renew()
    with pytest.raises(TransientError):
        lease.check()


def test_while_a_call_lasts_signs_of_life_are_given(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    renewed = threading.Event()

    class Watched(Lease):
        def renew(self) -> None:
            super().renew()
            renewed.set()

    quick = replace(deliverer, new_lease=lambda store, **its: Watched(store, **its | {"lease_s": 0.6}))
    service = Service(while_sending=lambda: renewed.wait(30))
    assert deliver(quick, delivery_id, service) == Receipt(external_id="ext-1")
    assert renewed.is_set()


# I2: another begins only when the lease is over, by the clock of the store


def test_what_a_living_process_sends_nobody_else_begins(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    begin(store, delivery_id, living(store))
    service = Service()
    failed = deliver(deliverer, delivery_id, service)
    assert isinstance(failed, AttemptFailed)
    assert "still on its way" in str(failed)
    assert (service.got, outcomes(store, delivery_id)) == ([], ["running"])


def test_the_run_looks_again_when_the_lease_may_be_over(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    begin(store, delivery_id, Lease(store, name="w", lease_s=LEASE_S))
    failed = deliver(deliverer, delivery_id, Service())
    assert isinstance(failed, AttemptFailed)
    assert failed.retry_in_s is not None
    assert failed.retry_in_s <= LEASE_S + 1
    last = deliver(deliverer, delivery_id, Service(), last=True)
    assert isinstance(last, AttemptFailed)
    assert (last.retry_in_s, last.waits) == (None, True)


def test_once_it_is_over_another_goes_on(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    begin(store, delivery_id, Lease(store, name="w", lease_s=LEASE_S))
    age(store, LEASE_S + 1)
    assert deliver(deliverer, delivery_id, Service(repeatable=True)) == Receipt(external_id="ext-1")
    assert outcomes(store, delivery_id) == ["died", "delivered"]


def test_of_two_that_were_admitted_at_once_one_begins(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    late = Service()

    def other_is_quicker(seconds: float) -> None:
        deliver(deliverer, delivery_id, Service())

    before = replace(deliverer, sleep=other_is_quicker)
    nothing_to_do = before.deliver(delivery_id, integration=late, last_in_run=False, run_id="w")
    assert (nothing_to_do, late.got, outcomes(store, delivery_id)) == (None, [], ["delivered"])


def test_what_the_other_was_told_holds_for_the_slower_one_too(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    late, asked_to_wait = Service(), TransientError("later", code="503", retry_after_s=3600)

    def other_is_quicker(seconds: float) -> None:
        deliver(deliverer, delivery_id, Service(answers=[asked_to_wait]))

    failed = deliver(replace(deliverer, sleep=other_is_quicker), delivery_id, late)
    assert isinstance(failed, AttemptFailed)
    assert (failed.waits, late.got) == (True, [])
    assert row(store, delivery_id).waits_for == "service"


def test_so_does_what_one_says_that_was_taken_for_dead_before_the_other_began(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    frozen, late = begin(store, delivery_id, dead(store)), Service(repeatable=True)

    def it_wakes_up(seconds: float) -> None:
        end(store, frozen, D.RETRYING, waits_for="service", next_attempt_at=utc_now())

    failed = deliver(replace(deliverer, sleep=it_wakes_up), delivery_id, late)
    assert isinstance(failed, AttemptFailed)
    assert (late.got, outcomes(store, delivery_id)) == ([], ["transient"])


def test_a_sign_of_life_that_is_under_way_is_respected_and_not_waited_for(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    begin(store, delivery_id, dead(store))
    with store.begin() as renewing:
        renewing.execute(update(workers).values(lease_until=func.clock_timestamp() + text("interval '30 seconds'")))
        assert isinstance(deliver(deliverer, delivery_id, Service(repeatable=True)), AttemptFailed)
    assert outcomes(store, delivery_id) == ["running"]


def test_a_lease_that_was_taken_over_is_not_revived(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    watch = Watch()
    lease = Lease(store, name="w", lease_s=LEASE_S, clock=watch)
    begin(store, delivery_id, lease)
    age(store, LEASE_S + 1)
    assert isinstance(deliver(deliverer, delivery_id, Service(repeatable=True)), Receipt)
    age(store, -3600)  # a clock of the store that had jumped ahead, and is set right
    lease.renew()
    with pytest.raises(TransientError):
        lease.check()


def test_who_is_held_for_long_does_not_keep_his_run_open(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    begin(store, delivery_id, living(store))
    failed = deliver(deliverer, delivery_id, Service())
    assert isinstance(failed, AttemptFailed)
    assert failed.waits


def test_without_a_thread_for_signs_of_life_it_is_sent_all_the_same(
    store: Store, deliverer: Deliverer, delivery_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert isinstance(deliver(deliverer, delivery_id, Service()), Receipt)


def test_an_attempt_of_an_older_version_which_knows_no_leases_is_left_alone_for_ten_minutes(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    begin(store, delivery_id, living(store))
    with store.begin() as connection:
        connection.execute(update(deliveries).values(worker_id=None))
    service = Service(repeatable=True)
    assert isinstance(deliver(deliverer, delivery_id, service), AttemptFailed)
    with store.begin() as connection:
        connection.execute(update(attempts).values(started_at=func.now() - text("interval '601 seconds'")))
    assert isinstance(deliver(deliverer, delivery_id, service), Receipt)


# I3: who comes back late changes nothing, but for the good


def test_what_a_process_says_that_was_given_up_for_dead_is_not_heard(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    late = begin(store, delivery_id, dead(store))
    begin(store, delivery_id, living(store))
    assert end(store, late, D.FAILED) is D.SENDING
    found = row(store, delivery_id)
    assert (found.state, found.epoch, found.attempts) == (D.SENDING, 2, 2)


@pytest.mark.parametrize("since", [D.PENDING, D.RETRYING, D.FAILED, D.UNKNOWN])
def test_but_that_it_has_arrived_is_while_nobody_sends_it(
    store: Store, settler: Settler, delivery_id: str, since: DeliveryState
) -> None:
    late = begin(store, delivery_id, dead(store))
    if since is D.RETRYING:  # another has begun, and was told to come again
        again = begin(store, delivery_id, living(store))
        end(store, again, D.RETRYING, waits_for="service", next_attempt_at=utc_now())
        settler.so_far([again.batch_id])
    else:
        with store.begin() as connection:
            state = D.FAILED if since is D.PENDING else since
            ledger.close(connection, delivery_id=delivery_id, state=state, error=None, now=utc_now())
        settler.so_far([late.batch_id])
    if since is D.PENDING:  # and a person retries it
        Retrier(store=store, settings=settler.settings, clock=settler.clock).batch(late.batch_id)
    assert end(store, late, D.DELIVERED, receipt=Receipt(external_id="1")) is D.DELIVERED
    settler.so_far([late.batch_id])
    with store.begin() as connection:
        status = connection.execute(select(batches.c.status).where(batches.c.id == late.batch_id)).scalar_one()
    assert status == BatchStatus.COMPLETED


def test_that_it_has_arrived_is_heard_while_another_sends_it_whatever_becomes_of_that(
    store: Store, deliverer: Deliverer, settler: Settler, delivery_id: str
) -> None:
    late = begin(store, delivery_id, dead(store))

    def arrive() -> None:
        assert end(store, late, D.DELIVERED, receipt=Receipt(external_id="1")) is D.DELIVERED

    refuses = RejectedError("It is there already.", code="duplicate")
    another = Service(repeatable=True, answers=[refuses], while_sending=arrive)
    assert deliverer.deliver(delivery_id, integration=another, last_in_run=False, run_id="w") is None
    settler.so_far([late.batch_id])
    with store.begin() as connection:
        status = connection.execute(select(batches.c.status)).scalar_one()
    assert (status, row(store, delivery_id).receipt["external_id"]) == (BatchStatus.COMPLETED, "1")
    assert outcomes(store, delivery_id) == ["delivered", "rejected"]


# I4: what is taken over is in doubt, and the service is asked for it late enough


def test_what_is_taken_over_is_asked_for_when_the_service_must_know_since_the_lease_was_over(
    store: Store, deliverer: Deliverer, clock: StoppedClock, delivery_id: str
) -> None:
    begin(store, delivery_id, dead(store))
    clock.pass_s(3600)
    service = Service(can_find=True, absent_after_s=75, finds=[None, Receipt(external_id="7")])
    early = deliver(deliverer, delivery_id, service)
    assert isinstance(early, AttemptFailed)
    assert early.error.code == "too_early"
    assert (service.got, len(service.asked)) == ([], 1)
    clock.pass_s(90)
    found = deliver(deliverer, delivery_id, service)
    assert isinstance(found, Receipt)
    assert (found.external_id, service.got) == ("7", [])


# I5: nothing depends on a session


def test_while_a_call_lasts_no_lock_is_held_and_no_transaction_is_open(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        with store.begin() as connection:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            open_ones = f"SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND {others}"
            locks = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            seen.append(
                (connection.execute(text(locks)).scalar_one(), connection.execute(text(open_ones)).scalar_one())
            )

    deliver(deliverer, delivery_id, Service(while_sending=look))
    assert seen == [(0, 0)]


def test_settling_leaves_to_a_living_process_what_it_sends_though_a_person_has_seen_to_it(
    store: Store, settler: Settler, delivery_id: str
) -> None:
    begin(store, delivery_id, living(store))
    ending = Ending(critical="the run timed out", given_up=lambda: {delivery_id})
    with held(store, delivery_id):
        settler.wave("w", ending)
        assert row(store, delivery_id).state == D.SENDING
    settler.wave("w", ending)
    assert row(store, delivery_id).state == D.UNKNOWN


def test_the_sweep_leaves_to_a_living_process_what_it_sends_and_takes_over_what_a_dead_one_sent(
    store: Store, settler: Settler, delivery_id: str
) -> None:
    begin(store, delivery_id, living(store))
    with held(store, delivery_id):
        assert take_over(settler) == 0
        assert row(store, delivery_id).state == D.SENDING
    assert take_over(settler) == 1
    found = row(store, delivery_id)
    assert (found.state, found.in_doubt, found.losses) == (D.RETRYING, True, 1)
    assert outcomes(store, delivery_id) == ["died"]


def test_a_worker_is_known_for_as_long_as_it_works_and_one_that_died_for_an_hour(
    store: Store, deliverer: Deliverer, delivery_id: str, accept: Accept
) -> None:
    def known() -> int:
        with store.begin() as connection:
            forget_old(connection)
            return connection.execute(select(func.count()).select_from(workers)).scalar_one()

    assert isinstance(deliver(deliverer, delivery_id, Service()), Receipt)
    assert known() == 0
    begin(store, f"{accept('telegram').batch_id}-0", dead(store))
    assert known() == 1
    age(store, 3600)
    assert known() == 0


def test_what_has_ended_takes_no_progress(store: Store, delivery_id: str) -> None:
    late = begin(store, delivery_id, dead(store))
    with store.begin() as connection:
        ledger.close(connection, delivery_id=delivery_id, state=D.UNKNOWN, error=None, now=utc_now())
        ledger.keep(connection, late, {"mailed": ["a@example.com"]})
    assert row(store, delivery_id).kept is None


def test_settling_knows_what_is_still_being_sent(store: Store, settler: Settler, delivery_id: str) -> None:
    begin(store, delivery_id, living(store))
    assert settler.held([delivery_id]) == {delivery_id}
    assert settler.held(["another"]) == set()
    age(store, 3601)
    assert settler.held([delivery_id]) == set()


def test_progress_of_one_that_was_given_up_for_dead_does_not_replace_anothers(store: Store, delivery_id: str) -> None:
    late = begin(store, delivery_id, dead(store))
    again = begin(store, delivery_id, living(store))
    with store.begin() as connection:
        ledger.keep(connection, again, {"mailed": ["a@example.com"]})
        ledger.keep(connection, late, {"mailed": []})
    assert row(store, delivery_id).kept == {"mailed": ["a@example.com"]}
