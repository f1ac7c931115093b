"""Who may erase what is his alone erases nothing of others: no run, no batch that comes, no lead that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from leadcast.control.erase import Eraser, InAirflow
from leadcast.core.clock import utc_now
from leadcast.core.model import Lead
from leadcast.core.reach import EVERYBODYS, Reach
from leadcast.core.request_errors import OthersLead
from leadcast.core.settings import Settings
from leadcast.flow.inbox import Inbox
from leadcast.store import whose
from leadcast.store.batches import leads
from leadcast.store.database import Store
from leadcast.store.erasing import erasures
from leadcast.store.schema import batches
from leadcast.store.upkeep import migrate
from tests.hostile.rights import BATCH, LEAD
from tests.hostile.test_people import call, send
from tests.support.older_store import older_store

pytestmark = pytest.mark.store
PATH = f"/leads/{LEAD}"


@dataclass
class Airflow:
    """Holds runs: run id → who has made it. Something may happen while it is asked."""

    runs: dict[str, str | None] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None

    async def erase(self, lead_id: str, *, token: str, reach: Reach) -> InAirflow:
        self.meanwhile()
        if not all(reach.takes(user, utc_now()) for user in self.runs.values()):
            return InAirflow(is_others=True)
        number = len(self.runs)
        self.runs.clear()
        return InAirflow(erased={"runs": number})


@pytest.fixture
def airflow(anonymous: TestClient) -> Airflow:
    mounted = next(route.app for route in anonymous.app.routes if getattr(route, "path", "") == "/api/integrations")  # type: ignore[attr-defined]
    airflow = Airflow()
    mounted.state.backend = replace(mounted.state.backend, erase_in_airflow=airflow.erase)
    return airflow


def put(client: TestClient, user: str) -> None:
    assert call(client, user, "PUT", PATH, json={"name": user}).status_code in (200, 201)


def erase(client: TestClient, user: str) -> int:
    return call(client, user, "DELETE", PATH).status_code


def batch(store: Store, batch_id: str) -> Any:
    with store.begin() as connection:
        return connection.execute(batches.select().where(batches.c.id == batch_id)).one()


@pytest.mark.parametrize("others", ["admin", None])
def test_a_lead_that_anothers_run_holds_is_not_his_though_he_has_stored_it(
    anonymous: TestClient, airflow: Airflow, store: Store, others: str | None
) -> None:
    airflow.runs["manual-1"] = others
    assert erase(anonymous, "sender-other") == 403
    put(anonymous, "sender-other")
    refused = call(anonymous, "sender-other", "DELETE", PATH)
    assert (refused.status_code, list(airflow.runs)) == (403, ["manual-1"])
    assert refused.json() == call(anonymous, "sender-other", "DELETE", "/leads/404").json()
    with store.begin() as connection:
        assert leads.find(connection, LEAD) is not None
        assert erasures.find(connection, LEAD) is None
    assert (erase(anonymous, "operator"), airflow.runs) == (200, {})


def test_nor_is_it_where_he_has_had_it_erased_before(anonymous: TestClient, airflow: Airflow) -> None:
    put(anonymous, "sender-other")
    airflow.runs["his"] = "sender-other"
    assert (erase(anonymous, "sender-other"), airflow.runs) == (200, {})
    airflow.runs["manual-1"] = "admin"
    assert (erase(anonymous, "sender-other"), list(airflow.runs)) == (403, ["manual-1"])


@pytest.mark.parametrize("way", ["put", "inline"])
@pytest.mark.parametrize("first", ["sender-own", "operator"])
def test_storing_over_a_lead_of_anothers_makes_it_nobodys_alone(anonymous: TestClient, first: str, way: str) -> None:
    put(anonymous, first)
    if way == "put":
        put(anonymous, "sender-other")
        put(anonymous, "sender-other")
    else:
        send(anonymous, "sender-other")
    shown = call(anonymous, "sender-other", "GET", PATH).json()["lead"]
    assert shown["name"] == ("sender-other" if way == "put" else "Ann Needle")
    assert [erase(anonymous, user) for user in ("sender-other", "sender-own", "operator")] == [403, 403, 200]
    # it is another lead after that
    put(anonymous, "sender-other")
    assert erase(anonymous, "sender-other") == 200


def test_a_lead_of_nobodys_is_not_taken_over(anonymous: TestClient, store: Store) -> None:
    with store.begin() as connection:
        leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by=None)
    put(anonymous, "sender-other")
    assert erase(anonymous, "sender-other") == 403


@pytest.mark.parametrize("way", ["batch", "put"])
def test_what_another_makes_in_that_moment_is_asked_for_again(
    anonymous: TestClient, airflow: Airflow, store: Store, way: str
) -> None:
    put(anonymous, "sender-own")
    made: list[str] = []

    def beside() -> None:
        if way == "put":
            with store.begin() as connection:
                leads.put(connection, Lead(id=LEAD, name="Bo"), stored_by="admin")
        else:
            made.append(Inbox(store, Settings()).accept({**BATCH, "lead": None}, sent_by="admin").batch_id)

    airflow.meanwhile = beside
    assert erase(anonymous, "sender-own") == 403
    with store.begin() as connection:
        assert leads.find(connection, LEAD) is not None
    for batch_id in made:
        assert (batch(store, batch_id).status, batch(store, batch_id).erased_at) == ("pending", None)


@pytest.fixture
def eraser(store: Store) -> Eraser:
    return Eraser(store=store, settings=Settings())


def ask(eraser: Eraser, user: str, reach: Reach, **in_airflow: Any) -> None:
    eraser.lead(LEAD, asked_by=user, in_airflow=InAirflow(**in_airflow), reach=reach)


def run(store: Store, user: str | None, made_at: datetime, run_id: str = "manual-1") -> Any:
    """The batch that a run of this user's becomes."""
    accepted = Inbox(store, Settings()).accept(BATCH, run_id=run_id, sent_by=user, made_at=made_at, caller="dag_run")
    return batch(store, accepted.batch_id)


@pytest.mark.parametrize("runs", [["manual-1"], [], None], ids=["listed", "not found", "not looked for"])
@pytest.mark.parametrize("user", ["user", "admin", None])
def test_his_erasure_takes_what_his_older_runs_accept_and_nobody_elses(
    store: Store, eraser: Eraser, user: str | None, runs: list[str] | None
) -> None:
    with store.begin() as connection:
        leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="user")
    ask(eraser, "user", Reach(only_of="user"), left=None if runs is None else dict.fromkeys(runs, "It runs."))
    made = run(store, user, utc_now() - timedelta(minutes=1))
    assert (made.erased_at is not None) is (user == "user")
    eraser.go_on()
    assert (batch(store, made.id).status == "cancelled", not batch(store, made.id).lead) == (user == "user",) * 2


@pytest.mark.parametrize("user", ["admin", None])
def test_a_batch_of_anothers_under_a_listed_run_is_left(store: Store, eraser: Eraser, user: str | None) -> None:
    """As where the run was deleted, and another one made with its id."""
    with store.begin() as connection:
        leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="user")
    ask(eraser, "user", Reach(only_of="user"), left={"manual-1": "It runs."})
    made = Inbox(store, Settings()).accept(BATCH, sent_by=user).batch_id
    with store.begin() as connection:
        connection.execute(batches.update().values(wave_id="manual-1"))
    eraser.go_on()
    assert (batch(store, made).status, batch(store, made).erased_at) == ("pending", None)


def test_an_erasure_of_everybodys_reaches_as_far_after_one_of_his_own(store: Store, eraser: Eraser) -> None:
    older = utc_now()
    with store.begin() as connection:
        leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="admin")
    ask(eraser, "officer", EVERYBODYS, audit_log_left=True)
    for _ in range(2):
        with store.begin() as connection:
            leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="user")
        ask(eraser, "user", Reach(only_of="user"))
    # he has not looked through others' rows of the audit log
    assert [erasure.audit_log_left for erasure in eraser.open_ones()] == [True]
    assert run(store, "admin", utc_now(), "new").erased_at is None
    assert run(store, "admin", older, "old").erased_at is not None


def test_the_eraser_itself_asks_whose_it_is(store: Store, eraser: Eraser) -> None:
    made = Inbox(store, Settings()).accept(BATCH, sent_by="admin").batch_id
    for user, lead_id in (("user", LEAD), ("", LEAD), ("user", "404"), ("", "404")):
        with pytest.raises(OthersLead):
            eraser.lead(lead_id, asked_by=user, in_airflow=InAirflow(), reach=Reach(only_of=user))
    assert (batch(store, made).status, eraser.open_ones()) == ("pending", [])


def test_before_the_upgrade_leads_are_taken_and_an_older_erasure_is_everybodys(
    postgres_url: str, fernet_key: str
) -> None:
    with older_store(postgres_url, name="whose_is_erased", revision="0012", fernet_key=fernet_key) as store:
        with store.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO erasures (lead_id, asked_at, asked_by, erased, runs) VALUES ('7', now(), 'x', '{}', '[]')"
            )
        assert run(store, "admin", utc_now() - timedelta(minutes=1)).erased_at is not None
        with store.begin() as connection:
            leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="admin")
        migrate.upgrade(store.engine)
        assert run(store, "admin", utc_now() - timedelta(minutes=1), "old").erased_at is not None
        with store.begin() as connection:
            leads.put(connection, Lead(id=LEAD, name="Ann"), stored_by="admin")
            assert whose.of_lead(connection, LEAD).stored == ["admin", None]
