"""When an account is left alone for a while: rules only. Where a circuit stands is kept in `store.accounts.circuits`.

Closed: calls go out. Open: after some failures in a row on credentials or network, or at once where the service has
refused the account as such, deliveries wait. Then one is let through as a probe: its success closes the circuit and the
others follow, its failure keeps it open for longer.
"""

from __future__ import annotations

from leadcast.core.errors import CredentialsError, DeliveryError, RateLimited, RejectedError, Unsendable

WAITS_FOR_CIRCUIT = "circuit"
"""What a delivery waits for whose account is left alone (`waits_for` in the ledger)."""
NOT_REACHED_CODES = frozenset({"unreachable", "dns"})
"""Codes of errors that say that no connection to the service came about."""
NETWORK_CODES = NOT_REACHED_CODES | {"timeout", "no_answer"}
"""Codes of errors that say that the service was not reached or did not answer."""


def is_against_account(error: DeliveryError) -> bool:
    """Whether this says something against the account or the way to it, not against one lead: credentials, network."""
    return isinstance(error, CredentialsError) or error.code in NETWORK_CODES


def failures_to_open(error: DeliveryError, *, in_a_row: int) -> int:
    """How many failures in a row, this one included, open the circuit: one that was said of the whole account will do.

    Args:
        in_a_row: how many it takes of others, which may have been about single leads.
    """
    return 1 if isinstance(error, CredentialsError) and error.for_all else in_a_row


def is_for_account(error: DeliveryError | None) -> bool:
    """Whether the service has answered as one does that takes us: a success, a refusal of this one lead, a 429."""
    is_refusal = isinstance(error, RejectedError) and not isinstance(error, (CredentialsError, Unsendable))
    return error is None or is_refusal or isinstance(error, RateLimited)


def open_for_s(openings: int, *, first_s: float, longest_s: float) -> float:
    """How long it stays open: doubles each time the probe fails. `openings`: 1 for the first."""
    return min(first_s * 2.0 ** min(openings - 1, 30), longest_s)
