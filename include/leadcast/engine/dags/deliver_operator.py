"""The operator that sends: mapped over chunks, one of these operators for each integration."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk import BaseOperator

from leadcast.engine.dags import work_lists

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.core.model import ManualAction
    from leadcast.flow.deliver.chunk import Chunk, ChunkEnd, Part
    from leadcast.flow.deliver.deliverer import Deliverer
    from leadcast.flow.deliver.worker import Worker
    from leadcast.store.lease import Lease

log = structlog.get_logger("leadcast.deliver")


class DeliverOperator(BaseOperator):
    """Sends the deliveries of one chunk, which are all of one integration: one lead's, where few leads wait.

    Args:
        integration: its type.
        work: the chunk, as `work_lists.chunks` cuts it.
    """

    def __init__(self, *, integration: str, work: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.integration = integration
        self.work = work
        self._chunk: Chunk | None = None
        self._lease: Lease | None = None

    def execute(self, context: Context) -> None:
        """Makes an attempt of each, and of those that may be tried again soon, another one while others are at work.

        One that waits for longer than a run should is skipped, and so is a chunk with such ones: a later run carries
        them on.

        Raises:
            AttemptFailed: all have failed; or some are to be tried again by this run. The retry policy understands it.
            AirflowSkipException: some wait. Of a task that is a success nothing is open but what a person has seen to.
        """
        self._attempt(context)

    def on_kill(self) -> None:
        """Sends nothing more. Called by the handler of SIGTERM: Airflow kills the process some seconds later."""
        if self._lease is not None:
            self._lease.stop()
        if self._chunk is not None:
            self._chunk.stop()

    def _attempt(self, context: Context) -> None:
        from leadcast.core.errors import NotBegun, StoreError
        from leadcast.engine.settings import config
        from leadcast.flow.deliver.chunk import Chunk, ChunkEnd, Part

        # Airflow fills in map_index_template from the context
        context["label"] = self.work["label"]  # type: ignore[typeddict-unknown-key]  # its type has Airflow's keys only
        parts = [Part(**part) for part in work_lists.parts_of(self.work)]
        action, is_last = self._action(context), context["ti"].try_number > (context["ti"].max_tries or 0)
        deliverer = self._deliverer()
        rules = config.settings().delivering(self.integration)
        worker = deliverer.new_worker(sends_many=min(len(parts), rules.at_once) > 1)
        lease = self._lease = worker.lease
        send = self._sending(deliverer, worker, run_id=context["run_id"], action=action, is_last=is_last)
        try:
            doubtful = _died_with(parts) if context["ti"].try_number > 1 and len(parts) > 1 else set()
            chunk = self._chunk = Chunk(parts, send, at_once=rules.at_once, doubtful=doubtful)
            with lease.of_process() if len(parts) > 1 else nullcontext():
                end = chunk.run()
        except StoreError as error:  # of what comes before it: a chunk says by its end what its deliveries have raised
            if not error.is_away:
                raise
            end = ChunkEnd(away=[NotBegun(str(error), is_away=True)] * len(parts))
        if len(parts) > 1:
            context["label"] = work_lists.ended_label(self.work["label"], end)  # type: ignore[typeddict-unknown-key]
        _tell_airflow(end, is_last=is_last, is_asked_for=action is not None)

    def _deliverer(self) -> Deliverer:
        from leadcast.engine.settings import config
        from leadcast.engine.settings.accounts import Accounts
        from leadcast.flow.deliver.deliverer import Deliverer
        from leadcast.store.accounts.tokens import StoredTokens

        settings, store = config.settings(), config.store()
        accounts = Accounts(settings)
        return Deliverer(
            store=store,
            settings=settings,
            accounts=accounts.find,
            tokens=StoredTokens(store),
            hide=accounts.hide,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )

    def _sending(
        self, deliverer: Deliverer, worker: Worker, *, run_id: str, action: ManualAction | None, is_last: bool
    ) -> Callable[[Part], None]:
        """Makes an attempt of one part of the chunk."""
        from leadcast.core.errors import LeadcastError
        from leadcast.core.group_commit import GroupCommit
        from leadcast.integrations import registry

        integration = registry.get(self.integration)
        settling: GroupCommit[Part, None] = GroupCommit(
            _settle, lambda part: _settle([part])[0], gathers_s=worker.gathers_s
        )

        def send(part: Part) -> None:
            try:
                deliverer.deliver(
                    part.delivery_id,
                    integration=integration,
                    last_in_run=is_last,
                    run_id=run_id,
                    action=action,
                    by=worker,
                )
            finally:
                # of what a person clears, more may be to come that the ledger has as ended: the run's end settles it
                if action is None:
                    # what cannot be settled now is settled by the settle task, or by the sweep
                    with suppress(LeadcastError):
                        settling.ask(part)

        return send

    def _action(self, context: Context) -> ManualAction | None:
        """What a person wants of it, who has cleared the task; None: nothing, the run is at work by itself."""
        from leadcast.core.clock import utc_now
        from leadcast.core.model import ManualAction, ManualKind

        max_tries = context["ti"].max_tries or 0
        if not self._was_cleared(max_tries):
            return None
        return ManualAction(what=ManualKind.CLEAR, at=utc_now(), which=f"{context['run_id']}:{max_tries}")

    def _was_cleared(self, max_tries: int) -> bool:
        """Whether a person has cleared the task: Airflow (3.3.2) then puts its retries on top of its tries so far."""
        return max_tries > (self.retries or 0)


def _died_with(parts: Sequence[Part]) -> set[str]:
    """What the process of an earlier try was sending when it died."""
    from leadcast.engine.settings import config
    from leadcast.store.batches import snapshots

    with config.store().begin() as connection:
        return snapshots.sending(connection, delivery_ids=[part.delivery_id for part in parts])


def _settle(parts: Sequence[Part]) -> list[None]:
    """A batch whose last delivery has ended has its status now, however long the rest of the wave takes."""
    from leadcast.engine.tell.settling import settler
    from leadcast.flow.deliver.begin import WAITS_TOGETHER_S

    settler().so_far({part.batch_id for part in parts}, waits_s=WAITS_TOGETHER_S if len(parts) > 1 else None)
    return [None] * len(parts)


def _tell_airflow(end: ChunkEnd, *, is_last: bool, is_asked_for: bool) -> None:
    """Ends the task as its deliveries stand. Returns: all have ended, and not all have failed.

    Args:
        is_last: there is no further try of the task.
        is_asked_for: a person wants it sent, and only this run knows.

    Raises:
        Exception: the task is tried again, has failed, or is skipped.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from leadcast.core.errors import AttemptFailed, TransientError
    from leadcast.core.raised import raised_at

    for error in end.broken[1:]:  # the first is in the task's log by being raised
        log.error("delivery not carried out", error=type(error).__name__, where=raised_at(error))
    if end.broken:
        raise end.broken[0]
    # settle waits for the store. What a person has asked for is red until it was tried
    if end.away and (is_asked_for or not is_last):
        raise end.away[0]
    if end.comes_back:
        # to come too early for some would use up a try of the task for nothing
        wait_s, longest = max(end.comes_back, key=lambda item: item[0])
        raise AttemptFailed(longest.error, retry_in_s=0.0 if end.not_begun else wait_s)
    if end.not_begun and (is_asked_for or not is_last):
        time_is_over = TransientError("Its time is over, and it goes on.", code="goes_on")
        raise AttemptFailed(time_is_over, retry_in_s=None if is_last else 0.0)
    if open_ones := [*end.waits, *end.away]:
        raise AirflowSkipException(f"{open_ones[0]} A later run carries it on.")
    if end.not_begun:
        raise AirflowSkipException("Its time is over. A later run sends what it has not begun.")
    if end.failed and not end.arrived:
        raise end.failed[0]
