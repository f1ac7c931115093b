"""What an attempt says of its account: its circuit opens or closes, and people are told once."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import Connection

from leadcast.core import circuit
from leadcast.core.errors import DeliveryError, Gone
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.store import outbox
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef, Circuit

log = structlog.get_logger("leadcast.accounts")


def note(
    connection: Connection,
    account: AccountRef,
    error: DeliveryError | None,
    *,
    is_probe: bool,
    settings: Settings,
    now: datetime,
) -> Circuit | None:
    """Writes down how an attempt went for its account.

    Args:
        error: what it ended with; None: with success.
        is_probe: it was let through an open circuit to find out.

    Returns:
        The account's circuit, if deliveries have to wait for it now.
    """
    if isinstance(error, Gone):
        stopped = circuits.stop(connection, account, error, now=now)
        mend = f"Nothing more is sent to it. If it wants messages again: leadcast circuits --close {account.id[:8]}"
        _tell(connection, stopped, mend, settings, now=now)
    elif error is not None and circuit.is_against_account(error):
        opened = circuits.failed(connection, account, error, is_probe=is_probe, settings=settings, now=now)
        if opened is not None:
            mend = "Deliveries to it wait until it answers again; what failed before does not. See: leadcast circuits"
            _tell(connection, opened, mend, settings, now=now)
        return opened
    elif circuit.is_for_account(error):
        if circuits.succeeded(connection, account, now=now):
            log.info("circuit closed", integration=account.type, account=account.id[:8])
    elif is_probe:
        circuits.hand_on(connection, account, now=now)
    return None


def _tell(connection: Connection, found: Circuit, what_follows: str, settings: Settings, *, now: datetime) -> None:
    if not found.is_news:
        return
    account = found.account
    log.warning("circuit opened", integration=account.type, account=account.id[:8], failures=found.failures)
    reason = f"{account.type}, {account.label}: failures in a row: {found.failures}. {found.reason} {what_follows}"
    for channel in outbox.channels(settings, Occasion.ACCOUNT):
        key = f"account:{account.id}:{found.opened_at.isoformat()}:{channel}"
        new = outbox.New(key=key, batch_id=None, channel=channel, occasion=Occasion.ACCOUNT, reason=reason)
        outbox.queue(connection, new, now=now)
