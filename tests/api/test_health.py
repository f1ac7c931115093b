"""`GET /health`: what it says of a store and pools in any condition."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from leadcast.api import health as health_module
from leadcast.api.health import LATE_S, Status, judge
from leadcast.control.monitor import StoreHealth
from leadcast.core.errors import SettingsError
from leadcast.core.setting_choices import Occasion
from leadcast.store import outbox
from leadcast.store.database import Store, open_engine
from leadcast.store.paces import Channel
from leadcast.store.schema import notifications
from tests.api.conftest import BODY, TOKEN

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def waiting(seconds: float) -> StoreHealth:
    return StoreHealth(reachable=True, migrated=True, oldest_pending_at=NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("store", "missing_pools", "paused_dags", "status"),
    [
        (StoreHealth(True, True, None), [], [], Status.OK),
        (waiting(5), [], [], Status.OK),
        (waiting(LATE_S + 1), [], [], Status.DEGRADED),
        (StoreHealth(True, True, None), ["notifications"], [], Status.DEGRADED),
        (StoreHealth(True, True, None), None, [], Status.DEGRADED),
        (StoreHealth(True, True, None), [], ["sweep"], Status.DEGRADED),
        (StoreHealth(True, True, None), [], None, Status.DEGRADED),
        (StoreHealth(True, True, None, {"amocrm": 1}), [], [], Status.DEGRADED),
        (StoreHealth(True, True, None, unsent={"email": 2}), [], [], Status.DEGRADED),
        (StoreHealth(True, False, None), [], [], Status.DOWN),
        (StoreHealth(False, False, None), [], [], Status.DOWN),
    ],
)
def test_the_status_follows_from_what_was_found(
    store: StoreHealth, missing_pools: list[str] | None, paused_dags: list[str] | None, status: Status
) -> None:
    answer = judge(store, missing_pools=missing_pools, paused_dags=paused_dags, now=NOW)
    assert answer.status is status
    assert bool(answer.hints) is (status is not Status.OK and None not in (missing_pools, paused_dags))


@pytest.mark.store
def test_paused_dags_degrade_and_are_named(serve: Callable[..., TestClient], store: Store) -> None:
    health = serve(lambda: store, paused_dags=lambda: ["sweep"]).get("/health").json()
    assert (health["status"], health["paused_dags"]) == ("degraded", ["sweep"])
    assert "sweep" in health["hints"][0]


@pytest.mark.store
def test_a_working_store_is_healthy_and_tells_how_long_a_batch_waits(
    serve: Callable[..., TestClient], store: Store
) -> None:
    client = serve(lambda: store)
    client.post("/send-batch", json=BODY, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert (health["status"], health["store_reachable"], health["store_migrated"]) == ("ok", True, True)
    assert 0 <= health["oldest_pending_s"] < 60


@pytest.mark.store
def test_messages_that_could_not_be_sent_degrade_and_are_counted(
    serve: Callable[..., TestClient], store: Store
) -> None:
    with store.begin() as connection:
        for number, channel in enumerate([*[Channel.EMAIL] * 3, Channel.CALLBACK_URL]):
            new = outbox.New(key=f"w:{number}", batch_id=None, channel=channel, occasion=Occasion.CRITICAL)
            outbox.queue(connection, new, now=NOW)
        # one letter has not been tried yet, and a caller's own address says nothing of us
        tried = notifications.c.key != "w:0"
        connection.execute(update(notifications).where(tried).values(error="the mail server is away"))
    health = serve(lambda: store).get("/health").json()
    assert (health["status"], health["unsent"]) == ("degraded", {"email": 2})
    assert "2 × email" in health["hints"][0]


@pytest.mark.store
def test_missing_pools_degrade_and_are_named(serve: Callable[..., TestClient], store: Store) -> None:
    health = serve(lambda: store, missing_pools=lambda: ["integration-email"]).get("/health")
    assert (health.status_code, health.json()["missing_pools"]) == (200, ["integration-email"])


@pytest.mark.store
def test_a_store_that_is_gone_is_down_and_no_secret_told(serve: Callable[..., TestClient], store: Store) -> None:
    gone = Store(open_engine("postgresql+psycopg2://nobody:SECRET@127.0.0.1:1/gone"), store.sealer)
    answer = serve(lambda: gone).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert "SECRET" not in answer.text


def test_an_installation_without_a_store_is_down(serve: Callable[..., TestClient]) -> None:
    def unset() -> Store:
        raise SettingsError("[leadcast] store_url is not set.")

    answer = serve(unset).get("/health")
    assert (answer.status_code, answer.json()["store_reachable"]) == (503, False)


def test_it_is_looked_at_once_however_often_it_is_asked(serve: Callable[..., TestClient]) -> None:
    looked: list[int] = []

    def missing_pools() -> list[str]:
        looked.append(1)
        return []

    def unset() -> Store:
        raise SettingsError("[leadcast] store_url is not set.")

    client = serve(unset, missing_pools=missing_pools)
    for _ in range(3):
        client.get("/health")
    assert len(looked) == 1


def test_who_asks_is_answered_while_the_look_hangs(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a store behind a network that stands still."""
    monkeypatch.setattr(health_module, "LOOKS_FOR_S", 0.2)
    monkeypatch.setattr(health_module, "KEPT_S", 0.0)
    goes_on = threading.Event()
    goes_on.set()

    def missing_pools() -> list[str]:
        assert goes_on.wait(60)
        return []

    def unset() -> Store:
        raise SettingsError("[leadcast] store_url is not set.")

    client = serve(unset, missing_pools=missing_pools)
    for _ in ("nothing is known yet", "it was well before"):
        goes_on.clear()
        for _ in range(2 * health_module.THREADS):
            answer = client.get("/health")
            assert (answer.status_code, answer.json()["status"]) == (503, "down")
        # what it was before is said for a while, and then no longer
        assert any(client.get("/health").json()["missing_pools"] is None for _ in range(1000))
        goes_on.set()
        while client.get("/health").json()["missing_pools"] is None:
            pass
