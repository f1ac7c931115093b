"""The reference library of Standard Webhooks, in a receiver as its README shows one, takes what our webhook sends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from leadcast.core.clock import utc_now
from leadcast.core.errors import DeliveryError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.webhook.integration import Webhook
from leadcast.integrations.webhook.settings import WebhookCredentials, WebhookSettings
from tests.clients.attempts import KEY, one_attempt

NEW, OLD, STRANGE = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
LEAD = Lead(id="7781", name="Анна «Пример» 🚀", phone="+79990000001", comment='<b>"завтра"</b> & \\u0000 {{ 7*7 }}')


@dataclass
class Receiver:
    """Somebody's application: verifies what comes to it with its secret, and answers 400 to what is not good."""

    url: str
    secret: str = NEW
    taken: list[Any] = field(default_factory=list)
    seen: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        self.seen.append((body, headers))
        is_json = headers["content-type"] == "application/json"
        try:
            self.taken.append(Verifier(self.secret).verify(body, headers, json_parse=is_json))
        except WebhookVerificationError:
            return 400
        return 204


@contextmanager
def _running() -> Iterator[Receiver]:
    receiver = Receiver(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(self.rfile.read(int(headers["content-length"])), headers))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield receiver
        server.shutdown()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with _running() as receiver:
        yield receiver


def send(
    receiver: Receiver,
    *,
    secret: str = NEW,
    previous: str | None = None,
    attempt: int = 1,
    clock: Callable[[], datetime] = utc_now,
    **settings: Any,
) -> Receipt:
    """One attempt of our webhook."""
    given = {"url": receiver.url, "secret": secret, "previous_secret": previous}
    call = one_attempt(attempt=attempt, clock=clock)
    account = Webhook.from_inline(WebhookCredentials.model_validate(given), base_url="")
    return Webhook().deliver(LEAD, settings=WebhookSettings.model_validate(settings), account=account, call=call)


def test_what_we_send_is_verified_and_read(receiver: Receiver) -> None:
    receipt = send(receiver)
    [message] = receiver.taken
    assert message["type"] == "lead.created"
    assert message["data"]["name"] == LEAD.name
    assert message["data"]["comment"] == LEAD.comment
    assert receipt.external_id == receiver.seen[0][1]["webhook-id"]


@pytest.mark.parametrize("theirs", [NEW, OLD])
def test_while_a_secret_is_changed_both_are_good(receiver: Receiver, theirs: str) -> None:
    receiver.secret = theirs
    send(receiver, secret=NEW, previous=OLD)
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(("theirs", "previous"), [(STRANGE, OLD), (OLD, None)])
def test_another_secret_is_not(receiver: Receiver, theirs: str, previous: str | None) -> None:
    receiver.secret = theirs
    with pytest.raises(DeliveryError):
        send(receiver, previous=previous)
    assert receiver.taken == []


def test_a_form_is_signed_as_it_is_sent(receiver: Receiver) -> None:
    send(receiver, previous=OLD, body="form", fields={"who.name": "{{ lead.name }}"})
    [(body, headers)] = receiver.seen
    assert len(receiver.taken) == 1
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert b"who%5Bname%5D=" in body


def test_a_repetition_has_the_same_id_and_a_time_of_its_own(receiver: Receiver) -> None:
    send(receiver, clock=lambda: utc_now() - timedelta(minutes=3))
    send(receiver, attempt=2)
    (first, early), (second, late) = receiver.seen
    assert len(receiver.taken) == 2
    assert first == second
    assert early["webhook-id"] == late["webhook-id"]
    assert int(early["webhook-timestamp"]) < int(late["webhook-timestamp"])
    assert early["webhook-signature"] != late["webhook-signature"]


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_message_from_another_time_is_not_taken(receiver: Receiver, minutes: int) -> None:
    with pytest.raises(DeliveryError):
        send(receiver, clock=lambda: utc_now() + timedelta(minutes=minutes))
    assert receiver.taken == []


def test_a_clock_of_another_zone_makes_no_difference(receiver: Receiver) -> None:
    send(receiver, clock=lambda: utc_now().astimezone(timezone(timedelta(hours=3))))
    assert len(receiver.taken) == 1


def test_what_was_changed_on_the_way_is_not_taken(receiver: Receiver) -> None:
    send(receiver)
    body, headers = receiver.seen[0]
    assert receiver.take(body.replace(b"7781", b"7782"), headers) == 400
    assert receiver.take(body, {**headers, "webhook-id": "another"}) == 400
    assert receiver.take(body, headers) == 204


def test_the_signature_is_what_the_standard_says(receiver: Receiver) -> None:
    send(receiver, previous=OLD)
    body, headers = receiver.seen[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = []
    for secret in (NEW, OLD):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected.append(f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}")
    assert headers["webhook-signature"] == " ".join(expected)
    assert json.loads(body)["data"]["delivery_key"] == KEY
