"""Admits an attempt: its settings, its account, its turn under the service's limits, the circuit of its account.

Whatever ends here, nothing has been sent and no try is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from leadcast.core.backoff import LONGEST_WAIT_S, SHORTEST_WAIT_S
from leadcast.core.clock import Clock, utc_now
from leadcast.core.digest import digest
from leadcast.core.errors import Blocked
from leadcast.core.field_words import Fault
from leadcast.core.limits import Limit, at_rate
from leadcast.core.redact import one_line
from leadcast.core.settings import Settings
from leadcast.integrations.base import Account, Integration
from leadcast.integrations.operators_words import in_label
from leadcast.integrations.text.mapping import merged
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef
from leadcast.store.accounts.limits import LIMIT, StoredLimits
from leadcast.store.batches.ledger import Due
from leadcast.store.database import Store
from leadcast.store.sealing import credentials_of

WAIT_FOR_SLOT_S = 10.0
"""How long an attempt may sleep in its process until a limit lets it go out; one that must wait longer lets it go."""
WAIT_BETWEEN_CALLS_S = 60.0
"""The same for the further calls of an attempt that has begun."""

Accounts = Callable[[Integration[Any, Any], Mapping[str, Any]], Account[Any]]
"""Finds an integration's account from what the request brought: inline credentials, a `conn_id`, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """What an attempt goes out with.

    settings: the request's over the installation's.
    ref: the account as its circuit and its memory know it.
    limits: what the service publishes, the account's first.
    """

    settings: Any
    account: Account[Any]
    ref: AccountRef
    limits: Sequence[Limit]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Where attempts are admitted.

    accounts: finds the account of a delivery.
    hide: told every secret in use, so that the engine can mask it in its logs.
    """

    store: Store
    settings: Settings
    accounts: Accounts
    hide: Callable[[str], None]
    clock: Clock = utc_now
    sleep: Callable[[float], None] = time.sleep

    def way(self, due: Due, integration: Integration[Any, Any]) -> Way:
        """How this delivery would go out.

        Raises:
            CredentialsError, Blocked, SettingsError: it cannot.
        """
        own = self._own_settings(due, integration)
        sealed, for_ = due.credentials_sealed, credentials_of(due.delivery_id)
        inline = self.store.sealer.open(sealed, for_=for_) if sealed else {}
        account = self.accounts(integration, inline)
        for secret in account.secrets():
            self.hide(secret)
        limits = integration.limits(settings=own, account=account)
        calls_per_s = self.settings.delivering(due.type).calls_per_s
        if limits and calls_per_s is not None:
            limits = (at_rate(limits[0], calls_per_s=calls_per_s), *limits[1:])
        return Way(settings=own, account=account, ref=_ref(integration, account), limits=limits)

    def admit(self, due: Due, way: Way, *, gives_up_in_s: float | None) -> bool:
        """Waits for a short while until it may go out.

        Args:
            gives_up_in_s: how much longer it may be put off at all; None: for ever.

        Returns:
            Whether it is the probe of its account.

        Raises:
            Postponed: it is too early.
            Blocked: its account wants nothing more.
            StoreError: the store could not be used.
        """
        self._ask_circuit(way.ref, lease_s=None)  # who is not let through takes nobody's slot
        # one who was tried as well: else who hears a 429 goes behind all who waited for him
        has_place = due.error_code == LIMIT or due.begun_at is not None
        limiter = StoredLimits(self.store)
        self.sleep(
            limiter.take(way.limits, may_wait_s=WAIT_FOR_SLOT_S, has_place=has_place, gives_up_in_s=gives_up_in_s)
        )
        return self._ask_circuit(way.ref, lease_s=self.settings.delivering(due.type).timeout_s)

    def await_turn(self, way: Way) -> None:
        """Waits until a further call of an attempt that has begun may go out.

        Raises:
            Postponed: that is too far away.
            StoreError: the store could not be used.
        """
        self.sleep(StoredLimits(self.store).take(way.limits, may_wait_s=WAIT_BETWEEN_CALLS_S, has_place=True))

    def pause(self, way: Way, *, pause_s: float) -> None:
        """The service has asked to wait: its narrowest limit pauses, for all processes, and for an hour at most: nobody
        finds out otherwise whether it takes calls again."""
        if way.limits:
            pause_s = min(max(pause_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)
            StoredLimits(self.store).pause(way.limits[-1], pause_s=pause_s)

    def _ask_circuit(self, ref: AccountRef, *, lease_s: float | None) -> bool:
        with self.store.begin() as connection:
            return circuits.admit(connection, ref, now=self.clock(), lease_s=lease_s)

    def _own_settings(self, due: Due, integration: Integration[Any, Any]) -> Any:
        model, defaults = integration.settings_model, self.settings.integration_settings.get(due.type, {})
        try:
            return model.model_validate(merged(model, defaults, due.settings))
        except ValidationError as error:  # each for itself was checked; its text would repeat the values
            raise Blocked(f"Its settings do not fit together: {Fault.first_of(error)}", code="settings") from None


def _ref(integration: Integration[Any, Any], account: Account[Any]) -> AccountRef:
    parts = (integration.type, *integration.identity(account))
    label = in_label(integration.label(account), integration, account)
    return AccountRef(id=digest(*parts, chars=40), type=integration.type, label=one_line(label, limit=200))
