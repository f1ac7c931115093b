"""How each channel of the outbox sends: within its time, and with every answer of a receiver told apart."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leadcast.core.bounded import within
from leadcast.core.errors import Blocked, DeliveryError, Gone, NotLetIn, RateLimited, TransientError
from leadcast.core.model import BatchStatus, Priority
from leadcast.core.settings import Settings
from leadcast.engine.tell import hooks
from leadcast.engine.tell.senders import Senders
from leadcast.flow.notify import Story
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.smtp import MailServer, Sent
from leadcast.integrations.http.answer import Answer
from leadcast.integrations.webhook.answer import check
from leadcast.store.batches.views import BatchView
from tests.unit.test_egress import RawServer, answering

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
FAR_TOO_LONG_S = 9.0
BATCH = BatchView(
    id="b1",
    lead_id="123",
    status=BatchStatus.FAILED,
    priority=Priority.NORMAL,
    run_id="w",
    critical=None,
    accepted_at=NOW,
    started_at=NOW,
    finished_at=NOW,
)


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        yield host, port


def senders(*, smtp: tuple[str, int] = ("127.0.0.1", 1), **settings: Any) -> Senders:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "leadcast@example.com"}
    server = ConnectionFields(conn_id="smtp_default", host=smtp[0], port=smtp[1], extra=extra)
    return Senders(Settings.of({"notify_emails": "sales@example.com", **settings}), lambda conn_id: server, {})


def story(callback_url: str = "") -> Story:
    return Story(key="k", occasion="failed", reason="", batch=BATCH, callback_url=callback_url)


def test_a_callers_host_that_never_answers_has_its_time_and_no_more(silent: tuple[str, int]) -> None:
    host, port = silent
    made, told = senders(allowed_networks="127.0.0.0/8"), story(f"http://{host}:{port}/done")
    with pytest.raises(DeliveryError) as caught:
        within(FAR_TOO_LONG_S, lambda: made.callback_url(told, timeout_s=1), name="test")
    assert (caught.value.code, caught.value.may_pass) == ("timeout", True)


def test_a_caller_who_says_yes_and_works_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadcast.integrations.webhook.answer.BODY_S", 0.2)
    began = time.monotonic()

    def works_on(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        server.stopping.wait(10)

    with RawServer(works_on) as server:
        told = story(f"http://127.0.0.1:{server.port}/done")
        senders(allowed_networks="127.0.0.0/8").callback_url(told, timeout_s=15)
        assert time.monotonic() - began < 5


def test_what_a_caller_has_said_counts_though_the_rest_breaks_off() -> None:
    made = senders(allowed_networks="127.0.0.0/8")
    with answering(b"HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\ngone") as server, pytest.raises(Gone):
        made.callback_url(story(f"http://127.0.0.1:{server.port}/done"), timeout_s=15)


def test_a_mail_server_that_never_greets_has_its_time_and_no_more(silent: tuple[str, int]) -> None:
    with pytest.raises(TransientError) as caught:
        within(FAR_TOO_LONG_S, lambda: senders(smtp=silent).email(story(), timeout_s=3), name="test")
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize(("timeout_s", "step_s"), [(60, 10), (9, 3)])
def test_a_mail_server_that_has_the_message_may_take_longer_than_one_that_has_still_to_answer(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, step_s: float
) -> None:
    given: list[tuple[Any, Any]] = []

    def send(server: MailServer, message: object, recipients: Sequence[str], *, timeout_s: float) -> Sent:
        given.append((server.timeout_s, timeout_s))
        return Sent(tuple(recipients))

    monkeypatch.setattr("leadcast.integrations.email.smtp.send", send)
    senders().email(story(), timeout_s=timeout_s)
    assert given == [(step_s, pytest.approx(timeout_s - step_s, abs=4))]


def test_a_private_address_is_not_called() -> None:
    with pytest.raises(Blocked):
        senders().callback_url(story("http://127.0.0.1:9/done"), timeout_s=5)


def test_a_batch_without_a_callback_url_has_nobody_to_tell() -> None:
    senders().callback_url(story(), timeout_s=5)


def outcome(status: int, **headers: str) -> DeliveryError | None:
    try:
        check(Answer(status=status, headers=headers, body=b""), now=NOW)
    except DeliveryError as error:
        return error
    return None


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert outcome(status) is None


@pytest.mark.parametrize("status", [*range(100, 200), *range(300, 600)])
def test_everything_else_is_tried_again_but_410(status: int) -> None:
    error = outcome(status)
    assert error is not None
    assert (error.may_pass, error.code) == (status != 410, str(status))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (101, TransientError),
        (301, TransientError),
        (401, NotLetIn),
        (404, TransientError),
        (410, Gone),
        (429, RateLimited),
        (503, TransientError),
    ],
)
def test_what_a_status_means_for_the_account(status: int, kind: type[DeliveryError]) -> None:
    assert type(outcome(status)) is kind


@pytest.mark.parametrize("status", [302, 401, 404, 429, 503])
@pytest.mark.parametrize(("asked", "pause_s"), [("120", 120), ("Mon, 23 Nov 2026 09:02:00 GMT", 120), ("9999", 3600)])
def test_the_pause_that_a_receiver_asks_for_is_kept_up_to_an_hour(status: int, asked: str, pause_s: float) -> None:
    error = outcome(status, **{"Retry-After": asked})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pause_s


def test_a_hook_that_ends_its_process_ends_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "hooks.py"
    path.write_text("import sys\ndef then(batch): sys.exit(1)\n")
    with pytest.raises(RuntimeError, match="exit"):
        hooks.run("then", BATCH, reason="", hooks_file=str(path))
