"""What a receiver's answer to a Standard Webhooks message means (vendors.md 4.2)."""

from __future__ import annotations

from datetime import datetime

from leadcast.core.errors import CredentialsError, Gone, RateLimited, RejectedError, TransientError
from leadcast.integrations.answer import Answer

PAUSE_S = 30.0
"""After a 429 that does not say how long to wait."""
LONGEST_PAUSE_S = 3600.0
_MAY_PASS = frozenset({408, 425, 429})


def check(answer: Answer, *, now: datetime, is_patient: bool = False) -> None:
    """Raises what a status other than 2xx means.

    Args:
        is_patient: nearly everything is sent again, as the specification has it. Otherwise not what a person must mend
            first.

    Raises:
        TransientError, RateLimited: again.
        CredentialsError, RejectedError: not again; Gone: nothing more at all.
    """
    status, code = answer.status, str(answer.status)
    if 200 <= status < 300:
        return
    if status in _MAY_PASS or status >= 500:
        pause_s = answer.retry_after_s(now=now)
        if pause_s is None and status == 429:
            pause_s = PAUSE_S
        if pause_s is None:
            raise TransientError(f"The receiver answered {status}.", code=code)
        raise RateLimited(
            f"The receiver answered {status} and asks us to wait.",
            retry_after_s=min(pause_s, LONGEST_PAUSE_S),
            code=code,
        )
    if status == 410:
        raise Gone("The receiver is gone (410) and wants no more messages.", code=code)
    if status < 400:
        raise RejectedError(f"The receiver answered {status}; redirects are not followed.", code=code)
    if is_patient:
        raise TransientError(f"The receiver refuses the message with {status}.", code=code)
    if status in (401, 403):
        raise CredentialsError(f"The receiver refuses us with {status}: check secret and headers.", code=code)
    raise RejectedError(f"The receiver refuses the message with {status}.", code=code)
