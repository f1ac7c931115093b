"""How each channel of the outbox sends: within its time, and with every answer of a receiver told apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leadcast.core.bounded import within
from leadcast.core.errors import Blocked, DeliveryError, Gone, RateLimited, RejectedError, TransientError
from leadcast.core.model import BatchStatus, Priority
from leadcast.core.settings import Settings
from leadcast.engine import hooks
from leadcast.engine.senders import Senders
from leadcast.integrations.answer import Answer
from leadcast.integrations.base import ConnectionFields
from leadcast.integrations.smtp import MailServer, Sent
from leadcast.integrations.webhook_answer import check
from leadcast.notify import Story
from leadcast.store.views import BatchView

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


def test_a_mail_server_that_never_greets_has_its_time_and_no_more(silent: tuple[str, int]) -> None:
    with pytest.raises(TransientError) as caught:
        within(FAR_TOO_LONG_S, lambda: senders(smtp=silent).email(story(), timeout_s=3), name="test")
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize(("timeout_s", "step_s"), [(60, 10), (9, 3)])
def test_a_mail_server_that_has_the_message_may_take_longer_than_one_that_has_still_to_answer(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, step_s: float
) -> None:
    given: list[tuple[float, float]] = []

    def send(server: MailServer, message: object, recipients: Sequence[str], *, timeout_s: float) -> Sent:
        given.append((server.timeout_s, timeout_s))
        return Sent(tuple(recipients))

    monkeypatch.setattr("leadcast.integrations.smtp.send", send)
    senders().email(story(), timeout_s=timeout_s)
    assert given == [(step_s, pytest.approx(timeout_s - step_s, abs=4))]


def test_a_private_address_is_not_called() -> None:
    with pytest.raises(Blocked):
        senders().callback_url(story("http://127.0.0.1:9/done"), timeout_s=5)


def test_a_batch_without_a_callback_url_has_nobody_to_tell() -> None:
    senders().callback_url(story(), timeout_s=5)


def outcome(status: int, *, is_patient: bool, **headers: str) -> DeliveryError | None:
    try:
        check(Answer(status=status, headers=headers, body=b""), now=NOW, is_patient=is_patient)
    except DeliveryError as error:
        return error
    return None


@pytest.mark.parametrize("status", [200, 201, 204, 299])
@pytest.mark.parametrize("is_patient", [True, False])
def test_any_2xx_is_success(status: int, is_patient: bool) -> None:
    assert outcome(status, is_patient=is_patient) is None


@pytest.mark.parametrize(
    ("status", "kind", "may_pass"),
    [
        (301, RejectedError, False),
        (308, RejectedError, False),
        (400, TransientError, True),
        (401, TransientError, True),
        (404, TransientError, True),
        (408, TransientError, True),
        (410, Gone, False),
        (422, TransientError, True),
        (429, RateLimited, True),
        (500, TransientError, True),
        (503, TransientError, True),
    ],
)
def test_a_callback_is_tried_again_after_nearly_everything(
    status: int, kind: type[DeliveryError], may_pass: bool
) -> None:
    error = outcome(status, is_patient=True)
    assert type(error) is kind
    assert (error.may_pass, error.code) == (may_pass, str(status))


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_webhook_delivery_is_not_where_a_person_must_mend_something_first(status: int) -> None:
    error = outcome(status, is_patient=False)
    assert error is not None
    assert not error.may_pass


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "pause_s"), [("120", 120), ("Mon, 23 Nov 2026 09:02:00 GMT", 120), ("9999", 3600)])
def test_the_pause_that_a_receiver_asks_for_is_kept_up_to_an_hour(status: int, asked: str, pause_s: float) -> None:
    error = outcome(status, is_patient=True, **{"Retry-After": asked})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pause_s


def test_a_hook_that_ends_its_process_ends_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "hooks.py"
    path.write_text("import sys\ndef then(batch): sys.exit(1)\n")
    with pytest.raises(RuntimeError, match="exit"):
        hooks.run("then", BATCH, reason="", hooks_file=str(path))
