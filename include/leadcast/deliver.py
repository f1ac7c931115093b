"""Delivers: ledger → integration → ledger. Whatever kills an attempt, the next one knows where it stood."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from leadcast.core.backoff import pause_s
from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import (
    AttemptFailed,
    Blocked,
    DeliveryError,
    SettingsError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.core.redact import one_line, scrub
from leadcast.core.settings import Settings
from leadcast.integrations.base import Account, Call, Integration, TokenVault
from leadcast.store import ledger
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.deliver")

Accounts = Callable[[Integration[Any, Any], Mapping[str, Any]], Account[Any]]
"""Finds an integration's account from what the request brought: inline credentials, a `conn_id`, or nothing."""


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

    def deliver(self, delivery_id: str, *, integration: Integration[Any, Any], last_try: bool) -> Receipt | None:
        """Makes one attempt. None: there was nothing to do, it is delivered or cancelled.

        Args:
            integration: that of the delivery's type.
            last_try: no attempt follows this one by itself.

        Raises:
            AttemptFailed: with the decision about the next attempt; the ledger says the same.
            StoreError: the ledger could not be read or written.
        """
        with self.store.lock(f"delivery:{delivery_id}") as held:
            if not held:
                busy = TransientError("Another attempt of this delivery is still on its way.", code="busy")
                raise AttemptFailed(busy, retry_in_s=None if last_try else self.settings.retry_delay_s)
            with self.store.begin() as connection:
                begun = ledger.begin(connection, delivery_id, worker=self.worker, now=self.clock())
            if begun is None:
                log.info("nothing to deliver", delivery_id=delivery_id)
                return None
            return _Attempt(self, integration, begun, last_try=last_try).run()


class _Attempt:
    """One attempt of one delivery."""

    def __init__(
        self, courier: Courier, integration: Integration[Any, Any], begun: ledger.Begun, *, last_try: bool
    ) -> None:
        self.courier = courier
        self.integration = integration
        self.own_settings: Any = None
        self.begun = begun
        self.last_try = last_try
        self.in_doubt = begun.in_doubt
        self.went_out = False
        self.secrets: list[str] = []
        self.rules = courier.settings.delivering(begun.type)
        self.log = log.bind(
            batch_id=begun.batch_id,
            lead_id=begun.lead.id,
            integration=begun.type,
            delivery_id=begun.delivery_id,
            attempt=begun.attempt,
        )
        self.started_at = courier.clock()

    def run(self) -> Receipt:
        try:
            receipt = self._find_or_send()
        except DeliveryError as error:
            raise self._failed(error) from None
        except Exception as error:
            # only its name is kept: the text of an unforeseen error may hold anything
            self.log.error("attempt broke", error=type(error).__name__, where=_where(error))
            raise self._failed(self._broken(error)) from None
        except BaseException as error:
            self._failed(self._broken(error))
            raise
        self._end(ledger.Ended(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=receipt))
        return receipt

    def _find_or_send(self) -> Receipt:
        self.own_settings = self.integration.settings_model.model_validate(self.begun.settings)
        account = self._account()
        call = self._call()
        if self.in_doubt:
            found = self._find(account, call)
            if found is not None:
                return replace(found, reconciled=True)
        self.went_out = True
        return self.integration.deliver(self.begun.lead, settings=self.own_settings, account=account, call=call)

    def _find(self, account: Account[Any], call: Call) -> Receipt | None:
        """The receipt of an attempt whose outcome nobody saw; None: send (again)."""
        if self.integration.can_find:
            try:
                found = self.integration.find(self.begun.lead, settings=self.own_settings, account=account, call=call)
            except UnknownOutcome as error:
                raise TransientError(f"Could not be asked: {error.message}", code=error.code) from None
            if found is None:
                self._refuse_if_too_early()
            self.in_doubt = False
            return found
        # UNKNOWN was shown to a person, so whoever starts it again has decided
        if self.begun.before is not DeliveryState.UNKNOWN and not self._may_resend():
            raise UnknownOutcome("It may have arrived, and the service cannot be asked. A person decides.", code="held")
        return None

    def _refuse_if_too_early(self) -> None:
        """The service may still be at work on the call that nobody saw the end of: then it is not to be sent again."""
        since = self.begun.in_doubt_since
        if since is None:
            return
        left_s = self.integration.absent_after_s - (self.courier.clock() - since).total_seconds()
        if left_s > 0:
            raise TransientError(
                "Not found yet, and it may still arrive; asked again later.", code="too_early", retry_after_s=left_s
            )

    def _may_resend(self) -> bool:
        return self.integration.may_resend(self.own_settings, self.courier.settings)

    def _account(self) -> Account[Any]:
        inline: dict[str, Any] = {}
        if self.begun.credentials_sealed:
            inline = self.courier.store.sealer.open(self.begun.credentials_sealed)
        account = self.courier.accounts(self.integration, inline)
        for secret in account.secrets():
            self.secrets.append(secret)
            self.courier.hide(secret)
        return account

    def _call(self) -> Call:
        from leadcast.integrations.egress import Egress
        from leadcast.integrations.templating import Templates

        settings = self.courier.settings
        return Call(
            key=self.begun.delivery_id,
            batch_id=self.begun.batch_id,
            accepted_at=self.begun.accepted_at,
            attempt=self.begun.attempt,
            egress=Egress(allowed_networks=settings.allowed_networks),
            templates=Templates(folder=settings.templates_folder, language=settings.language),
            tokens=self.courier.tokens,
            settings=settings,
            clock=self.courier.clock,
            timeout_s=self.rules.timeout_s,
            last_try=self.last_try,
        )

    def _broken(self, error: BaseException) -> DeliveryError:
        """What an error that is not a service's says of the attempt."""
        if self.went_out:
            return UnknownOutcome(f"Broke off while sending: {type(error).__name__}", code="broken")
        if isinstance(error, SettingsError):
            return Blocked(str(error), code="settings")
        return TransientError(f"Broke off before sending: {type(error).__name__}", code="broken")

    def _failed(self, error: DeliveryError) -> AttemptFailed:
        error.message = one_line(scrub(error.message, secrets=self.secrets))
        error.detail = one_line(scrub(error.detail, secrets=self.secrets))
        unknown = isinstance(error, UnknownOutcome)
        in_doubt = unknown or self.in_doubt
        retry_in_s: float | None = None
        if error.may_pass and not self.last_try and (not unknown or self._may_resend()):
            retry_in_s = pause_s(error, attempt=self.begun.attempt, rules=self.rules, chance=self.courier.chance)
        if retry_in_s is not None:
            state = DeliveryState.RETRYING
        elif in_doubt and not self.integration.repeatable:
            state = DeliveryState.UNKNOWN
        else:
            state = DeliveryState.FAILED
        next_at = None if retry_in_s is None else self.courier.clock() + timedelta(seconds=retry_in_s)
        self._end(
            ledger.Ended(state=state, outcome=error.outcome, error=error, in_doubt=in_doubt, next_attempt_at=next_at)
        )
        return AttemptFailed(error, retry_in_s=retry_in_s)

    @retry(
        retry=retry_if_exception_type(StoreError),
        stop=stop_after_attempt(5),
        wait=wait_exponential(multiplier=0.5, max=5),
        reraise=True,
    )
    def _end(self, ended: ledger.Ended) -> None:
        """Writes the outcome; tries for some seconds, since an outcome that is known and not written is costly."""
        now = self.courier.clock()
        with self.courier.store.begin() as connection:
            ledger.end(connection, self.begun, ended, now=now)
        self.log.info(
            "attempt ended",
            outcome=ended.outcome.value,
            state=ended.state.value,
            duration_s=round((now - self.started_at).total_seconds(), 3),
            error=ended.error.message if ended.error else None,
            code=ended.error.code if ended.error else None,
        )


def _where(error: BaseException) -> str:
    """File and line at which an error arose: enough to mend it, and nothing of what it was about."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step else ""
