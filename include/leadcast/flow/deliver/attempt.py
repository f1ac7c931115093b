"""One attempt that is to be made: of which delivery, by which integration, for which run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from leadcast.core.errors import AttemptFailed, TransientError
from leadcast.core.model import ManualAction
from leadcast.core.settings import Settings
from leadcast.integrations.base import Integration
from leadcast.store.batches.ledger import Begun, Due

BUSY = "busy"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt of one delivery.

    due: the delivery as the ledger had it when it was taken up. It is begun only while that is how it stands.
    run_id: the run that this is a part of, and which must hold the batch; empty: of none.
    last_in_run: the run makes no further attempt.
    action: a person wants this attempt, however old the lead is.
    started_at: UTC.
    """

    due: Due
    integration: Integration[Any, Any]
    run_id: str
    last_in_run: bool
    action: ManualAction | None
    started_at: datetime

    def waited_s(self, now: datetime, *, is_begun: bool) -> float | None:
        """Seconds since the first attempt of this round; None: none has begun.

        Args:
            is_begun: this one is written down.
        """
        begun_at = self.due.begun_at or (self.started_at if is_begun else None)
        return None if begun_at is None else (now - begun_at).total_seconds()

    def gives_up_in_s(self, settings: Settings, now: datetime) -> float | None:
        """How many seconds longer it may be put off before it is written down; None: for ever. One of a round that has
        not begun is held then."""
        waited_s = self.waited_s(now, is_begun=False)
        if waited_s is not None:
            return settings.give_up_after_s - waited_s
        if not settings.hold_after_s:
            return None
        counts_from = now if self.action else self.due.age_counts_from
        return max(settings.hold_after_s - (now - counts_from).total_seconds(), 0.0)


def busy(why: str, *, retry_in_s: float | None) -> AttemptFailed:
    """Somebody else is at work on it: nothing is written.

    Args:
        retry_in_s: when the run looks at it again; None: it is through with it. What is left open is in its
            lane, and a later run sees to it with the tries that it has left.
    """
    return AttemptFailed(TransientError(why, code=BUSY), retry_in_s=retry_in_s, waits=retry_in_s is None)


def log_of(attempt: Attempt, begun: Begun | None = None) -> structlog.stdlib.BoundLogger:
    """The log of an attempt, with the ids that a line of it is found by; once it has begun, also the lead's."""
    due = attempt.due
    log: structlog.stdlib.BoundLogger = structlog.get_logger("leadcast.deliver")
    log = log.bind(integration=due.type, delivery_id=due.delivery_id)
    return log if begun is None else log.bind(batch_id=begun.batch_id, lead_id=begun.lead.id, attempt=begun.attempt)
