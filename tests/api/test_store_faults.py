"""The door while the store is in trouble: it is said (503, when to come again), nothing is half-stored, and all that
was answered with 202 is delivered. And many equal requests at the same moment."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import func, make_url, select, text

from leadcast.core.clock import utc_now
from leadcast.core.ending import Ending
from leadcast.core.errors import StoreError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.core.model import BatchStatus, Receipt
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.settle import Settler
from leadcast.integrations import registry
from leadcast.integrations.base import Account
from leadcast.lead_table.table import LeadTable
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import lanes
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import batches, deliveries
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate
from tests.api.conftest import TOKEN
from tests.store.conftest import OneSecret, Service
from tests.support.by_hand import by_hand
from tests.support.own_postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.store
Serve = Callable[..., TestClient]
BODY: dict[str, Any] = {
    "lead_id": 123,
    "lead": {"name": "Анна"},
    "integrations": [{"type": "telegram"}, {"type": "amocrm"}],
}
MOST_TRIES = 2000


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def own_store(own: OwnPostgres, fernet_key: str) -> Iterator[Store]:
    engine = open_engine(own.url.render_as_string(hide_password=False), pool_size=20)
    migrate.remove(engine)
    migrate.upgrade(engine)
    yield Store(engine, Sealer(fernet_key))
    engine.dispose()


def signed_in(client: TestClient) -> TestClient:
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


def send(client: TestClient, body: dict[str, Any] | None = None, *, key: str = "") -> Response:
    answer: Response = client.post("/send-batch", json=body or BODY, headers={"Idempotency-Key": key} if key else {})
    return answer


def is_away(answer: Response) -> bool:
    """Whether it says that the store is away, as it should; else it was accepted."""
    if answer.status_code == 202:
        return False
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["title"] == "Store not available"
    return True


def sent_until_accepted(client: TestClient, *, key: str = "") -> Response:
    """As a client does: the same request again until it is accepted."""
    for _ in range(MOST_TRIES):
        if not is_away(answer := send(client, key=key)):
            return answer
        threading.Event().wait(0.05)
    raise AssertionError("the store does not come back")


def stored(store: Store) -> dict[str, int]:
    """Batch → how many deliveries it has."""
    with store.begin() as connection:
        counted = select(batches.c.id, func.count(deliveries.c.id)).outerjoin(deliveries).group_by(batches.c.id)
        return dict(connection.execute(counted).all())


def test_a_full_disk_is_said_and_loses_nothing(
    own: OwnPostgres, own_store: Store, serve: Serve, fernet_key: str
) -> None:
    client = signed_in(serve(lambda: own_store))
    accepted = [send(client).json()["batch_id"]]
    own.disk.fill()
    large = BODY | {"lead": {"name": "Анна", "comment": "ы" * 4000}}
    refused = 0
    for _ in range(MOST_TRIES):
        answer = send(client, large)
        if is_away(answer):
            refused += 1
        else:
            accepted.append(answer.json()["batch_id"])
        if refused == 5:
            break
    assert refused == 5, "the disk did not fill up"
    own.disk.free()
    if not own.is_running():  # PostgreSQL stops where it can no longer write its log; a supervisor starts it again
        own.start()
    accepted.append(sent_until_accepted(client).json()["batch_id"])

    kept = stored(own_store)
    assert set(kept.values()) == {2}, "a batch without all of its deliveries"
    assert set(accepted) <= set(kept)
    assert set(delivered(own_store)) == set(kept)


def delivered(store: Store) -> list[str]:
    """Delivers and settles all that is due; gives the batches that are completed."""
    settings, service = Settings(), Service()
    deliverer = Deliverer(
        store=store,
        settings=settings,
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(store),
        hide=lambda secret: None,
    )
    with store.begin() as connection:
        due = [ref for kind in registry.types() for ref in lanes.due(connection, kind, now=utc_now(), limit=1000)]
    for ref in due:
        wanted: dict[str, Any] = {
            "integration": service,
            "run_id": "w",
            "last_in_run": False,
            "action": by_hand(deliverer),
        }
        assert isinstance(deliverer.deliver(ref.delivery_id, **wanted), Receipt)
    settled = Settler(store=store, settings=settings).wave("w", Ending())
    return [batch.batch_id for batch in settled if batch.status is BatchStatus.COMPLETED]


def test_a_database_that_is_restarted_amid_requests_has_one_batch_for_each(
    own: OwnPostgres, own_store: Store, serve: Serve
) -> None:
    client = signed_in(serve(lambda: own_store))
    keys = [str(uuid.uuid4()) for _ in range(50)]
    answers: list[str] = []
    under_way = threading.Semaphore(0)

    def ask(key: str) -> str:
        batch_id: str = sent_until_accepted(client, key=key).json()["batch_id"]
        under_way.release()
        return batch_id

    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(ask, keys)
        for _ in range(2):
            for _ in range(10):
                under_way.acquire(timeout=60)
            own.stop()
            own.start()
        answers = list(asked)
    assert len(set(answers)) == len(keys)
    assert stored(own_store) == dict.fromkeys(answers, 2)


def test_where_all_connections_are_in_use_callers_are_told_when_to_come_again(
    store: Store, postgres_url: str, serve: Serve
) -> None:
    engine = open_engine(postgres_url, pool_size=1)
    narrow = Store(engine, store.sealer)
    client = signed_in(serve(lambda: narrow))
    with ThreadPoolExecutor(1) as pool:
        with narrow.begin(), narrow.begin():
            assert is_away(pool.submit(send, client).result(timeout=60))
        assert not is_away(send(client))
    engine.dispose()
    assert list(stored(store).values()) == [2]


def test_what_is_answered_is_what_is_stored_however_many_ask_at_once(
    store: Store, postgres_url: str, serve: Serve
) -> None:
    engine = open_engine(postgres_url, pool_size=1)
    narrow = Store(engine, store.sealer)
    client = signed_in(serve(lambda: narrow))
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: send(client), range(120)))
    accepted = [answer.json()["batch_id"] for answer in answers if not is_away(answer)]
    assert stored(store) == dict.fromkeys(accepted, 2)
    assert accepted
    engine.dispose()


def test_a_database_that_takes_no_more_connections_is_said(store: Store, postgres_url: str, serve: Serve) -> None:
    role = f"caller_{uuid.uuid4().hex[:8]}"
    with store.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"))
    engine = open_engine(make_url(postgres_url).set(username=role).render_as_string(hide_password=False))
    try:
        assert is_away(send(signed_in(serve(lambda: Store(engine, store.sealer)))))
    finally:
        engine.dispose()
        with store.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_on_tables_of_an_older_version_batches_are_accepted_and_wait_for_the_upgrade(
    own: OwnPostgres, own_store: Store, serve: Serve, revision: str
) -> None:
    migrate.downgrade(own_store.engine, revision=revision)
    client = signed_in(serve(lambda: own_store))
    accepted = send(client)
    assert accepted.status_code == 202
    mended = [send(client, BODY | {"lead": {"name": "Анна\x00"}}, key="mended") for _ in range(2)]
    assert [answer.status_code for answer in mended] == [202, 202]
    ids = {answer.json()["batch_id"] for answer in (accepted, *mended)}
    assert client.get("/health").json()["store_migrated"] is False
    assert is_away(client.get(f"/batches/{accepted.json()['batch_id']}"))
    with pytest.raises(StoreError):
        delivered(own_store)
    assert stored(own_store) == dict.fromkeys(ids, 2)
    migrate.upgrade(own_store.engine)
    assert set(delivered(own_store)) == ids


class FullDisk:
    """A log that cannot be written."""

    def msg(self, message: str) -> None:
        raise OSError(28, "No space left on device")

    log = debug = info = warning = error = critical = msg


@pytest.fixture
def log_on_full_disk() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(logger_factory=lambda *args: FullDisk(), processors=[structlog.processors.JSONRenderer()])
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("log_on_full_disk")
def test_a_log_that_cannot_be_written_changes_no_answer(client: TestClient, serve: Serve, postgres_url: str) -> None:
    first, again = send(client, key="once"), send(client, key="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    nowhere = open_engine(make_url(postgres_url).set(database="no_such").render_as_string(hide_password=False))
    assert is_away(send(signed_in(serve(lambda: Store(nowhere, Sealer("x" * 43 + "="))))))


@dataclass
class Crowd:
    """Asks ten times at the same moment."""

    client: TestClient
    size: int = 10

    def ask(self, bodies: Callable[[int], dict[str, Any]], *, key: str) -> list[Response]:
        gate = threading.Barrier(self.size)

        def one(number: int) -> Response:
            gate.wait(60)
            return send(self.client, bodies(number), key=key)

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(one, range(self.size)))


@pytest.fixture(params=["inline", "stored", "lead table"])
def crowd_and_body(
    request: pytest.FixtureRequest, client: TestClient, store: Store, postgres_url: str
) -> Iterator[tuple[Crowd, dict[str, Any]]]:
    if request.param == "inline":
        yield Crowd(client), BODY
        return
    named = {name: value for name, value in BODY.items() if name != "lead"}
    if request.param == "stored":
        assert client.put("/leads/123", json=BODY["lead"]).is_success
        yield Crowd(client), named
        return
    with store.begin() as connection:
        connection.execute(text("CREATE TABLE inquiries (nr integer PRIMARY KEY, fio text)"))
        connection.execute(text("INSERT INTO inquiries VALUES (123, 'Анна')"))
    mapping = LeadMapping(conn_id="crm", table="inquiries", key="nr", columns={"name": "fio"})
    table = LeadTable(make_url(postgres_url), mapping)
    state = client.app.routes[-1].app.state  # type: ignore[attr-defined]
    state.backend = replace(state.backend, lead_source=lambda: table)
    yield Crowd(client), named
    table.close()
    with store.begin() as connection:
        connection.execute(text("DROP TABLE inquiries"))


def test_equal_requests_at_the_same_moment_make_one_batch_and_get_one_answer(
    store: Store, crowd_and_body: tuple[Crowd, dict[str, Any]]
) -> None:
    crowd, body = crowd_and_body
    for number in range(20):
        answers = crowd.ask(lambda _: body, key=f"key-{number}")
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        replayed = Counter(answer.headers.get("Idempotency-Replayed") for answer in answers)
        assert replayed == {None: 1, "true": len(answers) - 1}
    assert list(stored(store).values()) == [2] * 20


def test_of_different_requests_with_one_key_at_the_same_moment_one_wins(
    store: Store, crowd_and_body: tuple[Crowd, dict[str, Any]]
) -> None:
    crowd, body = crowd_and_body
    for number in range(20):
        answers = crowd.ask(lambda n: body | {"callback_url": f"https://example.com/{n}"}, key=f"key-{number}")
        assert Counter(answer.status_code for answer in answers) == {202: 1, 409: len(answers) - 1}
        assert "Idempotency-Replayed" not in next(a for a in answers if a.status_code == 202).headers
    assert list(stored(store).values()) == [2] * 20
