"""E-mail: who of several recipients is mailed by which attempt. Nobody waits for another or is mailed twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, RejectedError, StoreError, TransientError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.integration import Email
from leadcast.integrations.email.settings import EmailSettings
from leadcast.sandbox import Sandbox

ANNA, BORIS, CLARA = "anna@example.com", "boris@example.com", "clara@example.com"
MakeCall = Callable[..., Call]


@dataclass
class Delivery:
    """One delivery to three people with its attempts, and what they keep."""

    sandbox: Sandbox
    lead: Lead
    make_call: MakeCall
    emails: tuple[str, ...] = (ANNA, BORIS, CLARA)
    attempts: int = 0
    kept: Mapping[str, Any] = field(default_factory=dict)

    def attempt(self, **changes: Any) -> Receipt:
        self.attempts += 1
        connection = ConnectionFields(
            conn_id="smtp_default",
            host=self.sandbox.smtp_host,
            port=self.sandbox.smtp_port,
            login="robot",
            password=SecretStr("hunter2-hunter2"),
            extra={"disable_ssl": True, "disable_tls": True, "from_email": "leads@example.com", "timeout": 5},
        )
        account = Email.from_connection(connection, {"emails": list(self.emails)})
        given = {"attempt": self.attempts, "kept": self.kept, "keep": self.keep} | changes
        return Email().deliver(self.lead, settings=EmailSettings(), account=account, call=self.make_call(**given))

    def keep(self, progress: Mapping[str, Any]) -> None:
        self.kept = json.loads(json.dumps(progress))

    def put_off(self, **changes: Any) -> TransientError:
        with pytest.raises(TransientError) as caught:
            self.attempt(**changes)
        return caught.value

    @property
    def mailed(self) -> list[list[str]]:
        """Who was mailed by each letter."""
        return [letter["rcpt_tos"] for letter in self.sandbox.stored("smtp")["letters"]]


@pytest.fixture
def delivery(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> Delivery:
    return Delivery(sandbox, lead, make_call)


def refuse(delivery: Delivery, address: str, code: str = "550", **more: Any) -> None:
    delivery.sandbox.fault(service="smtp", kind="reject", code=code, match=address, **more)


def test_nobody_waits_for_a_mailbox_that_is_put_off_and_it_is_mailed_later(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    error = delivery.put_off()
    assert delivery.mailed == [[ANNA, CLARA]]
    assert not error.counts
    assert error.retry_after_s == 60
    assert "puts off 1 of 3" in error.message
    assert error.so_far is not None
    assert error.so_far.detail == {"accepted": 2, "refused": [{"to": "b***@example.com", "code": "451"}]}
    receipt = delivery.attempt()
    assert delivery.mailed == [[ANNA, CLARA], [BORIS]]
    assert receipt.detail == {"accepted": 3, "refused": []}
    assert receipt.external_id == error.so_far.external_id


def test_the_later_letter_is_the_same_to_the_byte(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    delivery.put_off()
    delivery.attempt()
    first, second = delivery.sandbox.stored("smtp")["letters"]
    assert {**first, "rcpt_tos": None, "repeat": None} == {**second, "rcpt_tos": None, "repeat": None}
    assert first["to"] == f"{ANNA}, {BORIS}, {CLARA}"
    boundary = dict(first["mail_headers"])["Content-Type"]
    assert 'boundary="=_' in boundary


def test_what_is_kept_names_nobody(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    refuse(delivery, CLARA)
    delivery.put_off()
    assert len(delivery.kept["mailed"]) == 1
    assert "@" not in json.dumps(delivery.kept)
    assert "example" not in json.dumps(delivery.kept)


def test_the_same_address_is_another_one_in_another_delivery(delivery: Delivery) -> None:
    delivery.attempt()
    before = delivery.kept
    delivery.attempt(key="0198f2c4-7a3e-7c11-9d0a-5f6b1e2d3c4b-3", kept={})
    assert not set(before["mailed"]) & set(delivery.kept["mailed"])


def test_a_server_that_goes_on_putting_off_is_asked_less_and_less_often(delivery: Delivery) -> None:
    refuse(delivery, BORIS, "450", times=None)
    pauses = [delivery.put_off().retry_after_s for _ in range(7)]
    assert pauses == [60, 120, 240, 480, 900, 900, 900]
    assert delivery.mailed == [[ANNA, CLARA]]


def test_everybody_put_off_uses_no_try_and_has_no_receipt(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist")
    error = delivery.put_off()
    assert (error.counts, error.retry_after_s, error.so_far, delivery.mailed) == (False, 60, None, [])
    assert "nobody was mailed" in error.message
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}


def test_too_many_recipients_at_once_are_mailed_in_turns_that_do_not_grow_further_apart(delivery: Delivery) -> None:
    for address in (BORIS, CLARA, CLARA):
        refuse(delivery, address, "452", text="4.5.3 Too many recipients")
    assert [delivery.put_off().retry_after_s, delivery.put_off().retry_after_s] == [60, 60]
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}
    assert delivery.mailed == [[ANNA], [BORIS], [CLARA]]


def test_too_many_recipients_may_be_said_as_they_used_to(delivery: Delivery) -> None:
    refuse(delivery, CLARA, "552", text="5.5.3 Too many recipients")
    error = delivery.put_off()
    assert (error.counts, error.code, error.retry_after_s) == (False, "452", 60)
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}
    assert delivery.mailed == [[ANNA, BORIS], [CLARA]]


def test_a_mailbox_that_is_full_for_good_is_refused_when_it_is_asked_alone(delivery: Delivery) -> None:
    refuse(delivery, CLARA, "552", text="5.2.2 Mailbox full", times=None)
    delivery.put_off()
    assert delivery.attempt().detail == {"accepted": 2, "refused": [{"to": "c***@example.com", "code": "552"}]}


@pytest.mark.parametrize("code", ["450", "451", "452"])
def test_a_sender_put_off_uses_no_try_and_comes_back_as_seldom_as_with_recipients(
    delivery: Delivery, code: str
) -> None:
    delivery.sandbox.fault(service="smtp", kind="reject", stage="mail", code=code, times=2)
    first, second = delivery.put_off(), delivery.put_off()
    assert [(error.counts, error.code, error.so_far) for error in (first, second)] == [(False, code, None)] * 2
    assert (first.retry_after_s, second.retry_after_s) == (60, 120)
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}


@pytest.mark.parametrize("code", ["450", "451", "452"])
def test_a_message_put_off_after_the_dot_uses_no_try_either(delivery: Delivery, code: str) -> None:
    refuse(delivery, ANNA, code, stage="data")
    error = delivery.put_off()
    assert (error.counts, error.code, error.so_far, delivery.mailed) == (False, code, None, [])
    assert delivery.attempt().detail["accepted"] == 3


def test_another_4yz_for_a_recipient_uses_no_try_either(delivery: Delivery) -> None:
    refuse(delivery, BORIS, "441")
    error = delivery.put_off()
    assert not error.counts
    assert error.so_far is not None
    assert delivery.mailed == [[ANNA, CLARA]]


@pytest.mark.parametrize("stage", ["auth", "mail", "rcpt", "data"])
def test_a_busy_server_uses_no_try_and_is_asked_less_and_less_often(delivery: Delivery, stage: str) -> None:
    delivery.sandbox.fault(service="smtp", kind="reject", stage=stage, code="421", times=None)
    errors = [delivery.put_off() for _ in range(3)]
    assert [(error.counts, error.retry_after_s) for error in errors] == [(False, 60), (False, 120), (False, 240)]
    delivery.sandbox.clear_faults()
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}


def test_a_recipient_refused_for_good_does_not_keep_the_others_waiting(delivery: Delivery) -> None:
    refuse(delivery, ANNA)
    receipt = delivery.attempt()
    assert delivery.mailed == [[BORIS, CLARA]]
    assert receipt.detail == {"accepted": 2, "refused": [{"to": "a***@example.com", "code": "550"}]}


def test_who_was_refused_for_good_is_not_asked_again_and_stays_in_the_receipt(delivery: Delivery) -> None:
    refuse(delivery, ANNA)
    refuse(delivery, BORIS, "451")
    delivery.put_off()
    receipt = delivery.attempt()
    assert delivery.mailed == [[CLARA], [BORIS]]
    assert receipt.detail == {"accepted": 2, "refused": [{"to": "a***@example.com", "code": "550"}]}


def test_who_is_put_off_first_and_refused_then_does_not_undo_what_the_others_have(delivery: Delivery) -> None:
    refuse(delivery, BORIS, "451")
    delivery.put_off()
    refuse(delivery, BORIS, "550")
    receipt = delivery.attempt()
    assert delivery.mailed == [[ANNA, CLARA]]
    assert receipt.detail == {"accepted": 2, "refused": [{"to": "b***@example.com", "code": "550"}]}


@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_when_everybody_is_refused_so_is_the_delivery(delivery: Delivery, stage: str) -> None:
    delivery.sandbox.fault(service="smtp", kind="reject", code="554", stage=stage, times=None)
    with pytest.raises(RejectedError, match=r"refuses 3 of 3 .*nobody was mailed") as caught:
        delivery.attempt()
    assert type(caught.value) is RejectedError
    assert caught.value.code == "554"
    assert ANNA not in f"{caught.value}{caught.value.detail}"


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_whom_the_server_names_is_masked_at_whichever_stage_and_however_written(delivery: Delivery, stage: str) -> None:
    text = "5.1.1 <Anna@EXAMPLE.com>: unknown; see sales+7@example.com"
    delivery.sandbox.fault(service="smtp", kind="reject", code="550", stage=stage, text=text, times=None)
    with pytest.raises(RejectedError) as caught:
        delivery.attempt()
    assert caught.value.detail == "5.1.1 <A***@EXAMPLE.com>: unknown; see s***@example.com"


def test_when_everybody_is_refused_one_after_the_other_so_is_the_delivery(delivery: Delivery) -> None:
    refuse(delivery, ANNA)
    refuse(delivery, CLARA)
    refuse(delivery, BORIS, "451")
    delivery.put_off()
    refuse(delivery, BORIS)
    with pytest.raises(RejectedError, match="refuses 3 of 3"):
        delivery.attempt()
    assert delivery.mailed == []


def test_a_person_may_have_a_letter_sent_again_that_everybody_was_refused(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="reject", code="550", times=3)
    with pytest.raises(RejectedError):
        delivery.attempt()
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}


@pytest.mark.parametrize(
    ("fault", "counts"), [({"kind": "down"}, True), ({"kind": "reject", "stage": "mail", "code": "421"}, False)]
)
def test_trouble_with_the_server_says_who_has_the_letter_already_and_counts_if_it_is_not_there(
    delivery: Delivery, fault: dict[str, Any], counts: bool
) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    delivery.put_off()
    delivery.sandbox.fault(service="smtp", **fault)
    error = delivery.put_off()
    assert error.counts is counts
    assert error.so_far is not None
    assert error.so_far.detail["accepted"] == 2
    assert [entry["to"] for entry in error.so_far.detail["refused"]] == ["b***@example.com"]


def test_a_login_that_is_refused_meanwhile_is_for_a_person_and_then_only_the_rest_are_mailed(
    delivery: Delivery,
) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    delivery.put_off()
    delivery.sandbox.configure("smtp", password="changed-password")
    with pytest.raises(CredentialsError):
        delivery.attempt()
    delivery.sandbox.configure("smtp", password="hunter2-hunter2")
    delivery.attempt()
    assert delivery.mailed == [[ANNA, CLARA], [BORIS]]


def test_an_answer_lost_after_the_message_repeats_it_to_those_of_that_transaction_only(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    delivery.put_off()
    delivery.sandbox.fault(service="smtp", kind="drop_after_dot")
    with pytest.raises(UnknownOutcome):
        delivery.attempt()
    delivery.attempt()
    assert delivery.mailed == [[ANNA, CLARA], [BORIS], [BORIS]]


def test_who_has_it_is_written_down_before_anything_else_can_go_wrong(delivery: Delivery) -> None:
    class Killed(BaseException):
        pass

    def keep_and_die(progress: Mapping[str, Any]) -> None:
        delivery.keep(progress)
        raise Killed

    refuse(delivery, BORIS, "451")
    with pytest.raises(Killed):
        delivery.attempt(keep=keep_and_die)
    delivery.attempt()
    assert delivery.mailed == [[ANNA, CLARA], [BORIS]]


def test_an_attempt_that_died_after_all_was_done_is_not_repeated(delivery: Delivery) -> None:
    first = delivery.attempt()
    assert delivery.attempt() == first
    assert delivery.mailed == [[ANNA, BORIS, CLARA]]


def test_a_store_that_is_away_does_not_make_a_failure_of_a_letter_that_is_out(delivery: Delivery) -> None:
    def away(progress: Mapping[str, Any]) -> None:
        raise StoreError("away")

    assert delivery.attempt(keep=away).detail == {"accepted": 3, "refused": []}


def test_recipients_that_changed_between_two_attempts_are_told_apart_by_their_address(delivery: Delivery) -> None:
    delivery.sandbox.fault(service="smtp", kind="greylist", match=BORIS)
    delivery.put_off()
    delivery.emails = (CLARA, "dora@example.com", BORIS)
    assert delivery.attempt().detail == {"accepted": 3, "refused": []}
    assert delivery.mailed == [[ANNA, CLARA], ["dora@example.com", BORIS]]
