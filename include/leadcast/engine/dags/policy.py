"""When Airflow tries a task again: a delivery as the ledger says, plan and settle until the store is back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

TRIES = 3
TRIES_WHILE_AWAY = 12
PAUSE_S = 5.0
LONGEST_PAUSE_S = 120.0


class LedgerRetryPolicy(RetryPolicy):
    """Retries when and if the attempt decided so; anything that is not an attempt's outcome by Airflow's own rules."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """What to do after `exception`. The decision was made, and written down, by `deliver`."""
        from leadcast.core.errors import AttemptFailed

        if not isinstance(exception, AttemptFailed):
            return RetryDecision.default()
        reason = str(exception)[:500]
        if exception.retry_in_s is None:
            return RetryDecision.fail(reason)
        return RetryDecision.retry(timedelta(seconds=exception.retry_in_s), reason)


class AwayRetryPolicy(RetryPolicy):
    """While the store or the lead table is away, a task is tried for a quarter of an hour, less and less often: what a
    run was triggered with is nowhere but in its conf, and no run is to fail for a store that restarts while it is
    settled. What else it fails by is not mended by waiting."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """What to do after `exception`."""
        from leadcast.core.errors import LeadTableError, StoreError

        is_away = isinstance(exception, (StoreError, LeadTableError))
        if not is_away and try_number >= TRIES:
            return RetryDecision.fail(type(exception).__name__)
        pause_s = min(PAUSE_S * 2.0 ** (try_number - 1), LONGEST_PAUSE_S)
        return RetryDecision.retry(timedelta(seconds=pause_s), type(exception).__name__)
