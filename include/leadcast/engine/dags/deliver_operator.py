"""The operator that sends: mapped over what plan has found, one of these operators for each integration."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
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

_LOOKS, _LOOKS_EVERY_S = 10, 0.5
"""How often a task looks what has become of its delivery, which another has taken."""


class DeliverOperator(BaseOperator):
    """Sends a lead's delivery, and then whatever else is due in the lane of its integration; or only that, where many
    leads wait.

    Args:
        integration: its type.
        work: what the task is for, as `work_lists` writes it.
    """

    def __init__(self, *, integration: str, work: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.integration = integration
        self.work = work
        self._chunk: Chunk | None = None
        self._lease: Lease | None = None
        self._is_blamed = False

    def execute(self, context: Context) -> None:
        """Makes attempts until its lane is empty, or its time over. It ends as the delivery has that it is for; where
        it is for none, as all have together.

        One that waits for longer than a run should is skipped: a later run carries it on.

        Raises:
            AttemptFailed: it has failed; or it is to be tried again by this run. The retry policy understands it.
            AirflowSkipException: it waits. Of a task that is a success nothing is open but what a person has seen to.
        """
        from airflow.sdk.exceptions import AirflowException

        from leadcast.core.errors import AttemptFailed, StoreError

        try:
            self._attempt(context)
        except (AttemptFailed, StoreError, AirflowException):
            raise
        except Exception:
            if self._is_last(context) and not self._is_blamed:
                self._blame([part["delivery_id"] for part in work_lists.parts_of(self.work)])
            raise

    def on_kill(self) -> None:
        """Sends nothing more. Called by the handler of SIGTERM: Airflow kills the process some seconds later."""
        if self._lease is not None:
            self._lease.stop()
        if self._chunk is not None:
            self._chunk.stop()

    def _attempt(self, context: Context) -> None:
        from leadcast.core.errors import NotBegun, StoreError
        from leadcast.flow.deliver.chunk import ChunkEnd, Part

        _label(context, self.work["label"])
        own = [Part(**part) for part in work_lists.parts_of(self.work)]
        action, is_last = self._action(context), self._is_last(context)
        try:
            chunk = self._sent(own, run_id=context["run_id"], action=action, is_last=is_last)
        except StoreError as error:  # of what comes before it: a chunk says by its end what its deliveries have raised
            if not error.is_away:
                raise
            end = ChunkEnd(away=[NotBegun(str(error), is_away=True)])
        else:
            end = chunk.end()
            self._see_to_broken(chunk)
            _label(context, work_lists.ended_label(self.work["label"], end, is_own=bool(own), others=chunk.taken))
            if chunk.time_is_over:
                self._ring_for_rest()
        _tell_airflow(end, is_last=is_last, is_asked_for=action is not None, is_own=bool(own))

    def _sent(self, own: Sequence[Part], *, run_id: str, action: ManualAction | None, is_last: bool) -> Chunk:
        """Sends what this task is for, and what it finds.

        Raises:
            StoreError: the store could not be used, and nothing was begun.
        """
        from leadcast.engine.settings import config
        from leadcast.engine.tell.settling import settler
        from leadcast.flow.deliver.chunk import Chunk
        from leadcast.flow.take_over import take_over
        from leadcast.store.batches import lanes

        deliverer = self._deliverer()
        worker = deliverer.new_worker(sends_many=True)
        lease = self._lease = worker.lease
        send = self._sending(deliverer, worker, own, run_id=run_id, action=action, is_last=is_last)
        with config.store().begin() as connection:
            lanes.begin(connection, self.integration, run_id=run_id)
        try:
            take_over(settler())
        except Exception as error:  # it is others': the sweep says more of it
            log.warning("not taken over from the dead", error=type(error).__name__)
        at_once = config.settings().delivering(self.integration).at_once
        chunk = self._chunk = Chunk(own, send, at_once=at_once, lane=worker.lane(self.integration))
        with lease.of_process():
            chunk.run()
        return chunk

    def _see_to_broken(self, chunk: Chunk) -> None:
        """What has raised what nobody expects is not tried for ever."""
        from leadcast.core.raised import raised_at

        for _, error in chunk.broken:
            log.error("delivery not carried out", error=type(error).__name__, where=raised_at(error))
        if chunk.broken:
            self._blame([part.delivery_id for part, _ in chunk.broken])

    def _blame(self, delivery_ids: Sequence[str]) -> None:
        from leadcast.core.errors import StoreError
        from leadcast.engine.tell.settling import settler
        from leadcast.flow.take_over import blame

        self._is_blamed = True
        with suppress(StoreError):
            blame(settler(), delivery_ids)

    @staticmethod
    def _is_last(context: Context) -> bool:
        """Whether there is no further try of the task."""
        return bool(context["ti"].try_number > (context["ti"].max_tries or 0))

    def _ring_for_rest(self) -> None:
        """Its time is over, and its lane is not empty."""
        from leadcast.engine.runs.bell import ring_from_here
        from leadcast.engine.settings import config
        from leadcast.flow.plan import ring_for_rest

        run_id = ring_for_rest(config.store(), config.settings(), kind=self.integration)
        if run_id is not None:
            ring_from_here(run_id)

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
        self,
        deliverer: Deliverer,
        worker: Worker,
        own: Collection[Part],
        *,
        run_id: str,
        action: ManualAction | None,
        is_last: bool,
    ) -> Callable[[Part], None]:
        """Makes an attempt of one delivery. What a person wants, he wants of what the task is for. If another task of
        the lane has just taken that, it looks again for some seconds, so that it can say what has come of it."""
        from leadcast.core.errors import AttemptFailed, LeadcastError
        from leadcast.core.group_commit import GroupCommit
        from leadcast.flow.deliver.attempt import BUSY
        from leadcast.integrations import registry

        settling: GroupCommit[Part, None] = GroupCommit(
            _settle, lambda part: _settle([part])[0], gathers_s=worker.gathers_s
        )

        def send(part: Part) -> None:
            for _ in range(_LOOKS if part in own else 0):
                try:
                    return attempt(part)
                except AttemptFailed as failed:
                    if failed.error.code != BUSY or not failed.waits:
                        raise
                time.sleep(_LOOKS_EVERY_S)
            return attempt(part)

        def attempt(part: Part) -> None:
            its_action = action if part in own else None
            try:
                deliverer.deliver(
                    part.delivery_id,
                    integration=registry.get(self.integration),
                    last_in_run=is_last,
                    run_id=run_id,
                    action=its_action,
                    by=worker,
                )
            finally:
                # of what a person clears, more may be to come that the ledger has as ended: the run's end settles it
                if its_action is None:
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


def _label(context: Context, label: str) -> None:
    """What people see of the task: Airflow fills in `map_index_template` from the context."""
    context["label"] = label  # type: ignore[typeddict-unknown-key]  # its type has Airflow's keys only


def _settle(parts: Sequence[Part]) -> list[None]:
    """A batch whose last delivery has ended has its status now, however long the rest of the wave takes."""
    from leadcast.engine.tell.settling import settler
    from leadcast.flow.deliver.begin import WAITS_TOGETHER_S

    settler().so_far({part.batch_id for part in parts}, waits_s=WAITS_TOGETHER_S if len(parts) > 1 else None)
    return [None] * len(parts)


def _tell_airflow(end: ChunkEnd, *, is_last: bool, is_asked_for: bool, is_own: bool) -> None:
    """Ends the task as its deliveries stand. Returns: all have ended, and not all have failed.

    Args:
        is_last: there is no further try of the task.
        is_asked_for: a person wants it sent, and only this run knows.
        is_own: it was made for them. Else they are what it has found, and others find what it leaves.

    Raises:
        Exception: the task is tried again, has failed, or is skipped.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from leadcast.core.errors import AttemptFailed, TransientError
    from leadcast.flow.deliver.attempt import BUSY

    if end.broken:
        raise end.broken[0][1]
    # settle waits for the store. What a person has asked for is red until it was tried
    if end.away and (is_asked_for or not is_last):
        raise end.away[0]
    if end.comes_back and (is_own or not is_last):
        # to come too early for some would use up a try of the task for nothing
        wait_s, longest = max(end.comes_back, key=lambda item: item[0])
        raise AttemptFailed(longest.error, retry_in_s=0.0 if end.not_begun else wait_s)
    if end.not_begun and (is_asked_for or not is_last):
        time_is_over = TransientError("Its time is over, and it goes on.", code="goes_on")
        raise AttemptFailed(time_is_over, retry_in_s=None if is_last else 0.0)
    open_ones = [*end.waits, *end.away]
    if open_ones and (is_own or not end.arrived):
        is_busy = isinstance(open_ones[0], AttemptFailed) and open_ones[0].error.code == BUSY
        raise AirflowSkipException(f"{open_ones[0]} {'' if is_busy else 'A later run carries it on.'}".strip())
    if end.not_begun:
        raise AirflowSkipException("Its time is over. A later run sends what it has not begun.")
    if end.failed and not end.arrived:
        raise end.failed[0]
