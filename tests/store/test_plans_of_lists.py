"""Lists where what is looked for is spread unevenly: a page costs so many rows, however much has to be passed by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from leadcast.control.monitor import Monitor, Page
from leadcast.core.model import BatchStatus
from leadcast.store.batches.listing import LOOKS_THROUGH, Filter
from leadcast.store.database import Store
from tests.store.plans import Plans

from . import history
from .history import BATCHES, HISTORY, NOW

pytestmark = pytest.mark.store

PAGE = 50
UNEVEN = """
UPDATE deliveries d SET type = 'bitrix24' FROM batches b
WHERE b.id = d.batch_id AND d.index = 1 AND b.lead_id::int > 50000;

UPDATE deliveries d SET type = 'webhook' FROM batches b
WHERE b.id = d.batch_id AND d.index = 0 AND mod(b.lead_id::int, 4) = 0 AND b.status = 'completed';

UPDATE batches SET lead_id = 'test' WHERE mod(lead_id::int, 4) = 0;
"""
"""The older half went to Bitrix24, and nothing since. A test form has one id for all; a webhook has never failed."""
A_PAGE = PAGE * 5
"""Rows that a page costs where one index has what is looked for in order: its batches, and their deliveries."""
A_LOOK = LOOKS_THROUGH * 9
"""And where it has not: two or three indexes are walked through, and each batch that is passed by looked up."""


@pytest.fixture(scope="module")
def uneven(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    with history.old_store(postgres_url, fernet_key, name="uneven", of=HISTORY + UNEVEN) as store:
        yield store


def fitting(store: Store, wanted: Filter) -> list[str]:
    """What a list shows, all of it, found in the dullest way."""
    conditions = ["true"]
    if wanted.status is not None:
        conditions.append(f"status = '{wanted.status}'")
    if wanted.lead_id is not None:
        conditions.append(f"lead_id = '{wanted.lead_id}'")
    if wanted.type is not None:
        conditions.append(f"id IN (SELECT batch_id FROM deliveries WHERE type = '{wanted.type}')")
    if wanted.since is not None:
        conditions.append(f"accepted_at >= '{wanted.since}'")
    query = f"SELECT id FROM batches WHERE {' AND '.join(conditions)} ORDER BY accepted_at DESC, id DESC"
    with store.begin() as connection:
        return list(connection.execute(text(query)).scalars())


def pages(store: Store, wanted: Filter) -> Iterator[tuple[Page, int]]:
    """One after the other, each with the rows that it has cost."""
    cursor = None
    while True:
        plans = Plans(store.engine, counts=True)
        with plans.watched():
            page = Monitor(store).page(wanted, cursor=cursor)
        yield page, plans.rows_read()
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(type="bitrix24"),
        Filter(type="telegram"),
        Filter(type="nothing"),
        Filter(type="bitrix24", since=NOW - timedelta(days=30)),
        Filter(lead_id="test"),
        Filter(lead_id="7"),
        Filter(lead_id="nobody"),
        *(Filter(status=status) for status in BatchStatus),
    ],
    ids=str,
)
def test_a_page_of_what_one_index_has_is_full_and_costs_no_more_than_it_shows(uneven: Store, wanted: Filter) -> None:
    wanted = replace(wanted, limit=PAGE)
    expected = fitting(uneven, wanted)
    got = 0
    for number, (page, rows) in enumerate(pages(uneven, wanted)):
        assert rows <= A_PAGE
        assert [batch.id for batch in page.batches] == expected[got : got + PAGE]
        got += PAGE
        if number == 2:
            break
    else:
        assert got >= len(expected)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(type="bitrix24", status=BatchStatus.PARTIAL),
        Filter(type="bitrix24", status=BatchStatus.CANCELLED),
        Filter(type="bitrix24", lead_id="test"),
        Filter(type="email", status=BatchStatus.CANCELLED),
        Filter(type="webhook", status=BatchStatus.FAILED),
        Filter(type="webhook", status=BatchStatus.PROCESSING),
        Filter(type="webhook", status=BatchStatus.FAILED, since=NOW - timedelta(days=30)),
        Filter(type="nothing", status=BatchStatus.COMPLETED),
        Filter(lead_id="test", status=BatchStatus.CANCELLED),
        Filter(lead_id="test", status=BatchStatus.PENDING),
        Filter(lead_id="7", status=BatchStatus.COMPLETED),
        Filter(lead_id="test", type="bitrix24", status=BatchStatus.PARTIAL),
    ],
    ids=str,
)
def test_where_two_are_wanted_page_after_page_finds_all_and_none_costs_much(uneven: Store, wanted: Filter) -> None:
    wanted = replace(wanted, limit=PAGE)
    got: list[str] = []
    for number, (page, rows) in enumerate(pages(uneven, wanted), 1):
        assert rows <= A_LOOK
        assert len(page.batches) <= PAGE
        got += [batch.id for batch in page.batches]
        assert number <= len(got) / PAGE + 2 + BATCHES / LOOKS_THROUGH
    assert got == fitting(uneven, wanted)


def test_a_page_that_is_not_full_ends_where_the_next_begins(uneven: Store) -> None:
    """None of those 2,000 is like that; whoever goes on finds what there is further back."""
    page, _ = next(pages(uneven, Filter(type="webhook", status=BatchStatus.FAILED)))
    assert page.batches == []
    assert page.next_cursor is not None
