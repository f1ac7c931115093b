"""When a run is over, or a batch: hooks called, people and callers told; each thing once, whoever comes to tell it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from leadcast.core.clock import utc_now
from leadcast.core.model import AttemptOutcome, BatchStatus, DeliveryState
from leadcast.flow.inbox import Accepted
from leadcast.flow.take_over import DIED
from leadcast.sandbox import Sandbox
from leadcast.store.batches import ledger, views
from leadcast.store.database import Store
from leadcast.store.schema import notifications, places
from tests.support.leases import dead, living

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Accept = Callable[..., Accepted]
SECRET = "whsec_bGVhZGNhc3QtY2FsbGJhY2stc2VjcmV0LTI0Kys="
HOOKS = """
import json, pathlib
LOG = pathlib.Path({log!r})

def note(*words):
    with LOG.open("a") as file:
        file.write(json.dumps(words) + "\\n")

def then(batch): note("then", batch.lead_id, batch.status)
def catch(batch, reason): note("catch", batch.lead_id, reason)
def finally_(batch):
    note("finally", batch.lead_id, batch.status)
    raise ValueError("a fault in the user's own code")
"""


@pytest.fixture
def configured(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Hooks in a file and a secret for callbacks. Yields the file that the hooks write to."""
    from leadcast.engine.settings import config

    log = tmp_path / "called.jsonl"
    hooks = tmp_path / "hooks.py"
    hooks.write_text(HOOKS.format(log=str(log)))
    monkeypatch.setenv("AIRFLOW__LEADCAST__HOOKS_FILE", str(hooks))
    monkeypatch.setenv("AIRFLOW__LEADCAST__CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("AIRFLOW__LEADCAST__LANGUAGE", "en")
    config.settings.cache_clear()
    yield log
    config.settings.cache_clear()


@pytest.fixture
def wave(store: Store, configured: Path, accept: Accept, sandbox: Sandbox) -> str:
    """A run with one batch of two deliveries: one delivered, one whose last attempt died. Returns the batch's id."""
    from leadcast.engine.settings import config
    from tests.support.planned import begin_batch, plan

    accepted = accept({"type": "telegram"}, {"type": "webhook"}, callback_url=f"{sandbox.webhook_url}/done?token=x")
    plan(store, config.settings(), run_id="w")
    with store.begin() as connection:
        begin_batch(connection, accepted.batch_id, run_id="w")
        begun = ledger.begin(connection, f"{accepted.batch_id}-0", lease=living(store, "test"), now=utc_now())
        assert begun is not None
        ended = ledger.Ended(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED)
        ledger.end(connection, begun, ended, now=utc_now())
        for _ in range(config.settings().tries):
            ledger.begin(connection, f"{accepted.batch_id}-1", lease=dead(store), now=utc_now())
    return accepted.batch_id


def run_ends(reason: str, **more: object) -> None:
    from leadcast.engine.dags import callbacks

    callbacks.after_run({"run_id": "w", "reason": reason, **more})


def dead_are_taken_over() -> None:
    """As the sweep does it, or the next task that sends."""
    from leadcast.engine.dags import callbacks
    from leadcast.engine.tell.settling import settler
    from leadcast.flow.take_over import take_over

    take_over(settler())
    callbacks.after_settle({"run_id": "w"})


def seen(store: Store, batch_id: str) -> views.BatchView:
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    return view


def called(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_of_a_run_that_times_out_people_are_told_and_its_batches_go_on(
    store: Store, configured: Path, wave: str, sandbox: Sandbox
) -> None:
    run_ends("timed_out")
    view = seen(store, wave)
    assert (view.status, view.critical) == (BatchStatus.PROCESSING, None)
    assert [item.state for item in view.deliveries] == [DeliveryState.DELIVERED, DeliveryState.SENDING]
    (letter,) = sandbox.received("smtp")
    assert letter["rcpt_tos"] == ["sales@example.com"]
    assert "the run timed out. Deliveries that it leaves: 1. A later run sends them." in " ".join(
        letter["text"].split()
    )
    assert not configured.exists(), "no hook is called: nothing of it has ended"
    assert sandbox.received("webhook") == []


def test_a_batch_of_which_processes_have_died_until_no_try_is_left_is_told_as_critical(
    store: Store, configured: Path, wave: str, sandbox: Sandbox
) -> None:
    dead_are_taken_over()
    view = seen(store, wave)
    assert (view.status, view.critical) == (BatchStatus.PARTIAL, DIED)
    assert [item.state for item in view.deliveries] == [DeliveryState.DELIVERED, DeliveryState.FAILED]
    (letter,) = sandbox.received("smtp")
    assert letter["rcpt_tos"] == ["sales@example.com"]
    assert DIED in " ".join(letter["text"].split())
    assert called(configured) == [["catch", "123", DIED], ["then", "123", "partial"], ["finally", "123", "partial"]]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("timed_out", "the run timed out"), ("all_tasks_deadlocked", "Airflow ended the run"), ("success", "")],
)
def test_what_a_run_has_not_begun_stays_as_it_is_and_people_hear_once_a_run_why(
    store: Store, configured: Path, accept: Accept, sandbox: Sandbox, reason: str, told: str
) -> None:
    from leadcast.engine.settings import config
    from tests.support.planned import plan

    ids = [accept({"type": "telegram"}, lead_id=number).batch_id for number in range(3)]
    plan(store, config.settings(), run_id="w")
    for _ in range(2):
        run_ends(reason)
    assert {seen(store, batch_id).status for batch_id in ids} == {BatchStatus.PENDING}
    letters = sandbox.received("smtp")
    assert len(letters) == (1 if told else 0)
    assert all(told in letter["text"] and "leaves: 3" in letter["text"] for letter in letters)


def test_a_run_that_is_cleared_and_times_out_again_is_told_again(
    store: Store, configured: Path, accept: Accept, sandbox: Sandbox
) -> None:
    from leadcast.engine.settings import config
    from tests.support.planned import plan

    made_at = utc_now()
    for clears, letters in ((0, 1), (0, 1), (1, 2), (1, 2)):
        accept({"type": "telegram"})
        plan(store, config.settings(), run_id="w")
        run_ends("timed_out", dag_run=SimpleNamespace(run_id="w", run_after=made_at, clear_number=clears, conf={}))
        assert len(sandbox.received("smtp")) == letters


def test_each_thing_is_done_once_however_often_the_callbacks_run(
    store: Store, configured: Path, wave: str, sandbox: Sandbox
) -> None:
    for _ in range(3):
        run_ends("timed_out")
        dead_are_taken_over()
    assert len(called(configured)) == 3
    assert len(sandbox.received("smtp")) == 2, "of the run, and of its batch"
    assert len(sandbox.received("webhook")) == 1


def test_the_callback_url_gets_a_signed_event(store: Store, wave: str, sandbox: Sandbox) -> None:
    dead_are_taken_over()
    (call,) = sandbox.received("webhook")
    event = Webhook(SECRET).verify(call["body"], call["headers"])
    assert event["type"] == "batch.critical"
    assert (event["data"]["batch_id"], event["data"]["status"]) == (wave, "partial")
    assert "Анна" not in json.dumps(event, ensure_ascii=False)


def test_a_mail_server_that_is_away_gets_the_letter_later(
    store: Store, configured: Path, wave: str, sandbox: Sandbox
) -> None:
    from leadcast.engine.dags import callbacks

    sandbox.fault(service="smtp", kind="down")
    dead_are_taken_over()
    assert seen(store, wave).status is BatchStatus.PARTIAL, "the status waits for nobody"
    sandbox.clear_faults()
    with store.begin() as connection:
        connection.execute(update(notifications).values(next_attempt_at=utc_now() - timedelta(seconds=1)))
        connection.execute(update(places).values(rests_until=utc_now() - timedelta(seconds=1)))
    callbacks.tell({}, bound_s=10)
    assert len([letter for letter in sandbox.received("smtp") if letter["executed"]]) == 1


def test_a_fault_in_a_hook_is_written_down_and_disturbs_nothing(store: Store, configured: Path, wave: str) -> None:
    dead_are_taken_over()
    with store.begin() as connection:
        rows = connection.execute(select(notifications.c.occasion, notifications.c.state, notifications.c.error))
        told = {row.occasion: (row.state, row.error) for row in rows}
    assert told["finally"] == ("dead", "ValueError")
    assert told["then"] == ("sent", None)
    assert told["critical"] == ("sent", None)


def test_the_runs_callback_never_raises(store: Store, environment: None) -> None:
    from leadcast.engine.dags import callbacks

    callbacks.after_run({})


def test_an_airflow_notifier_may_stand_instead_of_email(
    store: Store, wave: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any notifier does; Airflow's own SMTP one can be seen at the sandbox."""
    from leadcast.engine.settings import config

    monkeypatch.setenv("AIRFLOW__LEADCAST__NOTIFIER", "airflow.providers.smtp.notifications.smtp.SmtpNotifier")
    arguments = {
        "to": "chief@example.com",
        "from_email": "l@example.com",
        "subject": "{subject}",
        "html_content": "{text}",
    }
    monkeypatch.setenv("AIRFLOW__LEADCAST__NOTIFIER_KWARGS", json.dumps(arguments))
    config.settings.cache_clear()
    dead_are_taken_over()
    (letter,) = sandbox.received("smtp")
    assert letter["rcpt_tos"] == ["chief@example.com"]
    assert "123" in letter["subject"]
    assert "have died" in (letter["html"] or letter["text"])


def test_what_is_told_at_once_has_ended_before_airflow_kills_the_process_that_tells_it(environment: None) -> None:
    from airflow.configuration import conf

    from leadcast.engine.dags import callbacks

    late_s = 1.0
    longest_in_worker_s = callbacks.IN_WORKER_S + callbacks.EACH_S + late_s
    assert longest_in_worker_s < conf.getfloat("core", "task_success_overtime")
    longest_in_dag_processor_s = callbacks.IN_DAG_PROCESSOR_S + callbacks.EACH_S + late_s
    assert longest_in_dag_processor_s < conf.getfloat("dag_processor", "dag_file_processor_timeout")
