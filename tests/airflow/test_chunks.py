"""A task sends all that is due in its lane, and each lead has its own outcome all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, func, select

from leadcast.core.clock import utc_now
from leadcast.core.errors import AttemptFailed, TransientError
from leadcast.core.model import BatchStatus
from leadcast.engine.dags import work_lists
from leadcast.flow.deliver.chunk import ChunkEnd, Part
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from leadcast.store.schema import attempts, batches, deliveries, workers
from tests.support.leases import dead

from .conftest import BOT_TOKEN, Server, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
LEADS = 6
"""Too many for a task each."""
TELEGRAM: dict[str, Any] = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}}


@pytest.fixture
def many(accept: Accept) -> list[Accepted]:
    """Leads that wait, each for an e-mail to an address of its own."""
    return [accept_one(accept, number) for number in range(LEADS)]


def accept_one(accept: Accept, number: int) -> Accepted:
    return accept({"type": "email"}, lead_id=number, credentials={"email": {"emails": [address(number)]}})


def address(number: int) -> str:
    return f"reader-{number}@example.com"


def letters(sandbox: Sandbox) -> Counter[str]:
    sent = [item["rcpt_tos"] for item in sandbox.received("smtp") if item["executed"]]
    return Counter(to for (to,) in sent if to.startswith("reader-"))


def statuses(store: Store) -> Counter[str]:
    with store.begin() as connection:
        return Counter(connection.execute(select(batches.c.status)).scalars())


def task(done: DagRun, kind: str = "email") -> tuple[Any, str | None]:
    """The state and the label of its one task that sends."""
    (found,) = (ti for ti in done.get_task_instances() if ti.task_id == f"deliver_{kind}")
    return found.state, found.rendered_map_index


@pytest.fixture
def comes_after_plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done once between plan and the first task that sends."""
    from leadcast.engine.dags.deliver_operator import DeliverOperator

    def once(deed: Callable[[], object]) -> None:
        deeds, attempt = [deed], DeliverOperator._attempt

        def after_it(self: DeliverOperator, context: Any) -> None:
            if deeds:
                deeds.pop()()
            attempt(self, context)

        monkeypatch.setattr(DeliverOperator, "_attempt", after_it)

    return once


def test_one_task_sends_them_all_and_says_so(run: Run, many: list[Accepted], store: Store, sandbox: Sandbox) -> None:
    done = run()
    assert (done.state, *task(done)) == ("success", "success", f"leads → email: {LEADS} delivered")
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS)}
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(workers)).scalar() == 0


def test_a_task_that_was_made_for_many_takes_what_is_due_until_its_lane_is_empty(
    run: Run,
    accept: Accept,
    many: list[Accepted],
    store: Store,
    sandbox: Sandbox,
    comes_after_plan: Callable[[Callable[[], object]], None],
) -> None:
    """What has come since its run was planned, too: nobody waits for another run."""
    comes_after_plan(lambda: [accept_one(accept, LEADS + number) for number in range(2)])
    done = run()
    assert (done.state, *task(done)) == ("success", "success", f"leads → email: {LEADS + 2} delivered")
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS + 2)}
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS + 2}


def test_a_task_of_one_lead_sends_what_else_is_due_by_then_and_its_label_says_so(
    run: Run,
    accept: Accept,
    store: Store,
    sandbox: Sandbox,
    comes_after_plan: Callable[[Callable[[], object]], None],
) -> None:
    first = accept({"type": "telegram"}, credentials=TELEGRAM)
    comes_after_plan(
        lambda: [accept({"type": "telegram"}, credentials=TELEGRAM, lead_id=number) for number in range(3)]
    )
    done = run()
    assert (done.state, *task(done, "telegram")) == ("success", "success", "123 → telegram, and 3 more")
    assert len(sandbox.received("telegram")) == 4
    assert statuses(store) == {BatchStatus.COMPLETED: 4}
    with store.begin() as connection:
        run_ids = set(connection.execute(select(batches.c.wave_id)).scalars())
        first_run = connection.execute(select(batches.c.wave_id).where(batches.c.id == first.batch_id)).scalar()
    assert run_ids == {first_run} == {done.run_id}


def test_a_run_whose_tasks_never_begin_holds_nothing(
    run: Run, accept: Accept, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    """The queue of one integration stands still. The others flow, and once it moves its one task sends all of it."""
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.engine.settings import config
    from leadcast.flow.plan import plan

    made = plan(store, config.settings(), run_id="stands still")
    assert made.count("email") == 1
    accept_one(accept, LEADS)
    accept({"type": "telegram"}, credentials=TELEGRAM)
    done = run()
    states = task_states(done)
    assert done.state == "success"
    assert (states["deliver_email"], states["deliver_telegram[0]"]) == ("skipped", "success")
    assert statuses(store) == {BatchStatus.PENDING: LEADS + 1, BatchStatus.COMPLETED: 1}
    assert letters(sandbox) == {}

    (work,) = work_lists.items(made, "email")
    context: Any = {"run_id": "stands still", "ti": SimpleNamespace(try_number=1, max_tries=2)}
    DeliverOperator(task_id="deliver_email", integration="email", work=work, retries=2).execute(context)
    assert context["label"] == f"leads → email: {LEADS + 1} delivered"
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS + 1)}
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS + 2}


def test_what_a_run_was_triggered_with_has_its_task_whoever_waits_in_its_lane(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    from leadcast.engine.settings import config
    from leadcast.flow.plan import plan

    plan(store, config.settings(), run_id="stands still")
    email = {"email": {"emails": [address(LEADS)]}}
    done = run({"lead_id": 700, "lead": {"name": "Вера"}, "integrations": [{"type": "email"}], "credentials": email})
    assert (done.state, *task(done)) == ("success", "success", f"700 → email, and {LEADS} more")
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS + 1}
    with create_session() as session:  # its conf is sealed, and other tests count those
        session.execute(delete(DagRun.__table__).where(DagRun.__table__.c.run_id == done.run_id))


def test_one_that_is_refused_fails_alone_and_one_that_has_to_wait_for_long_keeps_nobody_waiting(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="smtp", kind="reject", code=550, times=None, match=address(5))
    sandbox.fault(service="smtp", kind="greylist", match=address(3))
    done = run()
    said = f"leads → email: {LEADS - 2} delivered, 1 failed, 1 wait"
    assert (done.state, *task(done)) == ("success", "success", said)
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


def test_a_process_that_is_told_to_end_in_the_middle_sends_none_twice_and_leaves_the_others_to_the_next(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.flow.deliver.chunk import Chunk

    told: list[str] = []
    run_chunk, send, started = Chunk.run, Chunk._send, DeliverOperator._deliverer
    operators: list[DeliverOperator] = []

    def told_to_end(self: Chunk, part: Part) -> None:
        send(self, part)
        told.append(part.delivery_id)
        if len(told) == 3:
            operators[0].on_kill()

    def kept(self: DeliverOperator) -> Any:
        operators.append(self)
        return started(self)

    def two_at_once(self: Chunk) -> None:
        self._threads = 2
        run_chunk(self)

    monkeypatch.setattr(Chunk, "run", two_at_once)
    monkeypatch.setattr(Chunk, "_send", told_to_end)
    monkeypatch.setattr(DeliverOperator, "_deliverer", kept)
    with monkeypatch.context() as at_first:
        at_first.setattr("leadcast.engine.dags.deliver_operator._tell_airflow", lambda *_, **__: None)
        run()
    assert 3 <= len(told) < LEADS
    assert statuses(store)[BatchStatus.COMPLETED] < LEADS
    with store.begin() as connection:
        assert connection.execute(select(deliveries.c.worker_id)).scalars().all() == [None] * LEADS
    assert run().state == "success"
    assert len(operators) > 1
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}
    assert letters(sandbox) == {address(number): 1 for number in range(LEADS)}


def test_what_a_process_has_died_with_is_sent_last_and_one_by_one(
    run: Run, many: list[Accepted], store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.flow.deliver.chunk import Chunk

    died_with = {f"{accepted.batch_id}-0" for accepted in many[2:4]}
    ended: list[str] = []
    attempt, send = DeliverOperator._attempt, Chunk._send

    def dies_first(self: DeliverOperator, context: Any) -> None:
        if context["ti"].try_number == 1:
            with store.begin() as connection:
                for delivery_id in died_with:
                    ledger.begin(connection, delivery_id, lease=dead(store), now=utc_now())
            raise RuntimeError("as Airflow has it of a process that was killed")
        attempt(self, context)

    def noted(self: Chunk, part: Part) -> None:
        send(self, part)
        ended.append(part.delivery_id)

    monkeypatch.setattr(DeliverOperator, "_attempt", dies_first)
    monkeypatch.setattr(Chunk, "_send", noted)
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
    assert (done.state, *task(done)) == ("success", "skipped", "leads → email")
    assert statuses(store) == {BatchStatus.PENDING: LEADS}
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(attempts)).scalar() == 0
    assert task_states(run())["deliver_email[0]"] == "success"
    assert statuses(store) == {BatchStatus.COMPLETED: LEADS}


def failed(*, in_s: float | None = None, waits: bool = False) -> AttemptFailed:
    return AttemptFailed(TransientError("No."), retry_in_s=in_s, waits=waits)


def told(
    end: ChunkEnd, *, is_last: bool = False, is_asked_for: bool = False, is_own: bool = True
) -> BaseException | None:
    from leadcast.engine.dags.deliver_operator import _tell_airflow

    try:
        _tell_airflow(end, is_last=is_last, is_asked_for=is_asked_for, is_own=is_own)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("is_own", [True, False])
def test_the_task_comes_back_when_the_longest_pause_of_those_that_it_tries_again_is_over(is_own: bool) -> None:
    comes_back = [(10.0, failed(in_s=10)), (44.0, failed(in_s=44))]
    error = told(ChunkEnd(arrived=3, comes_back=comes_back), is_own=is_own)
    assert isinstance(error, AttemptFailed)
    assert error.retry_in_s == 44
    at_once = told(ChunkEnd(arrived=3, comes_back=comes_back, not_begun=1), is_own=is_own)
    assert isinstance(at_once, AttemptFailed)
    assert at_once.retry_in_s == 0


def test_what_a_task_has_found_and_is_to_be_tried_again_after_its_last_try_others_find() -> None:
    end = ChunkEnd(arrived=3, comes_back=[(10.0, failed(in_s=10))])
    assert told(end, is_last=True, is_own=False) is None


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
def test_a_task_whose_own_is_open_is_never_a_success(end: ChunkEnd) -> None:
    """A success with something open is one that a person has marked."""
    assert type(told(end, is_last=True)).__name__ == "AirflowSkipException"


@pytest.mark.parametrize(
    ("end", "is_skipped"),
    [
        (ChunkEnd(waits=[failed(waits=True)]), True),
        (ChunkEnd(arrived=1, waits=[failed(waits=True)]), False),
        (ChunkEnd(), False),
    ],
)
def test_a_task_that_has_found_only_what_waits_is_skipped(end: ChunkEnd, is_skipped: bool) -> None:
    error = told(end, is_own=False)
    assert (type(error).__name__ == "AirflowSkipException") is is_skipped
    assert is_skipped or error is None


@pytest.mark.parametrize("is_own", [True, False])
def test_a_task_has_failed_only_where_nothing_has_arrived(is_own: bool) -> None:
    assert told(ChunkEnd(arrived=1, failed=[failed()]), is_own=is_own) is None
    assert isinstance(told(ChunkEnd(failed=[failed()]), is_own=is_own), AttemptFailed)
