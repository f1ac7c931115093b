"""Processor time that tasks cost: unlike the time on the clock, it says the same on a machine that others use too."""

from __future__ import annotations

import psutil

from bench.leads import BenchError
from bench.stack import Running
from leadcast.local.supervisor import Program, Supervisor


def task_cpu_s(running: Running) -> float:
    """Seconds spent so far by the executor's workers and by all the task processes that they have started and ended.

    The scheduler's own loop is left out: it turns whether there is work or not.

    Raises:
        BenchError: the scheduler does not run.
    """
    pid = Supervisor(running.home).state(Program.SCHEDULER).pid
    try:
        workers = psutil.Process(pid).children()
        times = [worker.cpu_times() for worker in workers]
    except psutil.NoSuchProcess as error:
        raise BenchError(f"The scheduler of {running.home.root} has ended.") from error
    return float(sum(time.user + time.system + time.children_user + time.children_system for time in times))
