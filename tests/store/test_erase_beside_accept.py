"""A lead is erased in the very moment in which it is accepted once more: one of the two comes first, and nothing that
was there before the erasure is there after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from leadcast.core.errors import StoreError
from leadcast.core.model import BatchStatus
from leadcast.core.settings import Settings
from leadcast.erase import Eraser, InAirflow
from leadcast.inbox import Inbox
from leadcast.store.database import Store
from leadcast.store.schema import batches

from .conftest import StoppedClock, waits_or_ends
from .mortal_store import Place, Point, Process

pytestmark = pytest.mark.store

LEAD = {"name": "Needle Personov", "phone": "+79995551234"}
BODY: dict[str, Any] = {"lead_id": "person-1", "integrations": [{"type": "telegram"}]}
HANGS_S = 60


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
    store: Store, inbox: Inbox, eraser: Eraser, given: Mapping[str, Any]
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
