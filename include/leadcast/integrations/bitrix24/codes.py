"""What Bitrix24's errors mean (vendors.md 2.1, 2.3, 2.5). Their code decides, since they come with any HTTP status, 200
included, and the statuses of the documentation and of the official SDK differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from leadcast.core.errors import (
    CredentialsError,
    DeliveryError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.integrations.http.answer import Answer

QUERY_LIMIT_PAUSE_S = 10.0
"""The bucket drains two requests a second (vendors.md 2.4). Where it is full though we keep to our share, others fill
it: after this long there is room for 20."""
UNNAMED_LIMIT_PAUSE_S = 60.0
"""A 429 that is not the portal's own: something in front of it."""

ABOUT_US = frozenset(
    {
        "ACCESS_DENIED",
        "ACCESS_ERROR",
        "ALLOWED_ONLY_INTRANET_USER",
        "APPLICATION_NOT_FOUND",
        "AUTHORIZATION_ERROR",
        "ERROR_OAUTH",
        "INSUFFICIENT_SCOPE",
        "INVALID_CLIENT",
        "INVALID_CREDENTIALS",
        "INVALID_GRANT",
        "INVALID_SCOPE",
        "INVALID_TOKEN",
        "METHOD_CONFIRM_DENIED",
        "METHOD_CONFIRM_WAITING",
        "NOT_INSTALLED",
        "NO_AUTH_FOUND",
        "OVERLOAD_LIMIT",  # a block set by hand: only their support lifts it
        "PAYMENT_REQUIRED",
        "PORTAL_DELETED",
        "USER_ACCESS_ERROR",
        "WRONG_AUTH_TYPE",
        "WRONG_CLIENT",
    }
)
"""The credentials, the rights, the plan or the portal as a whole: no delivery of this account will pass. Those of
vendors.md 2.1 and 2.3, and two that only the official SDK knows (ACCESS_ERROR, WRONG_AUTH_TYPE)."""

_STATUSES = frozenset({200, 400, 401, 403, 404, 405, 410})
"""Of its errors that are refusals (vendors.md 2.3), as the documentation or the official SDK has them."""

NOT_KNOWN_AFTER = frozenset({"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"})
"""The call may have been executed."""

NOBODY_OF_OURS = frozenset({"NO_AUTH_FOUND", "INVALID_CREDENTIALS", "APPLICATION_NOT_FOUND", "PORTAL_DELETED"})
"""What a portal says that is another one than the one that gave us the credentials."""


def code_of(answer: Answer) -> str:
    """The error's code, upper-cased since both cases occur; empty where it is none (vendors.md 2.2, 2.7)."""
    body = answer.json()
    error = body.get("error") if isinstance(body, dict) else None
    code = str(error) if isinstance(error, str | int) and not isinstance(error, bool) else ""
    return code.upper() if re.fullmatch(r"\w{1,64}", code, re.ASCII) else ""


def has_error(body: Mapping[str, Any]) -> bool:
    """Whether it says that something is wrong. An error that says nothing is none beside a result; codes may be empty
    (vendors.md 2.2), but then there is no result."""
    return bool(body.get("error")) or ("error" in body and body.get("result") is None)


def says(body: Mapping[str, Any]) -> str:
    """The portal's own words, as they came: they may quote what was sent."""
    return str(body.get("error_description") or body.get("error") or "")


def error_of(answer: Answer, *, words: str, changes: bool) -> DeliveryError:
    """What an answer that is an error means; without a code that is known, by its status. Only where the portal itself
    refuses it, in its own form, was nothing created.

    Args:
        words: what the portal says, fit to be shown.
        changes: whether the call would have created something.
    """
    status, known = answer.status, code_of(answer)
    code = known or str(status)
    if known == "QUERY_LIMIT_EXCEEDED":
        return RateLimited("Bitrix24 has had too many requests.", retry_after_s=QUERY_LIMIT_PAUSE_S, code=code)
    if status == 429:  # whoever says it has executed nothing
        pause_s = answer.retry_after_s() or UNNAMED_LIMIT_PAUSE_S
        return RateLimited("Something in front of Bitrix24 asks to wait.", retry_after_s=pause_s, code=code)
    if changes and status < 500 and answer.broke_off:
        text = f"Bitrix24's answer ({status}) broke off; the lead may have been made."
        return UnknownOutcome(text, code=str(status))
    is_own = _is_own(answer)
    if changes and status < 500 and not is_own:
        text = f"Something other than Bitrix24 answered ({status}); the lead may have been made."
        return UnknownOutcome(text, code=str(status))
    if known == "EXPIRED_TOKEN":
        text = "Bitrix24's access token has expired, and nothing was given to renew it: bring a new one."
        return CredentialsError(text, code=code)
    if known in ABOUT_US or (status in (401, 402, 403) and known not in NOT_KNOWN_AFTER):
        return CredentialsError(f"Bitrix24 refuses us ({code}): {words or 'no reason given'}.", code=code)
    if known in NOT_KNOWN_AFTER or status >= 500:
        kind: type[DeliveryError] = UnknownOutcome if changes else TransientError
        return kind(f"Bitrix24 failed ({code}).", code=code, detail=words)
    if 300 <= status < 400:
        return RejectedError(f"Bitrix24 redirects ({status}): check the portal's address.", code=str(status))
    if not is_own:
        return TransientError(f"Something other than Bitrix24 answered ({status}).", code=str(status))
    return RejectedError(f"Bitrix24 refused the lead ({code}): {words or 'no reason given'}.", code=code)


def _is_own(answer: Answer) -> bool:
    """Whether the portal says it: in the form of its errors (vendors.md 2.2), and with a status that it gives, or a
    code that is its own. What others say may hide any outcome."""
    body = answer.json()
    if not isinstance(body, dict) or "error" not in body:
        return False
    return code_of(answer) in ABOUT_US or ("error_description" in body and answer.status in _STATUSES)
