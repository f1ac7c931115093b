"""Admits an attempt: its settings, its account, its turn under the service's limits, the circuit of its account.

Whatever ends here, nothing has been sent and no try is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from leadcast.core.backoff import LONGEST_WAIT_S, SHORTEST_WAIT_S
from leadcast.core.clock import Clock, utc_now
from leadcast.core.digest import digest
from leadcast.core.errors import HELD_FOR_AGE, Blocked, Postponed, StoreError
from leadcast.core.field_words import Fault
from leadcast.core.limits import Limit, at_rate
from leadcast.core.redact import one_line
from leadcast.core.settings import Settings
from leadcast.flow.deliver.attempt import Attempt
from leadcast.integrations.base import Account, Integration
from leadcast.integrations.operators_words import in_label
from leadcast.integrations.text.mapping import merged
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef
from leadcast.store.accounts.limits import LIMIT, StoredLimits
from leadcast.store.accounts.open_circuits import OpenCircuits
from leadcast.store.batches.ledger import Due
from leadcast.store.database import Store
from leadcast.store.sealing import credentials_of

if TYPE_CHECKING:
    from leadcast.integrations.http.egress import Egress
    from leadcast.integrations.text.templating import Templates

WAIT_FOR_SLOT_S = 10.0
"""How long an attempt may sleep in its process until a limit lets it go out; one that must wait longer lets it go."""
WAIT_BETWEEN_CALLS_S = 60.0
"""The same for the further calls of an attempt that has begun."""

Accounts = Callable[[Integration[Any, Any], Mapping[str, Any]], Account[Any]]
"""Finds an integration's account from what the request brought: inline credentials, a `conn_id`, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where an attempt goes, and with what.

    settings: the request's over the installation's.
    ref: the account as its circuit and its memory know it.
    limits: what the service publishes, the account's first.
    """

    settings: Any
    account: Account[Any]
    ref: AccountRef
    limits: Sequence[Limit]


@dataclass(frozen=True)
class Tools:
    """What an attempt calls and writes with. Heavy to import: loaded after its turn has come, they would make it send
    late, into the turn of those that follow."""

    egress: Egress
    templates: Templates

    @classmethod
    def loaded(cls, settings: Settings, integration_type: str) -> Self:
        """Those that the installation's settings ask for."""
        from leadcast.integrations.http.egress import Egress
        from leadcast.integrations.text.templating import Templates

        return cls(
            egress=Egress.under(settings, integration_type),
            templates=Templates(folder=settings.templates_folder, language=settings.language),
        )


@dataclass(frozen=True)
class Ready:
    """It may go out now. `is_probe`: it tries an account whose circuit is open."""

    route: Route
    tools: Tools
    is_probe: bool


@dataclass(frozen=True)
class Early:
    """It is too early: under the service's limit, or while its account is left alone."""

    route: Route
    error: Postponed


@dataclass(frozen=True)
class Refused:
    """It cannot go out as it is. `route` None: that is what could not be found."""

    route: Route | None
    error: Exception


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Where attempts are admitted.

    accounts: finds the account of a delivery.
    hide: told every secret in use, so that the engine can mask it in its logs.
    open_circuits: what the process has seen of them; None: each is asked for.
    """

    store: Store
    settings: Settings
    accounts: Accounts
    hide: Callable[[str], None]
    clock: Clock = utc_now
    sleep: Callable[[float], None] = time.sleep
    open_circuits: OpenCircuits | None = None

    def admit(self, attempt: Attempt) -> Ready | Early | Refused:
        """Finds where it goes, and waits for its turn, for a short while.

        Raises:
            StoreError: the store could not be used.
        """
        route: Route | None = None
        try:
            tools = Tools.loaded(self.settings, attempt.integration.type)
            self._refuse_what_is_stale(attempt)
            route = self.route(attempt.due, attempt.integration)
            gives_up_in_s = attempt.gives_up_in_s(self.settings, self.clock())
            is_probe = self.wait_for_turn(attempt.due, route, gives_up_in_s=gives_up_in_s)
        except StoreError:
            raise
        except Exception as error:  # an integration may be anybody's code; what an error means, `outcome` decides
            if isinstance(error, Postponed) and route is not None:
                return Early(route, error)
            return Refused(route, error)
        return Ready(route, tools, is_probe)

    def route(self, due: Due, integration: Integration[Any, Any]) -> Route:
        """Where this delivery would go, and with what.

        Raises:
            CredentialsError, Blocked, SettingsError: it cannot go out.
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
        return Route(settings=own, account=account, ref=_ref(integration, account), limits=limits)

    def wait_for_turn(self, due: Due, route: Route, *, gives_up_in_s: float | None) -> bool:
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
        self._ask_circuit(route.ref, lease_s=None)  # who is not let through takes nobody's slot
        # who has waited for this limit keeps his place; who was tried has one as well: else who hears a 429 goes behind
        # all who waited for him
        has_place = due.error_code == LIMIT or due.begun_at is not None
        limiter = StoredLimits(self.store)
        self.sleep(
            limiter.take(route.limits, may_wait_s=WAIT_FOR_SLOT_S, has_place=has_place, gives_up_in_s=gives_up_in_s)
        )
        return self._ask_circuit(route.ref, lease_s=self.settings.delivering(due.type).timeout_s)

    def wait_between_calls(self, route: Route) -> None:
        """Waits until a further call of an attempt that has begun may go out.

        Raises:
            Postponed: that is too far away.
            StoreError: the store could not be used.
        """
        limiter = StoredLimits(self.store)
        self.sleep(limiter.take(route.limits, may_wait_s=WAIT_BETWEEN_CALLS_S, has_place=True))

    def pause(self, route: Route, *, pause_s: float) -> None:
        """The service has asked to wait: its narrowest limit pauses, for all processes, and for an hour at most: nobody
        finds out otherwise whether it takes calls again."""
        if route.limits:
            pause_s = min(max(pause_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)
            StoredLimits(self.store).pause(route.limits[-1], pause_s=pause_s)

    def _refuse_what_is_stale(self, attempt: Attempt) -> None:
        """What was to be sent long ago, and could not be, may do more harm than good by now: a person decides."""
        due = attempt.due
        if due.is_erased:
            raise erased()
        if due.is_cancelled and not attempt.action:
            raise Blocked("Its batch was cancelled while it was being sent.", code="cancelled")
        hold_after_s = self.settings.hold_after_s
        age_s = (self.clock() - due.age_counts_from).total_seconds()
        if hold_after_s and age_s > hold_after_s and not attempt.action:
            raise Blocked(
                f"Held: it was accepted {age_s / 3600:.0f} hours ago, and is not sent by itself any more "
                "(hold_after_s). Retry it to send it all the same.",
                code=HELD_FOR_AGE,
            )

    def _ask_circuit(self, ref: AccountRef, *, lease_s: float | None) -> bool:
        if self.open_circuits is not None and not self.open_circuits.may_have(ref.id):
            return False
        with self.store.begin() as connection:
            return circuits.admit(connection, ref, now=self.clock(), lease_s=lease_s)

    def _own_settings(self, due: Due, integration: Integration[Any, Any]) -> Any:
        model, defaults = integration.settings_model, self.settings.integration_settings.get(due.type, {})
        try:
            return model.model_validate(merged(model, defaults, due.settings))
        except ValidationError as error:  # each for itself was checked; its text would repeat the values
            raise Blocked(f"Its settings do not fit together: {Fault.first_of(error)}", code="settings") from None


def erased() -> Blocked:
    """The lead's data is gone, or about to go."""
    return Blocked("Its personal data has been erased.", code="erased")


def _ref(integration: Integration[Any, Any], account: Account[Any]) -> AccountRef:
    parts = (integration.type, *integration.identity(account))
    label = in_label(integration.label(account), integration, account)
    return AccountRef(id=digest(*parts, chars=40), type=integration.type, label=one_line(label, limit=200))
