"""One lead on its way to one service of the sandbox: carried by runs, retried by people, as the product does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed
from leadcast.core.model import DeliveryState
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.settle import Settler
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Integration
from leadcast.sandbox import Sandbox
from leadcast.store.batches import views
from leadcast.store.database import Store
from tests.support.error_table.cases import LEAD, Case, Service, credentials_of
from tests.support.planned import plan


@dataclass(frozen=True)
class OneLead:
    """A batch with one delivery to a service of the sandbox, carried by runs and retried by people."""

    service: Service
    sandbox: Sandbox
    store: Store
    settings: Settings
    deliverer: Deliverer
    settler: Settler
    retrier: Retrier
    batch_id: str

    def run(self, run_id: str, *, tries: int = 3) -> DeliveryState:
        """One wave, with so many attempts at most."""
        plan(self.store, self.settings, run_id=run_id, clock=self.deliverer.clock)
        for number in range(tries):
            try:
                self.deliverer.deliver(
                    f"{self.batch_id}-0",
                    integration=registry.get(self.service.type),
                    last_in_run=number == tries - 1,
                    run_id=run_id,
                )
            except AttemptFailed as failed:
                if failed.retry_in_s is None or failed.waits:
                    break
            else:
                break
        self.settler.wave(run_id, Ending())
        return self.delivery.state

    def fault(self, **fault: Any) -> None:
        self.sandbox.fault(**{"service": self.service.sandbox, **fault})

    @property
    def delivery(self) -> views.DeliveryView:
        with self.store.begin() as connection:
            batch = views.batch(connection, self.batch_id)
        assert batch is not None
        return batch.deliveries[0]


def accepted(service: Service, sandbox: Sandbox, *, store: Store, deliverer: Deliverer) -> OneLead:
    """The lead, in the inbox."""
    clock = deliverer.clock
    settings = Settings.of(
        {
            "amocrm_base_url": sandbox.amocrm_url,
            "bitrix24_base_url": sandbox.bitrix24_url,
            "telegram_base_url": sandbox.telegram_url,
            "allowed_networks": "127.0.0.0/8",
        }
    )

    def account(integration: Integration[Any, Any], inline: Mapping[str, Any]) -> Account[Any]:
        credentials = integration.credentials_model.model_validate(inline)
        return integration.from_inline(credentials, base_url=getattr(settings, f"{service.type}_base_url", ""))

    request = {
        "lead_id": "7781",
        "lead": LEAD,
        "integrations": [{"type": service.type}],
        "credentials": {service.type: credentials_of(service, Case(says=""), sandbox)},
    }
    return OneLead(
        service=service,
        sandbox=sandbox,
        store=store,
        settings=settings,
        deliverer=replace(deliverer, settings=settings, accounts=account, sleep=lambda _: None),
        settler=Settler(store=store, settings=settings, clock=clock),
        retrier=Retrier(store=store, settings=settings, clock=clock),
        batch_id=Inbox(store, settings, clock=clock).accept(request).batch_id,
    )
