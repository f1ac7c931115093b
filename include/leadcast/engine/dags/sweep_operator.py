"""The task of `sweep`: every step of it, whatever becomes of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

from leadcast.engine.dags.wave_operators import RING_STUB

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class SweepOperator(BaseOperator):
    """Picks up what fell: what dead processes had, what is due without a task, notifications not sent."""

    def execute(self, context: Context) -> None:
        """Takes over, rings and sends; each of it may be done twice, and by two at once.

        Raises:
            AirflowFailException: a step failed; the others were done.
        """
        from airflow.sdk.exceptions import AirflowFailException

        from leadcast.control.erase import Eraser
        from leadcast.engine.dags import callbacks, mapping
        from leadcast.engine.dags import sweep_steps as sweep
        from leadcast.engine.runs import unplanned
        from leadcast.engine.runs.bell import ring_from_here
        from leadcast.engine.runs.run_states import AirflowRuns
        from leadcast.engine.runs.trouble import Trouble
        from leadcast.engine.settings import config
        from leadcast.engine.tell import settling

        store, settings = config.store(), config.settings()
        settler = settling.settler()
        runs = AirflowRuns(context=context, timeout_s=settings.wave_timeout_s)
        trouble = Trouble()
        with trouble.noted("taking over from the dead"):
            sweep.pick_up(settler)
        with trouble.noted("freeing lanes whose tasks will not begin"):
            sweep.free_lanes(store, will_begin=runs.will_begin)
        with trouble.noted("seeing to the requests of runs that have ended"):
            unplanned.find(store, runs=runs)
        with trouble.noted("forgetting what is old"):
            sweep.forget_old(store)
        with trouble.noted("erasing what was asked for"):
            Eraser(store=store, settings=settings, hooks=settler.hooks).go_on()
        run_id = None
        with trouble.noted("ringing for what waits"):
            run_id = sweep.ring(store, settings, run_state=runs.run_state)
            mapping.feed(context, {RING_STUB: [run_id] if run_id else []})
        with trouble.noted("sending what is left in the outbox"):
            callbacks.tell(context, bound_s=callbacks.IN_SWEEP_S)
        if trouble.found:
            if run_id is not None:  # what comes after a task that has failed is not run
                ring_from_here(run_id)
            raise AirflowFailException(f"Done, but for: {', '.join(trouble.found)}. The lines above say why.")
