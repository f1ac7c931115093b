"""What a receiver's answer to a Standard Webhooks message means, a lead's or a callback's (vendors.md 4.2).

All but 2xx is sent again, since each status may be one that a gateway gives while the receiver restarts; 410 alone is
the end.
"""

from __future__ import annotations

from datetime import datetime

from leadcast.core.errors import Gone, NotLetIn, RateLimited, TransientError
from leadcast.integrations.http.answer import Answer

PAUSE_S = 30.0
"""After a 429 that does not say how long to wait."""
LONGEST_PAUSE_S = 3600.0
BODY_S = 3.0
"""For the body, which nobody reads: a receiver may say yes and work on, or stream without end. Not none: some give up
what they do when we are gone before they have said all."""


def check(answer: Answer, *, now: datetime) -> None:
    """Raises what a status other than 2xx means.

    Raises:
        TransientError, RateLimited: again.
        NotLetIn: again, and it is counted against the account.
        Gone: nothing more at all.
    """
    status, code = answer.status, str(answer.status)
    if 200 <= status < 300:
        return
    if status == 410:
        raise Gone("The receiver is gone (410) and wants no more messages.", code=code)
    pause_s = answer.retry_after_s(now=now)
    if pause_s is None and status == 429:
        pause_s = PAUSE_S
    if pause_s is not None:
        raise RateLimited(
            f"The receiver answered {status} and asks us to wait.",
            retry_after_s=min(pause_s, LONGEST_PAUSE_S),
            code=code,
        )
    if status in (401, 403):
        raise NotLetIn(f"The receiver refuses us with {status}: check secret and headers.", code=code)
    if 300 <= status < 400:
        raise TransientError(f"The receiver answered {status}; redirects are not followed.", code=code)
    if 400 <= status < 500:
        raise TransientError(f"The receiver refuses the message with {status}.", code=code)
    raise TransientError(f"The receiver answered {status}.", code=code)
