"""What is sent after a person was erased is another request: an erasure that is not done yet takes nothing of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from leadcast.control.erase import Eraser, InAirflow
from leadcast.core.clock import utc_now
from leadcast.core.settings import Settings
from leadcast.flow.inbox import Inbox
from leadcast.store.batches import run_requests, views
from leadcast.store.database import Store
from leadcast.store.erasing.erasures import Erasure
from tests.support.planned import plan

pytestmark = pytest.mark.store
BODY: dict[str, Any] = {"lead_id": "p1", "lead": {"name": "Anna"}, "integrations": [{"type": "telegram"}]}
LEFT = "manual-1"


@pytest.fixture
def eraser(store: Store) -> Eraser:
    return Eraser(store=store, settings=Settings())


@pytest.fixture
def erasure(store: Store, eraser: Eraser) -> Erasure:
    """One that waits for a run."""
    Inbox(store, Settings()).accept(BODY)
    return eraser.lead("p1", asked_by="officer", in_airflow=InAirflow(left={LEFT: "It runs."})).erasure


def is_erased(store: Store, batch_id: str) -> bool:
    with store.begin() as connection:
        found = views.batch(connection, batch_id)
    assert found is not None
    return found.is_erased


def noted(store: Store, run_id: str) -> None:
    with store.begin() as connection:
        run_requests.note(connection, run_id=run_id, now=utc_now(), is_new=True)


def test_it_is_sent_though_the_run_that_is_left_carries_it(store: Store, eraser: Eraser, erasure: Erasure) -> None:
    batch_id = Inbox(store, Settings()).accept(BODY, sent_by="anna").batch_id
    plan(store, Settings(), run_id=LEFT)
    eraser.go_on()
    assert not is_erased(store, batch_id)
    assert [open_one.runs for open_one in eraser.open_ones()] == [[LEFT]]


def test_what_the_run_that_is_left_has_brought_is_erased(store: Store, eraser: Eraser, erasure: Erasure) -> None:
    more: dict[str, Any] = {"caller": "dag_run", "run_id": LEFT, "made_at": utc_now() + timedelta(hours=1)}
    batch_id = Inbox(store, Settings()).accept(BODY, **more).batch_id
    eraser.go_on()
    assert is_erased(store, batch_id)


def test_a_run_that_was_triggered_since_is_none_of_its(store: Store, eraser: Eraser, erasure: Erasure) -> None:
    noted(store, "later")
    early = erasure.asked_at - timedelta(hours=1)  # whoever triggers a run may give it any `run_after`
    assert not eraser.was_there(erasure, "later", early)
    assert not eraser.was_there(erasure, "not noted", erasure.asked_at + timedelta(minutes=1))


def test_a_run_that_was_there_is(store: Store, eraser: Eraser) -> None:
    noted(store, "noted")
    Inbox(store, Settings()).accept(BODY)
    erasure = eraser.lead("p1", asked_by="officer", in_airflow=InAirflow(left={LEFT: "It runs."})).erasure
    late = erasure.asked_at + timedelta(hours=1)
    assert eraser.was_there(erasure, "noted", late)
    assert eraser.was_there(erasure, LEFT, late)
    assert eraser.was_there(erasure, "not noted", erasure.asked_at - timedelta(minutes=1))
