"""A task ends with the process that supervises it, on every executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.conftest import PROJECT
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

SUPERVISOR = """
import os, socket, sys, time
from airflow.sdk.execution_time import comms, task_runner
from evergreen.model_task import ModelTask
if not os.fork():
    if {in_task}:
        task_runner.SUPERVISOR_COMMS = comms.CommsDecoder(socket=socket.socketpair()[0])
    ModelTask(task_id="t", model="m").pre_execute({{}})
    print(os.getpid(), flush=True)
    time.sleep(300)
time.sleep(300)
"""


def start(in_task: bool) -> tuple[subprocess.Popen[str], psutil.Process]:
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}"}
    command = [sys.executable, "-c", SUPERVISOR.format(in_task=in_task)]
    supervisor = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    return supervisor, psutil.Process(int(supervisor.stdout.readline().split()[-1]))


def test_a_task_ends_with_its_supervisor() -> None:
    """It went on, and its training with it, in the folder in which the retry had begun."""
    supervisor, task = start(in_task=True)
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait(10)
    wait_for(lambda: not task.is_running() or task.status() == psutil.STATUS_ZOMBIE, 10, "the task's end")


def test_a_run_in_the_callers_own_process_outlives_its_parent() -> None:
    """As ``dag.test`` does: the process belongs to a person's shell or to a test."""
    supervisor, task = start(in_task=False)
    try:
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait(10)
        wait_for(lambda: task.ppid() != supervisor.pid, 10, "another parent")
        assert task.is_running()
    finally:
        task.kill()
