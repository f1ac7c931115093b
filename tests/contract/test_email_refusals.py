"""E-mail: what a server has against who sends is told as the account's, at whichever step it says so; what it has
against a mailbox stays the lead's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Call
from leadcast.sandbox import Sandbox
from tests.contract.test_email import ADMIN, NOTIFICATIONS, connection, deliver

MakeCall = Callable[..., Call]
Send = Callable[..., Receipt]


@pytest.fixture
def send(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> Send:
    def send(*, emails: list[str] | None = None, **changes: Any) -> Receipt:
        inline = {"emails": emails or [ADMIN, NOTIFICATIONS]}
        return deliver(sandbox, lead, make_call(), inline=inline, **changes)

    return send


def refused(send: Send, **changes: Any) -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        send(**changes)
    assert type(caught.value) is CredentialsError
    return caught.value


@pytest.mark.parametrize(("at", "code"), [("mail", "553"), ("rcpt", "553"), ("data", "554")])
def test_a_sender_that_is_not_ours_is_the_accounts_whenever_it_is_said(
    sandbox: Sandbox, send: Send, at: str, code: str
) -> None:
    sandbox.configure("smtp", senders=["boss@example.com"], senders_checked_at=at)
    error = refused(send)
    assert (error.code, error.for_all) == (code, True)
    assert "leads@example.com" in error.message
    assert "from_email" in error.message
    assert error.detail
    assert send(from_email="boss@example.com").detail["accepted"] == 2


def test_a_server_that_wants_a_full_name_is_told_of_the_setting_and_its_recipients_are_not_blamed(
    sandbox: Sandbox, send: Send
) -> None:
    sandbox.configure("smtp", wants_full_name=True)
    error = refused(send, ehlo_name="worker")
    assert (error.code, error.for_all) == ("504", True)
    assert "smtp_ehlo_name" in error.message
    assert "worker" in error.message
    assert send(ehlo_name="worker.example.com").detail["accepted"] == 2


def test_a_server_that_relays_to_none_of_them_has_it_against_us_but_not_for_everybody(
    sandbox: Sandbox, send: Send
) -> None:
    sandbox.configure("smtp", relays_for=["example.org"])
    error = refused(send)
    assert (error.code, error.for_all) == ("554", False)
    assert send(emails=["anna@example.org"]).detail["accepted"] == 1


def test_whom_it_does_not_relay_to_is_named_where_others_have_the_letter(sandbox: Sandbox, send: Send) -> None:
    sandbox.configure("smtp", relays_for=["example.org"])
    receipt = send(emails=["anna@example.org", ADMIN])
    assert receipt.detail == {"accepted": 1, "refused": [{"to": "a***@example.com", "code": "554"}]}


@pytest.mark.parametrize("text", ["5.1.1 User unknown", "5.7.1 Recipient address rejected: Access denied", "5.7.1 No"])
def test_a_mailbox_that_is_refused_is_the_leads(sandbox: Sandbox, send: Send, text: str) -> None:
    sandbox.fault(service="smtp", kind="reject", code="550", text=text, times=None)
    with pytest.raises(RejectedError, match="refuses 2 of 2") as caught:
        send()
    assert type(caught.value) is RejectedError


def test_what_only_some_hear_against_the_sender_is_theirs(sandbox: Sandbox, send: Send) -> None:
    sandbox.fault(service="smtp", kind="reject", code="550", text="5.1.1 User unknown", match=ADMIN)
    sandbox.fault(service="smtp", kind="reject", code="553", text="5.7.1 Sender address rejected", match=NOTIFICATIONS)
    with pytest.raises(RejectedError, match="refuses 2 of 2") as caught:
        send()
    assert type(caught.value) is RejectedError


def test_a_server_that_hangs_up_after_refusing_the_sender_to_all_so_far_has_said_why(
    sandbox: Sandbox, send: Send
) -> None:
    sandbox.configure("smtp", senders=["boss@example.com"])
    sandbox.fault(service="smtp", kind="reject", code="421", text="4.7.0 Too many errors", match=NOTIFICATIONS)
    assert refused(send).code == "553"
    sandbox.fault(service="smtp", kind="hang_up_before", match=NOTIFICATIONS)
    assert refused(send).code == "553"


@pytest.mark.parametrize(
    ("text", "word"),
    [("5.7.1 Client host rejected: Access denied", "machine"), ("5.7.0 Authentication required", "login")],
)
def test_other_things_against_who_sends_name_their_mend(sandbox: Sandbox, send: Send, text: str, word: str) -> None:
    sandbox.fault(service="smtp", kind="reject", code="550", text=text, times=None)
    error = refused(send)
    assert word in error.message
    assert error.for_all


def test_nothing_of_a_letter_that_was_refused_is_kept_as_refused(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    kept: list[Any] = []
    sandbox.configure("smtp", senders=["boss@example.com"])
    with pytest.raises(CredentialsError):
        deliver(sandbox, lead, make_call(keep=kept.append))
    assert kept == []
    assert connection(sandbox).extra["from_email"].endswith("<leads@example.com>")
