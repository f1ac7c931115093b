"""How a service behaves towards one attempt: what it does with the call, and what it says when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from leadcast.core.errors import (
    CredentialsError,
    Postponed,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)


class Answer(StrEnum):
    """What a service does with a call."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PUT_OFF = "put off, no try"
    RATE_LIMITED = "rate limited"
    REJECTED = "rejected"
    CREDENTIALS = "credentials"
    POSTPONED = "postponed"
    SILENT = "executed, no answer"
    LOST = "not executed, no answer"
    LATE = "executed later, no answer"
    BROKEN = "executed, and we cannot read the answer"


EXECUTED = frozenset({Answer.DELIVERED, Answer.SILENT, Answer.BROKEN})
ERRORS: Mapping[Answer, Callable[[], Exception]] = {
    Answer.TRANSIENT: lambda: TransientError("down", code="503"),
    Answer.PUT_OFF: lambda: TransientError("greylisted", code="450", retry_after_s=600, counts=False),
    Answer.RATE_LIMITED: lambda: RateLimited("slower", retry_after_s=30),
    Answer.REJECTED: lambda: RejectedError("no such pipeline", code="400"),
    Answer.CREDENTIALS: lambda: CredentialsError("token revoked", code="401"),
    Answer.POSTPONED: lambda: Postponed("later", wait_s=120),
    Answer.SILENT: lambda: UnknownOutcome("no answer", code="timeout"),
    Answer.LOST: lambda: UnknownOutcome("no answer", code="timeout"),
    Answer.LATE: lambda: UnknownOutcome("no answer", code="timeout"),
    Answer.BROKEN: lambda: KeyError("id"),
}


class Question(StrEnum):
    """What a service answers when it is asked for a delivery."""

    TRUTH = "the truth"
    DOWN = "it is down"
    SILENCE = "nothing"


@dataclass(frozen=True)
class Script:
    """How a service behaves towards one attempt. `slow_s`: passes before it has executed the call."""

    answer: Answer = Answer.DELIVERED
    question: Question = Question.TRUTH
    slow_s: int = 0
