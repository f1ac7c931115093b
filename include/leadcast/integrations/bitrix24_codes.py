"""Bitrix24's error codes that mean something else than 'the lead was refused' (vendors.md 2.1, 2.3), upper-cased."""

from __future__ import annotations

ABOUT_US = frozenset(
    {
        "ACCESS_DENIED",
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
        "WRONG_CLIENT",
    }
)
"""The credentials, the rights, the plan or the portal as a whole: no delivery of this account will pass."""

NOT_KNOWN_AFTER = frozenset({"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"})
"""The call may have been executed."""
