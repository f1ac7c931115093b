"""A LocalExecutor which survives deaths that Airflow's own (3.3.2) does not; the local stack runs on it.

- A worker process that dies between taking a task and reporting its start leaves that task `queued` until its run times
  out, since the scheduler asks the executor to revoke it before it queues it again, and the executor cannot.
- A scheduler that dies leaves its idle workers behind: each of them holds the other end of the queue on which it waits,
  so none ever sees it closed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from airflow.executors import local_executor
from airflow.executors.local_executor import LocalExecutor

if TYPE_CHECKING:
    from multiprocessing import SimpleQueue

    from airflow.models.taskinstance import TaskInstance

_PR_SET_PDEATHSIG = 1
_ORPHANED = signal.SIGHUP


class RevokingLocalExecutor(LocalExecutor):
    """Name it in `[core] executor` by its import path (docs/running.md, "The executor")."""

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Forgets the task, so that the scheduler may queue it again.

        A worker that has it all the same may still begin it: Airflow's API lets one process start a try, not two.
        """
        self.queued_tasks.pop(ti.key, None)
        self.running.discard(ti.key)

    # Airflow's own, but for the target, which it takes from its module
    def _spawn_worker(self) -> None:
        worker = multiprocessing.Process(
            target=_work,
            args=(os.getpid(),),
            kwargs={
                "logger_name": self.log.name,
                "queue": self.activity_queue,
                "output": self.result_queue,
                "unread_messages": self._unread_messages,
                "team_conf": self.conf,
            },
        )
        worker.start()
        assert worker.pid is not None
        self.workers[worker.pid] = worker


class Tasks:
    """The queue of a worker, which ends it once the executor is dead: after the task that it has, or while it waits."""

    def __init__(self, queue: SimpleQueue[Any], *, executor_pid: int) -> None:
        self._queue, self._executor_pid = queue, executor_pid
        self._waits = False
        signal.signal(_ORPHANED, self._orphaned)
        _signal_when_parent_dies()

    def get(self) -> Any:
        """Waits for the next task that the scheduler hands out.

        Raises:
            EOFError: there is none, and never will be.
        """
        self._waits = True
        try:
            if os.getppid() != self._executor_pid:
                raise EOFError
            return self._queue.get()
        finally:
            self._waits = False

    def _orphaned(self, *_: object) -> None:
        # at work on a task, it finishes that first
        if self._waits:
            raise EOFError


def _work(executor_pid: int, *, queue: SimpleQueue[Any], **more: Any) -> None:
    tasks: Any = Tasks(queue, executor_pid=executor_pid)
    local_executor._run_worker(input=tasks, **more)


def _signal_when_parent_dies() -> None:
    """Asks the system for it. Only Linux can; elsewhere a worker that waits by then stays until the stack is ended."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _ORPHANED)
