"""What becomes of a delivery after an attempt, for each kind of error and wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from leadcast.core.delivering import Delivering
from leadcast.core.errors import (
    Blocked,
    CredentialsError,
    DeliveryError,
    Gone,
    Postponed,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import DeliveryState, Receipt
from leadcast.core.verdict import LONGEST_WAIT_IN_RUN_S, Situation, Verdict, verdict

D = DeliveryState
HOUR = 3600.0


def judged(error: DeliveryError, **standing: Any) -> Verdict:
    values = {
        "attempt": 1,
        "tries": 1,
        "waited_s": 0.0,
        "in_doubt": False,
        "may_resend": False,
        "is_repeatable": False,
        "last_in_run": False,
    }
    return verdict(
        error,
        Situation(**(values | standing)),
        rules=Delivering(tries=3, retry_delay_s=10),
        give_up_after_s=HOUR,
        chance=lambda: 1.0,
    )


@pytest.mark.parametrize("error", [RejectedError("no"), CredentialsError("who?"), Gone("enough"), Blocked("not there")])
def test_what_cannot_pass_is_final(error: DeliveryError) -> None:
    decided = judged(error)
    assert (decided.state, decided.wait_s, decided.waits_for) == (D.FAILED, None, "")


def test_what_may_pass_is_tried_again_by_its_run_as_long_as_there_are_tries() -> None:
    assert judged(TransientError("down"), tries=2).state is D.RETRYING
    assert judged(TransientError("down"), tries=3).state is D.FAILED


def test_a_long_wait_is_no_runs_affair() -> None:
    short = judged(RateLimited("wait", retry_after_s=LONGEST_WAIT_IN_RUN_S / 2))
    long = judged(RateLimited("wait", retry_after_s=LONGEST_WAIT_IN_RUN_S * 2))
    assert (short.waits_for, long.waits_for) == ("", "service")


def test_a_429_uses_no_try_since_others_may_have_used_up_the_limit() -> None:
    again = judged(RateLimited("wait", retry_after_s=5), tries=99)
    assert (again.state, again.counts) == (D.RETRYING, False)
    assert judged(RateLimited("wait", retry_after_s=5), waited_s=HOUR).state is D.FAILED


def test_when_the_run_has_no_attempt_left_a_later_one_goes_on() -> None:
    assert judged(TransientError("down"), last_in_run=True).waits_for == "service"


def test_what_is_put_off_uses_no_try_and_goes_on_until_the_time_is_over() -> None:
    greylisted = TransientError("later", retry_after_s=60, counts=False)
    assert judged(greylisted, tries=99).state is D.RETRYING
    assert not judged(greylisted).counts
    assert judged(greylisted, waited_s=HOUR).state is D.FAILED


def test_a_part_that_has_arrived_counts_when_nothing_follows() -> None:
    receipt = Receipt(external_id="<1@x>")
    partly = TransientError("one mailbox is full", retry_after_s=60, counts=False, so_far=receipt)
    assert judged(partly).receipt is None
    over = judged(partly, waited_s=HOUR)
    assert (over.state, over.receipt) == (D.DELIVERED, receipt)


@pytest.mark.parametrize("code", ["limit", "operating"])
def test_what_we_postpone_ourselves_uses_no_try(code: str) -> None:
    short = judged(Postponed("too early", wait_s=20, code=code), tries=99)
    assert (short.state, short.counts, short.waits_for) == (D.RETRYING, False, "")
    assert judged(Postponed("too early", wait_s=600, code=code)).waits_for == code
    assert judged(Postponed("too early", wait_s=20, code=code), waited_s=HOUR).state is D.FAILED


@pytest.mark.parametrize("code", ["limit", "circuit"])
def test_what_was_never_begun_is_never_failed_for_having_waited(code: str) -> None:
    waits = judged(Postponed("too early", wait_s=600, code=code), waited_s=None, last_in_run=True)
    assert (waits.state, waits.wait_s, waits.waits_for) == (D.RETRYING, 600, code)


def test_an_open_circuit_never_keeps_a_run_waiting() -> None:
    assert judged(Postponed("left alone", wait_s=1, code="circuit")).waits_for == "circuit"


def test_silence_is_repeated_only_where_that_is_safe() -> None:
    silence = UnknownOutcome("no answer")
    assert judged(silence).state is D.UNKNOWN
    assert judged(silence, may_resend=True).state is D.RETRYING
    assert judged(silence, may_resend=True, is_repeatable=True, tries=3).state is D.FAILED
    assert judged(silence, may_resend=True, tries=3).state is D.UNKNOWN
    assert judged(RejectedError("no"), in_doubt=True).state is D.UNKNOWN


def test_once_the_circuit_is_open_a_delivery_waits_instead_of_failing() -> None:
    for error in (CredentialsError("401"), TransientError("down", code="unreachable")):
        waits = judged(error, tries=3).waiting(60, may_resend=False)
        assert (waits.state, waits.wait_s, waits.counts, waits.waits_for) == (D.RETRYING, 60, False, "circuit")
    held = judged(UnknownOutcome("no answer")).waiting(60, may_resend=False)
    assert held.state is D.UNKNOWN, "it may have arrived, and nobody can be asked"
