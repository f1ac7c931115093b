"""Reading people, and undoing what others have sent: who may is one table (rights.py), shown in docs/security.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import update

from leadcast.api.app import create_app
from leadcast.core.clock import utc_now
from leadcast.core.errors import RejectedError
from leadcast.core.model import AttemptOutcome, DeliveryState
from leadcast.core.settings import Settings
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from leadcast.store.schema import batches, leads
from leadcast.store.upkeep import migrate
from tests.api.conftest import TOKEN, admit, anonymous, bell, serve  # noqa: F401  # fixtures
from tests.hostile.ended import end_partially
from tests.hostile.rights import BATCH, CALLS, FIELDS, LEAD, WHO, Call, Field, calls_table, fields_table
from tests.support.leases import living
from tests.support.older_store import older_store
from tests.support.planned import begin_batch

pytestmark = pytest.mark.store
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def call(client: TestClient, user: str, method: str, path: str, **more: object) -> Response:
    headers: Mapping[str, str] = {"Authorization": f"Bearer {TOKEN}", "X-Test-User": user}
    answer: Response = client.request(method, path, headers={} if user == "nobody" else headers, **more)  # type: ignore[arg-type]
    return answer


def send(client: TestClient, user: str = "sender-own", **changed: object) -> str:
    answer = call(client, user, "POST", "/send-batch", json=BATCH | changed)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_id"])


def partial(client: TestClient, store: Store, user: str = "sender-own") -> str:
    """A batch of this user's that has ended; its services have repeated the lead."""
    batch_id = send(client, user)
    end_partially(store, batch_id)
    return batch_id


def named(path: str, batch_id: str) -> str:
    return path.format(batch_id=batch_id, lead_id=LEAD)


def test_every_route_is_in_the_table() -> None:
    routes = {
        (method, route.path)
        for route in create_app(admit=admit).routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert {(call.method, call.path) for call in CALLS} == routes | {("GET", "/health")}


@pytest.mark.parametrize("asked", CALLS, ids=lambda item: f"{item.method} {item.path}")
def test_who_may_call_what(anonymous: TestClient, store: Store, asked: Call) -> None:  # noqa: F811
    seen = {}
    # last who may do it, and so may change how it stands
    for user in WHO:
        batch_id = send(anonymous) if asked.path.endswith("cancel") else partial(anonymous, store)
        if asked.path.endswith("erasure"):
            call(anonymous, "operator", "DELETE", f"/leads/{LEAD}")
        answer = call(anonymous, user, asked.method, named(asked.path, batch_id), json=asked.body)
        seen[user] = answer.status_code
        if asked.method == "PUT":
            # put back as it was
            call(anonymous, "sender-own", "PUT", f"/leads/{LEAD}", json=BATCH["lead"])
    assert seen == dict(asked.expected)


@pytest.mark.parametrize("path", ["/batches/{batch_id}", "/batches", "/leads/{lead_id}"])
def test_who_sees_what(anonymous: TestClient, store: Store, path: str) -> None:  # noqa: F811
    batch_id = partial(anonymous, store)
    told = {user: call(anonymous, user, "GET", named(path, batch_id)).text for user in WHO}
    for item in FIELDS:
        holders = {user for user, text in told.items() if item.needle in text}
        assert holders == (set(item.seen_by) if set(item.seen_by) & holders or _is_held(item, path) else set()), item
        assert not holders - set(item.seen_by), item


def _is_held(item: Field, path: str) -> bool:
    """Whether answers of this call hold such a field at all."""
    return "`lead`" not in item.name or path.startswith("/leads")


@pytest.mark.parametrize("user", ["viewer", "sender-other"])
def test_what_is_masked_is_said_to_be(anonymous: TestClient, store: Store, user: str) -> None:  # noqa: F811
    batch_id = partial(anonymous, store)
    for name, is_masked in ((user, True), ("sender-own", False), ("operator", False)):
        batch = call(anonymous, name, "GET", f"/batches/{batch_id}").json()
        [listed] = call(anonymous, name, "GET", "/batches").json()["batches"]
        lead = call(anonymous, name, "GET", f"/leads/{LEAD}").json()
        assert [batch["masked"], listed["masked"], lead["masked"]] == [is_masked] * 3
        assert [batch["notes"] is None, listed["notes"] is None, lead["lead"] is None] == [is_masked] * 3
    batch = call(anonymous, user, "GET", f"/batches/{batch_id}").json()
    failed, delivered, away = batch["deliveries"]
    assert failed["error"]["message"] == "Telegram refuses the message: …"
    assert [item["message"] for item in failed["history"]] == ["Telegram refuses the message: …"]
    assert away["error"]["message"] == "Cannot reach …: connection refused; nothing was sent."
    assert (failed["error"]["detail"], delivered["receipt"]["detail"]) == (None, None)


@pytest.mark.parametrize("user", ["viewer", "sender-other"])
def test_pages_are_masked_too(anonymous: TestClient, store: Store, user: str) -> None:  # noqa: F811
    batch_id = partial(anonymous, store)
    for path in (f"/ui/batches/{batch_id}", "/ui", f"/ui?lead_id={LEAD}"):
        page = call(anonymous, user, "GET", path).text
        assert batch_id in page
        assert not re.findall("needle|Needle", page)
    own = call(anonymous, "sender-own", "GET", f"/ui/batches/{batch_id}").text
    assert "needle detail" in own
    assert "needle field" in own


@pytest.mark.parametrize("code", ["79990000007", "a@b.example", "Ann Needle"])
def test_a_code_may_be_a_services_words(anonymous: TestClient, store: Store, code: str) -> None:  # noqa: F811
    batch_id = send(anonymous)
    error = RejectedError(f"Bitrix24 refused the lead ({code}).", code=code)
    ended = ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.REJECTED, error=error)
    with store.begin() as connection:
        begin_batch(connection, batch_id, run_id="wave__1")
        begun = ledger.begin(connection, f"{batch_id}-0", lease=living(store), now=utc_now())
        assert begun is not None
        ledger.end(connection, begun, ended, now=utc_now())
    assert code in call(anonymous, "sender-own", "GET", f"/batches/{batch_id}").text
    assert code not in call(anonymous, "viewer", "GET", f"/batches/{batch_id}").text


class Table:
    """The company's own table: two hundred people."""

    def find(self, lead_id: str) -> Mapping[str, str] | None:
        known = lead_id.isdigit() and 1 <= int(lead_id) <= 200
        return {"name": f"Customer {lead_id}", "phone": f"+7999000{int(lead_id):04}"} if known else None


@pytest.fixture
def with_table(anonymous: TestClient) -> TestClient:  # noqa: F811
    """The application with a lead table."""
    from dataclasses import replace

    mounted = next(route.app for route in anonymous.app.routes if getattr(route, "path", "") == "/api/integrations")  # type: ignore[attr-defined]
    mounted.state.backend = replace(mounted.state.backend, lead_source=Table)
    return anonymous


@pytest.mark.parametrize("user", ["viewer", "sender-other", "operator"])
def test_counting_up_ids_reads_nobody(with_table: TestClient, user: str) -> None:
    sent = send(with_table, "sender-own", lead_id="5", lead=None)
    answers = {number: call(with_table, user, "GET", f"/leads/{number}") for number in range(1, 301)}
    found = [number for number, answer in answers.items() if answer.status_code == 200]
    assert found == [5]
    shown = answers[5].json()
    assert shown["batches"][0]["batch_id"] == sent
    assert (shown["lead"] or {}).get("name") == ("Customer 5" if user == "operator" else None)
    # one who is in the table and one who is not are told alike
    told = {answer.text.replace(f"'{n}'", "N").replace(f"/{n}.", "N") for n, answer in answers.items() if n != 5}
    assert len(told) == 1


def test_a_lead_of_the_table_is_shown_as_it_was_sent(with_table: TestClient) -> None:
    send(with_table, "sender-own", lead_id="5", lead=None)
    assert call(with_table, "sender-own", "GET", "/leads/5").json()["lead"]["name"] == "Customer 5"


def test_a_lead_that_was_only_stored_is_there_for_those_who_may_see_it(anonymous: TestClient) -> None:  # noqa: F811
    call(anonymous, "sender-own", "PUT", "/leads/9", json={"name": "Ann"})
    codes = {user: call(anonymous, user, "GET", "/leads/9").status_code for user in WHO}
    assert codes == {"nobody": 401, "viewer": 404, "sender-other": 404, "sender-own": 200, "operator": 200}
    unknown = call(anonymous, "sender-other", "GET", "/leads/8").text
    assert call(anonymous, "sender-other", "GET", "/leads/9").text == unknown.replace("8", "9")


def test_who_stores_over_a_lead_sees_what_he_has_written_alone(anonymous: TestClient) -> None:  # noqa: F811
    send(anonymous, "sender-own")
    call(anonymous, "sender-other", "PUT", f"/leads/{LEAD}", json={"name": "Written over"})
    seen = {user: call(anonymous, user, "GET", f"/leads/{LEAD}").json()["lead"] for user in WHO if user != "nobody"}
    assert {user: lead and lead["name"] for user, lead in seen.items()} == {
        "viewer": None,
        "sender-other": "Written over",
        "sender-own": "Ann Needle",
        "operator": "Written over",
    }


def test_a_lead_that_others_have_to_do_with_is_erased_by_operators_alone(anonymous: TestClient) -> None:  # noqa: F811
    send(anonymous, "sender-own")
    send(anonymous, "sender-other")
    for user in ("sender-own", "sender-other"):
        refused = call(anonymous, user, "DELETE", f"/leads/{LEAD}")
        assert refused.status_code == 403
        assert "delete Leadcast leads" in refused.json()["detail"]
        # whether there is such a lead is not told
        assert call(anonymous, user, "DELETE", "/leads/404").json() == refused.json()
    assert call(anonymous, "operator", "DELETE", f"/leads/{LEAD}").status_code == 200
    assert call(anonymous, "operator", "DELETE", "/leads/404").status_code == 404


def test_whoever_had_a_lead_erased_may_ask_again(anonymous: TestClient) -> None:  # noqa: F811
    call(anonymous, "sender-own", "PUT", "/leads/9", json={"name": "Ann"})
    first, again = (call(anonymous, "sender-own", "DELETE", "/leads/9") for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert call(anonymous, "sender-other", "DELETE", "/leads/9").status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/send-batch"), ("PUT", "/leads/9"), ("DELETE", "/leads/9"), ("POST", "/batches/b/retry")],
)
def test_who_looks_on_is_told_what_sending_takes(anonymous: TestClient, method: str, path: str) -> None:  # noqa: F811
    refused = call(anonymous, "viewer", method, path)
    assert refused.status_code == 403
    for words in ("may look on, not send", "create runs of the DAG send_lead", "Leadcast sender", "role user"):
        assert words in refused.json()["detail"]


def test_who_may_not_see_a_lead_is_not_told_to_store_it(anonymous: TestClient) -> None:  # noqa: F811
    call(anonymous, "sender-own", "PUT", "/leads/9", json={"name": "Ann"})
    told = [
        call(anonymous, user, "GET", f"/leads/{lead}") for user in ("viewer", "sender-other") for lead in ("9", "8")
    ]
    assert {answer.status_code for answer in told} == {404}
    for answer in told:
        assert "PUT" not in answer.text
        assert "shown to whoever has stored it" in answer.json()["detail"]


@pytest.mark.parametrize("sender", ["sender-own", None])
def test_the_page_of_a_batch_says_whom_to_ask(
    anonymous: TestClient,  # noqa: F811
    store: Store,
    sender: str | None,
) -> None:
    batch_id = send(anonymous)
    with store.begin() as connection:
        connection.execute(update(batches).values(sent_by=sender))
    page = call(anonymous, "viewer", "GET", f"/ui/batches/{batch_id}").text
    assert ("<b>sender-own</b>, who has sent it" in page) == (sender is not None)
    assert "Leadcast operator" in page
    assert "ask one of them" in page


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_a_refusal_says_which_right_is_missing(anonymous: TestClient, action: str) -> None:  # noqa: F811
    batch_id = send(anonymous)
    refused = call(anonymous, "sender-other", "POST", f"/batches/{batch_id}/{action}")
    assert refused.status_code == 403
    assert "edit Leadcast leads" in refused.json()["detail"]
    assert call(anonymous, "sender-own", "GET", f"/batches/{batch_id}").json()["status"] == "pending"
    assert call(anonymous, "sender-other", "POST", f"/batches/none/{action}").status_code == 404


def test_what_an_older_version_has_written_is_for_operators(anonymous: TestClient, store: Store) -> None:  # noqa: F811
    batch_id = partial(anonymous, store)
    with store.begin() as connection:
        connection.execute(update(batches).values(sent_by=None))
        connection.execute(update(leads).values(stored_by=None))
    masked = {user: call(anonymous, user, "GET", f"/batches/{batch_id}").json()["masked"] for user in list(WHO)[1:]}
    assert masked == {"viewer": True, "sender-other": True, "sender-own": True, "operator": False}
    assert call(anonymous, "sender-own", "POST", f"/batches/{batch_id}/retry").status_code == 403
    assert call(anonymous, "operator", "POST", f"/batches/{batch_id}/retry").status_code == 202


def test_the_same_request_again_keeps_its_sender(anonymous: TestClient) -> None:  # noqa: F811
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Test-User": "sender-own", "Idempotency-Key": "one"}
    first, again = (anonymous.post("/send-batch", json=BATCH, headers=headers).json()["batch_id"] for _ in range(2))
    assert first == again
    assert call(anonymous, "viewer", "GET", f"/batches/{first}").json()["sent_by"] == "sender-own"


def test_before_the_upgrade_leads_are_accepted_without_a_sender(postgres_url: str, fernet_key: str) -> None:
    from leadcast.flow.inbox import Inbox

    with older_store(postgres_url, name="without_senders", revision="0010", fernet_key=fernet_key) as store:
        before = Inbox(store, Settings()).accept(BATCH, sent_by="sender-own").batch_id
        migrate.upgrade(store.engine)
        after = Inbox(store, Settings()).accept(BATCH, sent_by="sender-own").batch_id
        with store.begin() as connection:
            rows = connection.execute(batches.select()).all()
        assert {row.id: row.sent_by for row in rows} == {before: None, after: "sender-own"}


def test_the_page_shows_this_table() -> None:
    page = PAGE.read_text()
    for name, table in (("calls", calls_table()), ("fields", fields_table())):
        begins, ends = f"<!-- {name}: made by `make docs` -->\n", f"<!-- /{name} -->"
        before, _, rest = page.partition(begins)
        old, _, after = rest.partition(ends)
        assert after, f"the page has no place for {name}"
        page = f"{before}{begins}{table}\n{ends}{after}"
        assert os.environ.get("WRITE_DOCS") or old == f"{table}\n", "stale: make docs"
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(page)
