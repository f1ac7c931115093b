"""Changing keys: what is sealed comes under the new one, while others write, and nothing is ever lost by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from sqlalchemy import Column, insert, select, text, update

from leadcast.core.tokens import TokenPair
from leadcast.engine.settings import config
from leadcast.engine.setup import seals_check
from leadcast.engine.setup.finding import Level
from leadcast.flow.inbox import Accepted
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, leads, oauth_tokens
from leadcast.store.sealing import Sealer, tokens_of
from leadcast.store.upkeep import rotation
from leadcast.store.upkeep.rotation import Tally
from tests.support.seals import inside

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
CREDENTIALS = {"telegram": {"bot_token": "700:a-token", "chat_id": "@sales"}}
NEW = Fernet.generate_key().decode()
OAUTH = {"access": "a1", "refresh": "r1"}


def nothing(rows: int) -> None:
    """For whoever needs no progress."""


@pytest.fixture
def rotating(store: Store, fernet_key: str) -> Store:
    """The store as a process sees it whose fernet_key is "new,old"."""
    return Store(store.engine, Sealer(f"{NEW},{fernet_key}"))


@pytest.fixture
def sealed(store: Store, accept: Accept) -> None:
    """One of each place, sealed with the old key."""
    accept("telegram", credentials=CREDENTIALS, callback_url="https://example.com/done?key=1")
    keep_token(store, "account", OAUTH)


def keep_token(store: Store, account: str, pair: Mapping[str, str]) -> None:
    with store.begin() as connection:
        connection.execute(
            insert(oauth_tokens).values(account=account, sealed=store.sealer.seal(pair, for_=tokens_of(account)))
        )


def opened(store: Store, column: Column[Any], *, key: str) -> list[dict[str, Any]]:
    """What a column holds, opened with this key alone."""
    with store.begin() as connection:
        found = connection.execute(select(column).where(column.is_not(None), column != "")).scalars()
        return [inside(item, key=key) for item in found]


def tallies(found: list[Tally]) -> list[tuple[int, int, int]]:
    return [(tally.resealed, tally.already, tally.lost) for tally in found]


def test_all_that_is_sealed_opens_with_the_new_key_alone(rotating: Store, sealed: None) -> None:
    assert rotation.count(rotating) == 3
    advanced: list[int] = []
    assert tallies(rotation.reseal(rotating, advance=advanced.append)) == [(1, 0, 0)] * 3

    assert sum(advanced) == 3
    assert opened(rotating, deliveries.c.credentials_sealed, key=NEW) == [CREDENTIALS["telegram"]]
    assert "https://example.com/done?key=1" in str(opened(rotating, batches.c.callback_url_sealed, key=NEW))
    assert opened(rotating, oauth_tokens.c.sealed, key=NEW) == [OAUTH]


def test_again_changes_nothing(rotating: Store, sealed: None) -> None:
    rotation.reseal(rotating, advance=nothing)
    before = everything(rotating)
    assert tallies(rotation.reseal(rotating, advance=nothing)) == [(0, 1, 0)] * 3
    assert everything(rotating) == before


def test_what_no_key_opens_is_counted_and_left(store: Store, sealed: None) -> None:
    before = everything(store)
    stranger = Store(store.engine, Sealer(NEW))
    assert tallies(rotation.reseal(stranger, advance=nothing)) == [(0, 0, 1)] * 3
    assert everything(store) == before


def test_doctor_says_that_seals_do_not_open(store: Store, sealed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell that has not the keys of the one that sealed them."""
    before = everything(store)
    for here, level, said in (
        (Store(store.engine, Sealer(NEW)), Level.WARN, "of 3 looked at, 3 cannot be opened"),
        (store, Level.OK, "3 looked at"),
    ):
        monkeypatch.setattr(config, "store", lambda here=here: here)
        [found] = seals_check.examine()
        assert found.level is level
        assert said in found.what
    assert everything(store) == before


def test_more_rows_than_a_chunk_are_all_done(
    rotating: Store, store: Store, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "CHUNK_ROWS", 3)
    accepted = [accept("telegram", "telegram", credentials=CREDENTIALS, lead_id=number) for number in range(4)]
    assert len(accepted) == 4
    assert tallies(rotation.reseal(rotating, advance=nothing))[0] == (8, 0, 0)
    assert len(opened(rotating, deliveries.c.credentials_sealed, key=NEW)) == 8


def test_a_token_that_is_renewed_meanwhile_keeps_its_new_pair(rotating: Store, store: Store, sealed: None) -> None:
    asked, answered = Event(), Event()

    def exchange(stored: TokenPair | None) -> TokenPair:
        asked.set()
        assert answered.wait(20)
        return TokenPair(access=SecretStr("a2"), refresh=SecretStr("r2"))

    # a worker that has not been restarted yet: it seals with the old key
    worker = Thread(target=lambda: StoredTokens(store).renew("account", stale="a1", exchange=exchange))
    worker.start()
    try:
        assert asked.wait(20)
        done: list[Tally] = []
        rotating_thread = Thread(target=lambda: done.extend(rotation.reseal(rotating, advance=nothing)))
        rotating_thread.start()
        waits_for_the_row(store)
    finally:
        answered.set()
        worker.join(20)
    rotating_thread.join(20)

    assert tallies(done)[2] == (1, 0, 0)
    assert opened(rotating, oauth_tokens.c.sealed, key=NEW) == [{"access": "a2", "refresh": "r2"}]


def test_rows_that_others_hold_are_waited_for_and_the_rest_is_not(
    rotating: Store, store: Store, accept: Accept
) -> None:
    first, second = (accept("telegram", credentials=CREDENTIALS, lead_id=number).batch_id for number in (1, 2))
    with store.begin() as connection:
        connection.execute(select(deliveries.c.id).where(deliveries.c.batch_id == first).with_for_update())
        thread = Thread(target=lambda: rotation.reseal(rotating, advance=nothing))
        thread.start()
        waits_for_the_row(store)
        # the other row is done and let go of, though the first is waited for
        with store.begin() as other:
            held = select(deliveries.c.credentials_sealed).where(deliveries.c.batch_id == second)
            anew = other.execute(held.with_for_update(nowait=True)).scalar_one()
        assert inside(anew, key=NEW) == CREDENTIALS["telegram"]
        connection.execute(
            update(deliveries).where(deliveries.c.batch_id == first).values(credentials_sealed=None, attempts=1)
        )
    thread.join(20)

    with store.begin() as connection:
        row = connection.execute(select(deliveries).where(deliveries.c.batch_id == first)).one()
    assert (row.credentials_sealed, row.attempts) == (None, 1)


def test_what_was_sealed_with_the_old_key_does_not_open_without_it(rotating: Store, sealed: None) -> None:
    with pytest.raises(InvalidToken):
        opened(rotating, deliveries.c.credentials_sealed, key=NEW)


def waits_for_the_row(store: Store) -> None:
    """Returns when a transaction of this database waits for a row that another one holds."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(400):
        with store.begin() as connection:
            if connection.execute(waiting).scalar_one():
                return
        sleep(0.05)
    raise AssertionError("nobody waits")


def everything(store: Store) -> list[Any]:
    with store.begin() as connection:
        return [connection.execute(select(table)).all() for table in (leads, batches, deliveries, oauth_tokens)]
