"""Delivers: one delivery, by one attempt at a time, for the run that holds its batch."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import AttemptFailed, NotBegun, Postponed, StoreError, TransientError
from leadcast.core.model import DeliveryState, Receipt
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenVault
from leadcast.flow.deliver.admit import Accounts, Gate
from leadcast.flow.deliver.attempt import Attempt, busy
from leadcast.integrations.base import Integration
from leadcast.store.batches import claims, ledger
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.deliver")


@dataclass(frozen=True, kw_only=True)
class Courier:
    """Carries deliveries out.

    accounts: finds the account of a delivery.
    tokens: keeps rotated OAuth tokens.
    hide: told every secret in use, so that the engine can mask it in its logs.
    worker: who works here (host and process), for the ledger.
    """

    store: Store
    settings: Settings
    accounts: Accounts
    tokens: TokenVault
    hide: Callable[[str], None]
    worker: str = ""
    clock: Clock = utc_now
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep

    def deliver(
        self,
        delivery_id: str,
        *,
        integration: Integration[Any, Any],
        last_in_run: bool,
        run_id: str = "",
        asked: bool = True,
        asked_by: str = "",
    ) -> Receipt | None:
        """Makes one attempt. None: there was nothing to do, it is delivered or cancelled.

        Args:
            integration: that of the delivery's type.
            last_in_run: the run makes no further attempt; if one is due all the same, a later wave makes it.
            run_id: the run that this is a part of. It holds the batch from here on, unless another one works on it.
            asked: a person wants it, who may start again what has failed or is unknown, and need not wait; else the
                engine may be repeating what has ended, since it does not know that it has.
            asked_by: what the person has done (which clear of a task), so that it counts once; empty: it always counts.

        Raises:
            AttemptFailed: with the decision about the next attempt; the ledger says the same.
            StoreError: the ledger could not be read or written.
            NotBegun: nor was anything begun.
        """
        attempt: Attempt | None = None
        try:
            with self.store.lock(f"delivery:{delivery_id}") as held:
                if not held:
                    why = "Another attempt of this delivery is still on its way."
                    raise busy(why, self.settings, comes_back=asked and not last_in_run)
                attempt = self._taken_up(
                    delivery_id,
                    integration,
                    last_in_run=last_in_run,
                    run_id=run_id,
                    asked=asked,
                    asked_by=asked_by,
                )
                return None if attempt is None else attempt.run()
        except StoreError as error:
            if error.is_away and (attempt is None or not attempt.is_begun):
                raise NotBegun(str(error), is_away=True) from None
            raise

    def _taken_up(
        self,
        delivery_id: str,
        integration: Integration[Any, Any],
        *,
        last_in_run: bool,
        run_id: str,
        asked: bool,
        asked_by: str,
    ) -> Attempt | None:
        """The attempt to be made, whose run holds the batch; None: there is nothing to do."""
        with self.store.begin() as connection:
            now = self.clock()
            # before the delivery's own row, as all do who touch both
            claims.hold(connection, delivery_id=delivery_id)
            due = ledger.due(connection, delivery_id, now=now)
            if due is None:
                log.info("nothing to deliver", delivery_id=delivery_id)
                return None
            is_asked = asked and not (asked_by and due.asked == asked_by)
            if not is_asked:
                _refuse_what_is_decided(due, now=now)
            attempt = Attempt(
                due,
                integration,
                gate=self._gate(),
                tokens=self.tokens,
                worker=self.worker,
                chance=self.chance,
                run_id=run_id,
                last_in_run=last_in_run,
                is_asked=is_asked,
                asked_by=asked_by,
            )
            attempt.hold(connection)
            if due.waits_for:
                ledger.wake(connection, delivery_id)
        return attempt

    def _gate(self) -> Gate:
        return Gate(
            store=self.store,
            settings=self.settings,
            accounts=self.accounts,
            hide=self.hide,
            clock=self.clock,
            sleep=self.sleep,
        )


def _refuse_what_is_decided(due: ledger.Due, *, now: datetime) -> None:
    """The engine tries again also where a process died after the outcome was written: then that outcome stands."""
    # one that was never begun was only given up on: it may well go out
    if due.state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and due.attempts:
        ended = TransientError(f"It has ended: {due.state}. To send it again, clear its task.", code=due.error_code)
        raise AttemptFailed(ended, retry_in_s=None)
    if due.waits_for and due.next_attempt_at is not None and due.next_attempt_at > now:
        wait_s = (due.next_attempt_at - now).total_seconds()
        early = Postponed("It waits, and a later run sends it.", wait_s=wait_s, code=due.waits_for)
        raise AttemptFailed(early, retry_in_s=wait_s, waits=True)
