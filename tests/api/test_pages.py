"""The monitor's pages: what they show, and that nothing in them is taken for markup."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs

import pytest
from fastapi.testclient import TestClient

from leadcast.core.clock import utc_now
from leadcast.core.errors import CredentialsError, Gone
from leadcast.core.settings import Settings
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef
from leadcast.store.batches import listing
from leadcast.store.database import Store
from tests.api.conftest import BODY
from tests.api.test_reading import deliver_one_and_fail_one, send
from tests.support.planned import begin_batch

pytestmark = pytest.mark.store

VOID = {"meta", "link", "input", "br"}


class Tags(HTMLParser):
    """Reads a page: its tags are closed in order; remembers addresses and the names of all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "style"
            if name in ("href", "src", "action"):
                self.addresses.append(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "li", "option") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag


def test_an_empty_monitor_says_what_to_do_next(client: TestClient) -> None:
    html = client.get("/ui").text
    assert "leadcast send examples/lead-123.json" in html
    Tags(html)


def test_batches_are_shown_with_their_status_and_deliveries(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    deliver_one_and_fail_one(store, batch_id)
    html = client.get("/ui").text

    Tags(html)
    assert f"/api/integrations/ui/batches/{batch_id}" in html
    assert 'class="chip failed"' in html
    assert 'class="chip delivered"' in html
    assert "RejectedError: No such chat." in html
    assert re.search(r"<b>1</b>\s*processing", html)
    assert re.search(r'<time datetime="[^"]+\+00:00" title="[^"]+ UTC">', html)


def test_a_batch_page_shows_every_attempt_and_leads_into_airflow(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    deliver_one_and_fail_one(store, batch_id)
    html = client.get(f"/ui/batches/{batch_id}").text

    assert "/dags/send_lead/runs/wave__1" in Tags(html).addresses
    assert "worker-1:42" in html
    assert "&lt;42@example.com&gt;" in html


def test_what_services_and_callers_say_is_never_markup(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    deliver_one_and_fail_one(store, batch_id, message='"><script>alert(1)</script><img src=x onerror=alert(1)>')
    for path in ("/ui", f"/ui/batches/{batch_id}", "/ui?lead_id=%22%3E%3Cscript%3E"):
        html = client.get(path, headers={"Accept": "text/html"}).text
        assert "<script>alert" not in html
        assert "img" not in Tags(html).seen


def test_no_page_holds_lead_data_or_secrets(client: TestClient) -> None:
    batch_id = send(client)
    for path in ("/ui", f"/ui/batches/{batch_id}"):
        html = client.get(path).text
        for secret in ("Анна", "+79990000001", BODY["credentials"]["telegram"]["bot_token"]):
            assert secret not in html


@pytest.mark.parametrize("path", ["/ui", "/docs"])
def test_pages_load_nothing_from_elsewhere_and_forbid_it(client: TestClient, path: str) -> None:
    send(client)
    answer = client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    addresses = Tags(answer.text).addresses
    assert addresses
    assert all(address.startswith("/api/integrations/") for address in addresses)
    for address in addresses:
        if address.endswith((".css", ".js")):
            assert client.get(address.removeprefix("/api/integrations")).status_code == 200


def test_batches_are_filtered_by_status_and_lead(client: TestClient) -> None:
    mine, other = send(client, lead_id="mine"), send(client, lead_id="other")
    html = client.get("/ui?status=&lead_id=mine").text
    assert mine in html
    assert other not in html
    assert "No batch is like that" in client.get("/ui?status=failed&lead_id=").text


def test_older_batches_are_on_the_next_page(client: TestClient) -> None:
    sent = [send(client) for _ in range(51)]
    html = client.get("/ui").text
    following = re.search(r'href="/api/integrations(/ui\?[^"]*cursor=[^"]+)">Older', html)
    assert following
    assert sent[0] not in html
    assert sent[0] in client.get(following[1].replace("&amp;", "&")).text


def test_where_nothing_was_found_so_far_the_page_says_where_to_look_on(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKS_THROUGH", 3)
    begun = [send(client, lead_id=lead_id) for lead_id in "abbb"]
    with store.begin() as connection:
        for batch_id in begun:
            begin_batch(connection, batch_id, run_id="wave__1")
    for _ in range(3):
        send(client, lead_id="a")
    html = client.get("/ui?status=processing&lead_id=a").text
    Tags(html)
    assert "No batch is like that" not in html
    following = re.search(r'href="/api/integrations(/ui\?[^"]*cursor=[^"]+)">Look further back', html)
    assert following
    assert begun[0] in client.get(following[1].replace("&amp;", "&")).text


def test_people_get_errors_as_pages_and_programs_as_problems(client: TestClient) -> None:
    page = client.get("/ui/batches/nope", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Batch not found" in page.text
    assert client.get("/ui/batches/nope").headers["Content-Type"] == "application/problem+json"
    assert client.get("/batches/nope", headers={"Accept": "text/html"}).headers["Content-Type"] == (
        "application/problem+json"
    )


def test_who_is_not_signed_in_is_told_where(anonymous: TestClient) -> None:
    page = anonymous.get("/ui?status=failed&lead_id=7", headers={"Accept": "text/html", "Host": "elsewhere.example"})
    assert page.status_code == 401
    link = re.search(r'href="([^"]+)">Sign in', page.text)
    assert link
    address, _, query = unescape(link[1]).partition("?")
    assert address == "/api/v2/auth/login"
    assert parse_qs(query) == {"next": ["/api/integrations/ui?status=failed&lead_id=7"]}
    assert "elsewhere.example" not in page.text
    assert page.text.index("Sign in to Airflow") < page.text.index("Send an Airflow token")


def test_accounts_that_are_left_alone_stand_above_the_batches(client: TestClient, store: Store) -> None:
    account = AccountRef(id="0badcafe" * 5, type="amocrm", label="<b>example.amocrm.ru")
    refused = CredentialsError(
        "amoCRM does not accept the access token: create a new one, and store it (401).", code="401"
    )
    assert "Left alone" not in client.get("/ui").text
    with store.begin() as connection:
        for _ in range(5):
            circuits.failed(connection, account, refused, is_probe=False, settings=Settings(), now=utc_now())
        stop = AccountRef(id="1badcafe" * 5, type="webhook", label="https://hook.example")
        circuits.stop(connection, stop, Gone("It wants no more (410).", code="410"), now=utc_now())
    html = client.get("/ui").text
    Tags(html)
    assert "&lt;b&gt;example.amocrm.ru" in html
    assert "does not accept the access token" in html
    assert "leadcast circuits --close 1badcafe" in html
    shown = client.get("/ui", headers={"X-Test-User": "viewer"}).text
    assert ("amocrm" in shown, "does not accept the access token" in shown) == (True, True)
    assert not re.findall(r"example\.amocrm|hook\.example", shown)
    assert client.get("/health").json()["open_circuits"] == {"amocrm": 1, "webhook": 1}
