"""Delivers: one delivery, by one attempt at a time, for the run that has its batch: `DeliverOperator` calls it
(engine/dags/wave_operators.py). Read `deliver`: it is all of it, in order. Whatever kills an attempt, the ledger tells
the next one where it stood.

    take up → admit → begin → send → outcome

What is too early is put off after `admit`. What is refused there is begun all the same, so that the ledger has it as an
attempt; nothing is sent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import AttemptFailed, NotBegun, RateLimited, StoreError
from leadcast.core.model import DeliveryState, ManualAction, Receipt
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenVault
from leadcast.core.verdict import LONGEST_WAIT_IN_RUN_S
from leadcast.flow.deliver.admit import Accounts, Admission, Early, Ready, Refused
from leadcast.flow.deliver.attempt import Attempt, busy, log_of
from leadcast.flow.deliver.begin import Wanted
from leadcast.flow.deliver.outcome import Outcome, decide, make_fit
from leadcast.flow.deliver.send import NotArrived, Sending
from leadcast.flow.deliver.worker import Worker
from leadcast.integrations.base import Integration
from leadcast.store.accounts.open_circuits import OpenCircuits
from leadcast.store.batches.ledger import Begun, HeldByAnother
from leadcast.store.database import Store
from leadcast.store.lease import Lease

_AFTER_LEASE_S = 1.0
GLANCE_S = 1.0
"""For so long a look at the circuits counts, in a process that sends many."""
GATHERS_S = 0.02
"""How long a thread of such a process waits for others before it writes for all: an attempt takes 0.1 s longer, and
many cost the store a fraction of what they would one by one."""


@dataclass(frozen=True, kw_only=True)
class Deliverer:
    """Makes the attempts of deliveries, one at a time, and writes into the ledger what comes of each.

    accounts: finds the account of a delivery.
    tokens: keeps rotated OAuth tokens.
    hide: told every secret in use, so that the engine can mask it in its logs.
    worker: who works here (host and process), for the ledger.
    chance: gives a number from 0 to below 1.
    new_lease: makes the lease of one attempt, as `Lease` does.
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
    new_lease: Callable[..., Lease] = Lease

    def deliver(
        self,
        delivery_id: str,
        *,
        integration: Integration[Any, Any],
        last_in_run: bool,
        run_id: str = "",
        action: ManualAction | None = None,
        by: Worker | None = None,
    ) -> Receipt | None:
        """Makes one attempt. None: another has delivered it, or it is cancelled.

        Args:
            integration: that of the delivery's type.
            last_in_run: the run makes no further attempt; if one is due all the same, a later wave makes it.
            run_id: the run that this is a part of. It has the batch from here on, unless another one works on it.
            action: a person wants it, who may start again what has failed or is unknown, and need not wait. None: the
                engine may be repeating what has ended, since it does not know that it has.
            by: the process that makes many, one of `new_worker`; None: one that makes this one.

        Raises:
            AttemptFailed: with the decision about the next attempt; the ledger says the same.
            StoreError: the ledger could not be read or written.
            NotBegun: nor was anything begun.
        """
        by = by or self.new_worker()
        wanted = Wanted(
            delivery_id=delivery_id, integration=integration, run_id=run_id, last_in_run=last_in_run, action=action
        )
        try:
            attempt = by.beginning.take_up(wanted)
            if attempt is None:
                return None
            admitted = self._admitted(attempt, by)
            if admitted is None:
                return None
            begun = by.beginning.begin(attempt, admitted.route)
            if begun is None:
                return None
        except HeldByAnother as held:
            raise self._busy(held, last_in_run=last_in_run, action=action) from None
        except StoreError as error:
            if error.is_away:
                raise NotBegun(str(error), is_away=True) from None
            raise
        with by.lease.kept():
            return self._carried_out(attempt, begun, admitted, by)

    def new_worker(self, *, sends_many: bool = False) -> Worker:
        """A process that sends. Its lease is not begun.

        Args:
            sends_many: several at once, which share their transactions and their look at the circuits.
        """
        admission = Admission(
            store=self.store,
            settings=self.settings,
            accounts=self.accounts,
            hide=self.hide,
            clock=self.clock,
            sleep=self.sleep,
            open_circuits=OpenCircuits(self.store, for_s=GLANCE_S) if sends_many else None,
        )
        lease = self.new_lease(self.store, name=self.worker, lease_s=self.settings.worker_lease_s)
        return Worker(admission, lease, gathers_s=GATHERS_S if sends_many else 0.0)

    def _busy(self, held: HeldByAnother, *, last_in_run: bool, action: ManualAction | None) -> AttemptFailed:
        """Who holds it may be dead: then it is free once his lease is over. Who lives writes what comes of it."""
        wait_s = held.left_s + _AFTER_LEASE_S if held.left_s else self.settings.retry_delay_s
        is_soon = bool(held.left_s) and wait_s <= LONGEST_WAIT_IN_RUN_S
        # what a person wants, nobody knows but this run
        comes_back = not last_in_run and (is_soon or action is not None)
        return busy(str(held), retry_in_s=wait_s if comes_back else None)

    def _admitted(self, attempt: Attempt, by: Worker) -> Ready | Refused | None:
        """How it goes on: what is too early waits, and is refused once it has waited for too long. None: it has ended
        meanwhile.

        Raises:
            AttemptFailed: it waits.
        """
        admission = by.admission
        early = admission.admit(attempt)
        if not isinstance(early, Early):
            return early
        decided = decide(
            attempt,
            early.error,
            route=early.route,
            begun=None,
            in_doubt=False,
            admission=admission,
            chance=self.chance,
        )
        if decided.state is not DeliveryState.RETRYING:
            return Refused(early.route, early.error)
        make_fit(early.error, attempt, early.route, None, region=self.settings.phone_region)
        waits = by.beginning.put_off(attempt, early, decided)
        if waits is None:
            return None
        seconds = round(waits.retry_in_s or 0.0, 1)
        log_of(attempt).info("delivery waits", waits_for=early.error.code, seconds=seconds)
        raise waits

    def _carried_out(self, attempt: Attempt, begun: Begun, admitted: Ready | Refused, by: Worker) -> Receipt | None:
        """Sends it, and writes what has come of it. None: it has not arrived so, but by another attempt meanwhile.

        Raises:
            AttemptFailed: with the decision about the next attempt.
        """
        outcome = Outcome(attempt, begun, admitted, admission=by.admission, endings=by.endings, chance=self.chance)
        sent = Sending(admission=by.admission, tokens=self.tokens, lease=by.lease).send(attempt, begun, admitted)
        decided = outcome.of(sent)
        if not isinstance(sent, NotArrived):
            return sent.receipt
        if sent.interrupted_by is not None:
            raise sent.interrupted_by
        if isinstance(sent.error, RateLimited) and admitted.route is not None:
            with suppress(StoreError):  # the outcome is written, and others may still be told by the service itself
                by.admission.pause(admitted.route, pause_s=sent.error.retry_after_s or 0.0)
        if decided.state is DeliveryState.DELIVERED:  # enough of it has arrived; or all, by one given up for dead
            return decided.receipt
        # one that was not heard leaves it to whoever is at work on it now
        is_left_open = decided.wait_s is None and not decided.state.is_final
        raise AttemptFailed(sent.error, retry_in_s=decided.wait_s, waits=bool(decided.waits_for) or is_left_open)
