"""The retry policy of the deliver operators: Airflow does what the ledger says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


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
