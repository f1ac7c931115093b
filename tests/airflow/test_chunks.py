"""Where many leads wait, a task sends many of them, and each has its own outcome all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from leadcast.core.clock import utc_now
from leadcast.core.errors import AttemptFailed, TransientError
from leadcast.core.model import BatchStatus
from leadcast.flow.deliver.chunk import ChunkEnd, Part
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from leadcast.store.schema import attempts, batches, workers
from tests.support.leases import dead

from .conftest import Server, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
LEADS = 6


@pytest.fixture
def many(accept: Accept) -> list[Accepted]:
    """Leads that wait, each for an e-mail to an address of its own."""
    return [
        accept({"type": "email"}, lead_id=number, credentials={"email": {"emails": [address(number)]}})
        for number in range(LEADS)
    ]


def address(number: int) -> str:
    return f"reader-{number}@example.com"


def letters(sandbox: Sandbox) -> Counter[str]:
    sent = [item["rcpt_tos"] for item in sandbox.received("smtp") if item["executed"]]
    return Counter(to for (to,) in sent if to.startswith("reader-"))


def statuses(store: Store) -> Counter[str]:
    with store.begin() as connection:
        return Counter(connection.execute(select(batches.c.status)).scalars())


def task(done: DagRun) -> tuple[Any, str | None]:
    """The state and the label of its one task that sends."""
    (found,) = (ti for ti in done.get_task_instances() if ti.task_id == "deliver_email")
    return found.state, found.rendered_map_index


def test_one_task_sends_them_all_and_says_so(run: Run, many: list[Accepted], store: Store, sandbox: Sandbox) -> None:
    done = run()
    assert (done.state, *task(done)) == ("success", "success", f"{LEADS} leads → email: {LEADS} delivered")
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS)}
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(workers)).scalar() == 0


def test_one_that_is_refused_fails_alone_and_one_that_has_to_wait_for_long_keeps_nobody_waiting(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    """And the task is skipped, since a success with something open is one that a person has marked."""
    sandbox.fault(service="smtp", kind="reject", code=550, times=None, match=address(5))
    sandbox.fault(service="smtp", kind="greylist", match=address(3))
    done = run()
    said = f"{LEADS} leads → email: {LEADS - 2} delivered, 1 failed, 1 wait"
    assert (done.state, *task(done)) == ("success", "skipped", said)
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS - 2, BatchStatus.FAILED: 1, BatchStatus.PROCESSING: 1}


def test_where_all_are_refused_the_task_has_failed_and_so_has_its_run(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="smtp", kind="reject", code=550, times=None, match="reader-")
    done = run()
    assert (done.state, task(done)[0]) == ("failed", "failed")
    assert statuses(store) == {BatchStatus.FAILED: LEADS}


def test_one_that_may_pass_soon_is_sent_again_in_the_same_run(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="smtp", kind="hang_up_before", times=2)
    done = run()
    assert done.state == "success"
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS)}


def test_a_process_that_is_told_to_end_in_the_middle_sends_none_twice_and_none_is_lost(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.flow.deliver.chunk import Chunk

    told: list[str] = []
    run_chunk, note, started = Chunk.run, Chunk._note, DeliverOperator._deliverer
    operators: list[DeliverOperator] = []

    def told_to_end(self: Chunk, part: Part, outcome: Exception | None) -> None:
        note(self, part, outcome)
        told.append(part.delivery_id)
        if len(told) == 3:
            operators[0].on_kill()

    def kept(self: DeliverOperator) -> Any:
        operators.append(self)
        return started(self)

    def two_at_once(self: Chunk) -> ChunkEnd:
        self._threads = 2
        return run_chunk(self)

    monkeypatch.setattr(Chunk, "run", two_at_once)
    monkeypatch.setattr(Chunk, "_note", told_to_end)
    monkeypatch.setattr(DeliverOperator, "_deliverer", kept)
    done = run()
    assert done.state == "success"
    assert len(operators) == 2, "its run goes on with the rest"
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS)}


def test_what_a_process_has_died_with_is_sent_last_and_one_by_one(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.flow.deliver.chunk import Chunk

    died_with = {f"{accepted.batch_id}-0" for accepted in many[2:4]}
    ended: list[str] = []
    attempt, note = DeliverOperator._attempt, Chunk._note

    def dies_first(self: DeliverOperator, context: Any) -> None:
        if context["ti"].try_number == 1:
            with store.begin() as connection:
                for delivery_id in died_with:
                    ledger.begin(connection, delivery_id, lease=dead(store), now=utc_now())
            raise RuntimeError("as Airflow has it of a process that was killed")
        attempt(self, context)

    def noted(self: Chunk, part: Part, outcome: Exception | None) -> None:
        ended.append(part.delivery_id)
        note(self, part, outcome)

    monkeypatch.setattr(DeliverOperator, "_attempt", dies_first)
    monkeypatch.setattr(Chunk, "_note", noted)
    assert run().state == "success"
    assert set(ended[-2:]) == died_with
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}


def test_while_the_store_is_away_nothing_is_begun_and_nobody_fails(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.engine.dags.wave_operators import SettleOperator

    attempt, settle = DeliverOperator._attempt, SettleOperator.execute

    def away(self: DeliverOperator, context: Any) -> None:
        server.leaves()
        attempt(self, context)

    def back(self: SettleOperator, context: Any) -> None:
        server.is_back()
        settle(self, context)

    monkeypatch.setattr(SettleOperator, "execute", back)
    with monkeypatch.context() as outage:
        outage.setattr(DeliverOperator, "_attempt", away)
        done = run()
    assert (done.state, *task(done)) == ("success", "skipped", f"{LEADS} leads → email: {LEADS} to be sent")
    assert statuses(store) == {BatchStatus.PENDING: LEADS}
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(attempts)).scalar() == 0
    assert task_states(run())["deliver_email[0]"] == "success"
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}


def failed(*, in_s: float | None = None, waits: bool = False) -> AttemptFailed:
    return AttemptFailed(TransientError("No."), retry_in_s=in_s, waits=waits)


def told(end: ChunkEnd, *, is_last: bool = False, is_asked_for: bool = False) -> BaseException | None:
    from leadcast.engine.dags.deliver_operator import _tell_airflow

    try:
        _tell_airflow(end, is_last=is_last, is_asked_for=is_asked_for)
    except Exception as error:
        return error
    return None


def test_the_task_comes_back_when_the_longest_pause_of_those_that_it_tries_again_is_over() -> None:
    comes_back = [(10.0, failed(in_s=10)), (44.0, failed(in_s=44))]
    error = told(ChunkEnd(arrived=3, comes_back=comes_back))
    assert isinstance(error, AttemptFailed)
    assert error.retry_in_s == 44
    at_once = told(ChunkEnd(arrived=3, comes_back=comes_back, not_begun=1))
    assert isinstance(at_once, AttemptFailed)
    assert at_once.retry_in_s == 0


def test_what_a_person_wants_sent_and_nobody_has_looked_at_is_red() -> None:
    """No later run sends it: to the ledger it has ended."""
    error = told(ChunkEnd(arrived=3, not_begun=1), is_last=True, is_asked_for=True)
    assert isinstance(error, AttemptFailed)
    assert error.retry_in_s is None


@pytest.mark.parametrize(
    "end",
    [
        ChunkEnd(arrived=3, not_begun=1),
        ChunkEnd(arrived=3, waits=[failed(waits=True)]),
        ChunkEnd(waits=[failed(waits=True)]),
    ],
)
def test_a_task_with_something_open_is_never_a_success(end: ChunkEnd) -> None:
    assert type(told(end, is_last=True)).__name__ == "AirflowSkipException"


def test_a_task_has_failed_only_where_nothing_has_arrived() -> None:
    assert told(ChunkEnd(arrived=1, failed=[failed()])) is None
    assert isinstance(told(ChunkEnd(failed=[failed()])), AttemptFailed)
