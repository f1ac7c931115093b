"""One attempt: ledger → service → ledger. Nothing sent twice, and whatever kills an attempt, the next one knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import select

from leadcast.core.errors import (
    AttemptFailed,
    CredentialsError,
    DeliveryError,
    NotBegun,
    RateLimited,
    RejectedError,
    SettingsError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import DeliveryState, Receipt
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.store.batches import ledger, views
from leadcast.store.database import Store
from leadcast.store.schema import deliveries
from tests.support.by_hand import by_hand
from tests.support.leases import dead

from .conftest import SECRET, Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState


@pytest.fixture
def delivery_id(accept: Accept) -> str:
    return f"{accept('telegram').batch_id}-0"


def seen(store: Store, delivery_id: str) -> views.DeliveryView:
    with store.begin() as connection:
        batch = views.batch(connection, delivery_id.rsplit("-", 1)[0])
    assert batch is not None
    return next(item for item in batch.deliveries if item.id == delivery_id)


def in_doubt(store: Store, delivery_id: str) -> bool:
    with store.begin() as connection:
        return bool(connection.execute(select(deliveries.c.in_doubt).where(deliveries.c.id == delivery_id)).scalar())


def attempt(
    deliverer: Deliverer, delivery_id: str, service: Service, *, last_in_run: bool = False
) -> Receipt | AttemptFailed:
    try:
        receipt = deliverer.deliver(
            delivery_id, integration=service, last_in_run=last_in_run, action=by_hand(deliverer)
        )
    except AttemptFailed as failed:
        return failed
    assert receipt is not None
    return receipt


def die_in_mid_air(store: Store, delivery_id: str, clock: StoppedClock) -> None:
    """What a process that was killed while sending leaves behind."""
    with store.begin() as connection:
        ledger.begin(connection, delivery_id, lease=dead(store), now=clock())


def test_a_delivery_is_written_with_its_receipt(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    service = Service(answers=[Receipt(external_id="42", merged=True, detail={"contact_id": 5})])
    attempt(deliverer, delivery_id, service)
    view = seen(store, delivery_id)
    assert (view.state, view.attempts, view.error) == (D.DELIVERED, 1, None)
    assert view.receipt == {"external_id": "42", "merged": True, "detail": {"contact_id": 5}, "reconciled": False}
    assert [item.outcome for item in view.history] == ["delivered"]


def test_a_receipt_is_written_whatever_stands_in_it(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    odd = {"title": "\ud800\x00 Отдел 👩\u200d👧", "share": float("nan"), "at": datetime(2026, 1, 1, tzinfo=UTC)}
    attempt(deliverer, delivery_id, Service(answers=[Receipt(external_id="4\ud800", detail=odd)]))
    view = seen(store, delivery_id)
    assert (view.state, [item.outcome for item in view.history]) == (D.DELIVERED, ["delivered"])
    assert view.receipt is not None
    assert view.receipt["external_id"] == "4\ufffd"
    assert view.receipt["detail"] == {"title": "\ufffd\ufffd Отдел 👩\u200d👧", "share": None, "at": "<datetime>"}


@pytest.mark.parametrize("kind", [RejectedError, UnknownOutcome, CredentialsError])
def test_an_error_is_written_whatever_stands_in_it(
    store: Store, deliverer: Deliverer, delivery_id: str, kind: type[DeliveryError]
) -> None:
    attempt(deliverer, delivery_id, Service(answers=[kind("no \ud800\u202e", code="\x00", detail="\udfff")]))
    error = seen(store, delivery_id).error
    assert error is not None
    assert (error["message"], error["code"], error["detail"]) == ("no \ufffd", "\ufffd", "\ufffd")


def test_the_key_is_the_deliverys_own_and_the_same_on_every_attempt(deliverer: Deliverer, delivery_id: str) -> None:
    service = Service(answers=[TransientError("no"), TransientError("no")])
    for _ in range(3):
        attempt(deliverer, delivery_id, service)
    assert [call.key for call in service.got] == [delivery_id] * 3
    assert [call.attempt for call in service.got] == [1, 2, 3]
    assert len({call.accepted_at for call in service.got}) == 1


def test_what_is_delivered_is_never_sent_again(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    service = Service()
    attempt(deliverer, delivery_id, service)
    assert deliverer.deliver(delivery_id, integration=service, last_in_run=False, action=by_hand(deliverer)) is None
    assert len(service.got) == 1
    assert seen(store, delivery_id).attempts == 1


def test_the_ledger_says_sending_before_the_call_goes_out(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    states: list[D] = []
    service = Service(while_sending=lambda: states.append(seen(store, delivery_id).state))
    attempt(deliverer, delivery_id, service)
    assert states == [D.SENDING]


@pytest.mark.parametrize(
    ("error", "state", "outcome", "again_in_s"),
    [
        (TransientError("down", code="503"), D.RETRYING, "transient", 10),
        (RateLimited("slow down", retry_after_s=20), D.RETRYING, "rate_limited", 22),
        (RejectedError("no such field", code="400"), D.FAILED, "rejected", None),
        (CredentialsError("token revoked", code="401"), D.FAILED, "credentials", None),
    ],
)
def test_each_kind_of_error_has_its_state_and_its_next_attempt(
    store: Store,
    deliverer: Deliverer,
    clock: StoppedClock,
    delivery_id: str,
    error: Any,
    state: D,
    outcome: str,
    again_in_s: float | None,
) -> None:
    failed = attempt(deliverer, delivery_id, Service(answers=[error]))
    assert isinstance(failed, AttemptFailed)
    assert failed.retry_in_s == (None if again_in_s is None else pytest.approx(again_in_s))
    view = seen(store, delivery_id)
    assert view.state is state
    assert view.error is not None
    assert view.error["code"] == error.code
    assert view.next_attempt_at == (None if again_in_s is None else clock() + timedelta(seconds=failed.retry_in_s or 0))
    assert [item.outcome for item in view.history] == [outcome]
    assert not in_doubt(store, delivery_id)


def test_when_the_tries_are_used_up_a_passing_error_is_final(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(answers=[TransientError("down")] * 3)
    attempts = [attempt(deliverer, delivery_id, service) for _ in range(3)]
    assert [isinstance(item, AttemptFailed) and item.retry_in_s for item in attempts] == [10, 20, None]
    assert seen(store, delivery_id).state is D.FAILED


def test_where_a_run_makes_no_further_attempt_a_later_one_does(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    failed = attempt(deliverer, delivery_id, Service(answers=[TransientError("down")]), last_in_run=True)
    assert isinstance(failed, AttemptFailed)
    assert failed.waits
    view = seen(store, delivery_id)
    assert (view.state, view.waits_for) == (D.RETRYING, "service")


def test_a_failed_delivery_may_be_sent_again_by_a_person(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    service = Service(answers=[RejectedError("no")])
    attempt(deliverer, delivery_id, service)
    attempt(deliverer, delivery_id, service)
    view = seen(store, delivery_id)
    assert (view.state, view.attempts, view.error) == (D.DELIVERED, 2, None)


def test_after_silence_a_service_that_can_be_asked_is_asked_first(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(can_find=True, answers=[UnknownOutcome("no answer")], finds=[Receipt(external_id="7")])
    failed = attempt(deliverer, delivery_id, service)
    assert isinstance(failed, AttemptFailed)
    assert failed.retry_in_s is not None
    receipt = attempt(deliverer, delivery_id, service)
    assert receipt == Receipt(external_id="7", reconciled=True)
    assert len(service.got) == 1, "it had arrived, so it is not sent again"


def test_what_the_asked_service_does_not_have_is_sent_again(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(can_find=True, answers=[UnknownOutcome("no answer")], finds=[None])
    attempt(deliverer, delivery_id, service)
    attempt(deliverer, delivery_id, service)
    assert (len(service.asked), len(service.got)) == (1, 2)
    assert seen(store, delivery_id).state is D.DELIVERED


def test_what_is_not_found_too_early_is_not_sent_again_until_it_can_no_longer_arrive(
    store: Store, deliverer: Deliverer, clock: StoppedClock, delivery_id: str
) -> None:
    service = Service(can_find=True, absent_after_s=75, answers=[UnknownOutcome("no answer")])
    attempt(deliverer, delivery_id, service)
    clock.pass_s(10)
    early = attempt(deliverer, delivery_id, service)
    assert isinstance(early, AttemptFailed)
    assert early.error.code == "too_early"
    assert early.retry_in_s == pytest.approx(65 * 1.1)
    assert in_doubt(store, delivery_id)
    assert early.retry_in_s is not None
    clock.pass_s(early.retry_in_s)
    attempt(deliverer, delivery_id, service)
    assert (len(service.asked), len(service.got)) == (2, 2)
    assert seen(store, delivery_id).state is D.DELIVERED


def test_after_a_death_the_wait_counts_from_when_it_was_found(
    store: Store, deliverer: Deliverer, clock: StoppedClock, delivery_id: str
) -> None:
    die_in_mid_air(store, delivery_id, clock)
    service = Service(can_find=True, absent_after_s=75)
    clock.pass_s(200)
    assert isinstance(attempt(deliverer, delivery_id, service), AttemptFailed)
    clock.pass_s(76)
    attempt(deliverer, delivery_id, service)
    assert seen(store, delivery_id).state is D.DELIVERED


def test_while_the_service_cannot_answer_the_question_nothing_is_sent(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(
        can_find=True, answers=[UnknownOutcome("x")], finds=[UnknownOutcome("x"), TransientError("x"), Receipt()]
    )
    for _ in range(3):
        attempt(deliverer, delivery_id, service)
        assert in_doubt(store, delivery_id)
    attempt(deliverer, delivery_id, service)
    assert (len(service.got), seen(store, delivery_id).state) == (1, D.DELIVERED)


def test_after_silence_a_repeatable_call_is_simply_repeated(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(repeatable=True, answers=[UnknownOutcome("no answer")])
    attempt(deliverer, delivery_id, service)
    attempt(deliverer, delivery_id, service)
    assert (len(service.got), service.asked) == (2, [])
    assert seen(store, delivery_id).state is D.DELIVERED


def test_after_silence_what_cannot_be_asked_or_repeated_is_held_for_a_person(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(answers=[UnknownOutcome("no answer")])
    failed = attempt(deliverer, delivery_id, service)
    assert isinstance(failed, AttemptFailed)
    assert failed.retry_in_s is None
    assert seen(store, delivery_id).state is D.UNKNOWN


def test_a_held_delivery_is_sent_when_a_person_starts_it_again(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    service = Service(answers=[UnknownOutcome("no answer")])
    attempt(deliverer, delivery_id, service)
    attempt(deliverer, delivery_id, service)
    assert (len(service.got), seen(store, delivery_id).state) == (2, D.DELIVERED)


def test_after_a_death_in_mid_air_the_service_is_asked_first(
    store: Store, deliverer: Deliverer, clock: StoppedClock, delivery_id: str
) -> None:
    die_in_mid_air(store, delivery_id, clock)
    service = Service(can_find=True, finds=[Receipt(external_id="7")])
    attempt(deliverer, delivery_id, service)
    assert service.got == []
    view = seen(store, delivery_id)
    assert view.state is D.DELIVERED
    assert [item.outcome for item in view.history] == ["died", "delivered"]


def test_after_a_death_in_mid_air_what_cannot_be_asked_is_not_sent_again_by_itself(
    store: Store, deliverer: Deliverer, clock: StoppedClock, delivery_id: str
) -> None:
    die_in_mid_air(store, delivery_id, clock)
    service = Service()
    attempt(deliverer, delivery_id, service)
    assert service.got == []
    assert seen(store, delivery_id).state is D.UNKNOWN


def test_two_attempts_at_once_never_send_both(store: Store, deliverer: Deliverer, delivery_id: str) -> None:
    second: list[Receipt | AttemptFailed] = []
    other = Service()
    service = Service(while_sending=lambda: second.append(attempt(deliverer, delivery_id, other)))
    attempt(deliverer, delivery_id, service)
    (busy,) = second
    assert isinstance(busy, AttemptFailed)
    assert busy.error.code == "busy"
    assert (busy.retry_in_s is not None, busy.waits) == (True, False), "a person has asked for it"
    assert (len(service.got), len(other.got)) == (1, 0)
    assert seen(store, delivery_id).state is D.DELIVERED


def test_the_engine_that_repeats_what_another_attempt_still_has_uses_no_try_for_it(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    """A frozen worker: it is taken for dead, and holds the delivery still."""
    second: list[AttemptFailed] = []

    def again() -> None:
        with pytest.raises(AttemptFailed) as failed:
            deliverer.deliver(delivery_id, integration=Service(), last_in_run=False)
        second.append(failed.value)

    attempt(deliverer, delivery_id, Service(while_sending=again))
    (busy,) = second
    assert (busy.error.code, busy.waits) == ("busy", False)
    assert busy.retry_in_s is not None
    assert 0 < busy.retry_in_s <= deliverer.settings.worker_lease_s + 1, "then it is free, if its worker has died"
    assert (seen(store, delivery_id).state, seen(store, delivery_id).attempts) == (D.DELIVERED, 1)


def test_a_fault_of_ours_while_sending_leaves_the_outcome_unknown(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    attempt(deliverer, delivery_id, Service(answers=[KeyError("id")]))
    assert in_doubt(store, delivery_id)
    view = seen(store, delivery_id)
    assert view.state is D.UNKNOWN
    assert view.error is not None
    assert "KeyError" in view.error["message"]


def test_a_fault_of_ours_before_sending_is_known_not_to_have_sent(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    def broken(*_: object) -> Any:
        raise SettingsError("there is no key")

    object.__setattr__(deliverer, "accounts", broken)
    attempt(deliverer, delivery_id, Service())
    assert not in_doubt(store, delivery_id)
    assert seen(store, delivery_id).state is D.FAILED


def test_a_task_that_is_stopped_while_sending_writes_that_down(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    with pytest.raises(SystemExit):
        deliverer.deliver(
            delivery_id, integration=Service(answers=[SystemExit()]), last_in_run=False, action=by_hand(deliverer)
        )
    assert seen(store, delivery_id).state is D.UNKNOWN


def test_an_unknown_delivery_is_an_error(deliverer: Deliverer) -> None:
    with pytest.raises(StoreError, match="no-such") as found:
        deliverer.deliver("no-such", integration=Service(), last_in_run=False, action=by_hand(deliverer))
    assert not isinstance(found.value, NotBegun), "the store is not to blame"


def test_no_secret_and_no_forged_line_comes_through_an_error(
    store: Store, deliverer: Deliverer, delivery_id: str, hidden: list[str]
) -> None:
    with structlog.testing.capture_logs() as logs:
        failed = attempt(deliverer, delivery_id, Service(answers=[RejectedError(f"bad {SECRET}\r\nforged: yes")]))
    view = seen(store, delivery_id)
    assert view.error is not None
    assert view.error["message"] == "bad *** forged: yes"
    assert SECRET not in str(failed)
    assert SECRET not in str(logs)
    assert SECRET in hidden


def test_a_huge_answer_is_cut_and_no_part_of_a_secret_is_left_where_it_ends(
    store: Store, deliverer: Deliverer, delivery_id: str
) -> None:
    words = "x" * 490 + SECRET + "y" * 1_000_000
    failed = attempt(deliverer, delivery_id, Service(answers=[RejectedError(words, code=words, detail=words)]))
    error = seen(store, delivery_id).error
    assert error is not None
    assert error["message"] == error["detail"] == "x" * 490 + "***yyyyyy…"
    assert len(error["code"]) == 128
    assert len(str(failed)) < 600


def test_every_log_line_names_batch_lead_and_integration_and_nothing_personal(
    deliverer: Deliverer, delivery_id: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        attempt(deliverer, delivery_id, Service(answers=[TransientError("down")]))
    (line,) = [line for line in logs if line["event"] == "attempt ended"]
    assert (line["lead_id"], line["integration"], line["attempt"]) == ("123", "telegram", 1)
    assert (line["batch_id"], line["outcome"], line["duration_s"]) == (delivery_id[:-2], "transient", 0.0)
    assert "Анна" not in str(logs)
