"""The process that Airflow forks for a task: it ends with its supervisor, and so does the job that it runs."""

from __future__ import annotations

import signal

from airflow.sdk.execution_time import comms, task_runner

from include.adapters.engines.process.confinement_guard import PR_SET_PDEATHSIG, call_prctl


def end_with_supervisor() -> bool:
    """Let the kernel kill this process when its parent dies; False outside of a task's own process, as in ``dag.test``.

    When the worker that supervises a task is killed, Airflow 3.3.2 leaves the task running, while the scheduler retries
    it. The guards of a confined job end with this process.
    """
    if not isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), comms.CommsDecoder):
        return False
    return call_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
