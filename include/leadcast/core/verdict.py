"""What becomes of a delivery after an attempt: one decision, from the error and where the delivery stands. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from leadcast.core.backoff import pause_s
from leadcast.core.delivering import Delivering
from leadcast.core.errors import CredentialsError, DeliveryError, Postponed, TransientError, UnknownOutcome
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt

LONGEST_WAIT_IN_RUN_S = 45.0
"""A delivery that waits longer lets its run end: a later wave carries it on. Runs that wait would hold up all leads,
since Airflow has only so many of them at once."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where a delivery stands when an attempt has failed.

    attempt: the number of the attempt, for the backoff of what uses up no try.
    tries: attempts that count, this one included.
    waited_s: seconds since the first attempt of this round; None: none has begun.
    in_doubt: it may have arrived by an earlier attempt.
    may_resend: it may be sent again after a call without an answer.
    is_repeatable: the receiver recognises a repetition.
    last_in_run: the run makes no further attempt.
    """

    attempt: int
    tries: int
    waited_s: float | None
    in_doubt: bool
    may_resend: bool
    is_repeatable: bool
    last_in_run: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of it.

    wait_s: seconds until the next attempt; None: there is none.
    counts: the attempt used up a try.
    waits_for: what it waits for without a run; empty: its run makes the next attempt, or nobody does.
    """

    state: DeliveryState
    outcome: AttemptOutcome
    error: DeliveryError | None = None
    receipt: Receipt | None = None
    in_doubt: bool = False
    wait_s: float | None = None
    counts: bool = True
    waits_for: str = ""

    def waiting(self, wait_s: float, *, may_resend: bool) -> Self:
        """The same once the account's circuit is open: it waits and burns no try, unless it cannot be sent again."""
        is_silent = isinstance(self.error, UnknownOutcome)
        may_follow = isinstance(self.error, CredentialsError) or (self.error is not None and self.error.may_pass)
        if self.receipt is not None or not may_follow or (is_silent and not may_resend):
            return self
        return replace(self, state=DeliveryState.RETRYING, wait_s=wait_s, counts=False, waits_for="circuit")


def verdict(
    error: DeliveryError,
    situation: Situation,
    *,
    rules: Delivering,
    give_up_after_s: float,
    chance: Callable[[], float],
) -> Verdict:
    """What becomes of a delivery whose attempt has failed so.

    Args:
        give_up_after_s: how long it may be put off in all without using up a try, once it has begun. What was never
            begun is never failed: it waits until it is sent, or held for its age.
        chance: gives a number from 0 to below 1.
    """
    is_silent = isinstance(error, UnknownOutcome)
    in_doubt = is_silent or situation.in_doubt
    wait_s = _wait_s(error, situation, rules=rules, give_up_after_s=give_up_after_s, chance=chance)
    so_far = error.so_far if isinstance(error, TransientError) else None
    base = Verdict(state=DeliveryState.FAILED, outcome=error.outcome, error=error, in_doubt=in_doubt)
    if wait_s is not None:
        in_run = wait_s <= LONGEST_WAIT_IN_RUN_S and not situation.last_in_run and error.code != "circuit"
        waits_for = "" if in_run else (error.code if isinstance(error, Postponed) else "service")
        return replace(base, state=DeliveryState.RETRYING, wait_s=wait_s, counts=_counts(error), waits_for=waits_for)
    if so_far is not None:
        return replace(base, state=DeliveryState.DELIVERED, receipt=so_far)
    if in_doubt and not situation.is_repeatable:
        return replace(base, state=DeliveryState.UNKNOWN)
    return base


def _wait_s(
    error: DeliveryError,
    situation: Situation,
    *,
    rules: Delivering,
    give_up_after_s: float,
    chance: Callable[[], float],
) -> float | None:
    """Seconds until the next attempt; None: there is none."""
    if not error.may_pass or (isinstance(error, UnknownOutcome) and not situation.may_resend):
        return None
    if _counts(error):
        again = situation.tries < rules.tries
        # a new round begins with a short pause
        return pause_s(error, attempt=situation.tries, rules=rules, chance=chance) if again else None
    if isinstance(error, Postponed):
        wait_s = error.wait_s
        if situation.waited_s is None:
            return wait_s
    else:
        wait_s = pause_s(error, attempt=situation.attempt, rules=rules, chance=chance)
    return wait_s if (situation.waited_s or 0.0) + wait_s <= give_up_after_s else None


def _counts(error: DeliveryError) -> bool:
    return not isinstance(error, Postponed) and not (isinstance(error, TransientError) and not error.counts)
