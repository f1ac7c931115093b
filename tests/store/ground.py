"""One delivery on its way, for tests that let things happen to it step by step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from leadcast.core.errors import AttemptFailed
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import free_lanes, pick_up
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries
from tests.support.by_hand import by_hand
from tests.support.planned import plan

if TYPE_CHECKING:
    from .conftest import Service

Accept = Callable[..., Accepted]


def die_in_mid_call(store: Store, run_id: str) -> None:
    """Leaves the ledger as attempts do that are killed in mid-call."""
    held = deliveries.c.batch_id.in_(select(batches.c.id).where(batches.c.wave_id == run_id))
    with store.begin() as connection:
        connection.execute(update(deliveries).where(held).values(state=DeliveryState.SENDING, in_doubt=True))


class Ground:
    """One delivery of one batch, which the run `w` sends."""

    def __init__(
        self, store: Store, settings: Settings, deliverer: Deliverer, settler: Settler, accept: Accept
    ) -> None:
        self.store, self.settings, self.deliverer, self.settler, self.accept = (
            store,
            settings,
            deliverer,
            settler,
            accept,
        )

    def claimed(self, kind: str = "telegram") -> str:
        """A batch of it, which the run `w` has a task for. Returns the delivery's id."""
        batch_id = self.accept(kind).batch_id
        self.plan("w")
        return f"{batch_id}-0"

    def plan(self, run_id: str) -> list[str]:
        work = plan(self.store, self.settings, run_id=run_id, clock=self.deliverer.clock).work
        return [ref.delivery_id for refs in work.values() for ref in refs]

    def attempt(
        self, delivery_id: str, service: Service, *, asked: bool = False, run_id: str = "w", asked_by: str = ""
    ) -> None:
        with suppress(AttemptFailed):
            self.deliverer.deliver(
                delivery_id,
                integration=service,
                last_in_run=False,
                action=by_hand(self.deliverer, which=asked_by) if asked else None,
                run_id=run_id,
            )

    def sweep(self, *dead: str) -> None:
        pick_up(self.settler)
        free_lanes(self.store, will_begin=lambda run_id, kind: run_id not in dead)

    def stands(self, delivery_id: str) -> tuple[BatchStatus, DeliveryState]:
        with self.store.begin() as connection:
            batch = views.batch(connection, delivery_id.rsplit("-", 1)[0])
        assert batch is not None
        return batch.status, batch.deliveries[0].state
