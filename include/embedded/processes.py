"""The processes of an installation: found by their mark or by their program, and ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import psutil

from include.embedded.environment import INSTANCE
from include.settings import Settings

SUPERVISOR = "supervisord"


def of_installation(settings: Settings) -> list[psutil.Process]:
    """The installation's processes, by environment or by an executable in its folders, and all their children.

    Except this process and its parents. Looks at each process of the machine once: the watchdog asks every few seconds.
    """
    home = str(settings.home)
    folders = (f"{home}/environments/", f"{home}/builds/")
    excluded = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    children: dict[int, list[psutil.Process]] = {}
    pending: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process)
            if process.pid in excluded:
                continue
            if "".join(process.cmdline()[:1]).startswith(folders) or process.environ().get(INSTANCE) == home:
                pending.append(process)
    ours: dict[int, psutil.Process] = {}
    while pending:
        process = pending.pop()
        if process.pid not in ours and process.pid not in excluded:
            ours[process.pid] = process
            pending += children.get(process.pid, [])
    return alive(ours.values())


def supervisors(settings: Settings) -> list[psutil.Process]:
    """The installation's supervisords, also one that has started this process."""
    home, found = str(settings.home), of_installation(settings)
    for parent in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            if parent.environ().get(INSTANCE) == home:
                found.append(parent)
    return [process for process in found if runs(process, SUPERVISOR)]


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended."""
    running = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def runs(process: psutil.Process, *words: str) -> bool:
    """Whether the process's command line contains one of these arguments, or a program of this name."""
    with contextlib.suppress(psutil.Error):
        command = process.cmdline()
        programs = {part.rpartition("/")[2] for part in command[:2]}
        return any(word in command or word in programs for word in words)
    return False


def end(processes: list[psutil.Process]) -> None:
    """Ask the processes to end, and kill those that have not ended after 10 s."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, remaining = psutil.wait_procs(processes, timeout=10)
    kill(remaining)


def kill(processes: list[psutil.Process]) -> None:
    """Kill the processes and wait until they have ended."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def describe(process: psutil.Process) -> str:
    """Process id and the beginning of the command line."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:100]}"
    return str(process.pid)
