"""``python -m include.embedded.watchdog``: heals by itself what a person would otherwise heal with ``make up``.

supervisord starts components and model servers again that end. The watchdog, one of its programs, does the rest every
five seconds: it starts what supervisord has given up, ends what is stopped or no longer responds, restores routes and
servers that differ from the desired state, and starts supervisord again if that was killed. It outlives supervisord;
only if both are killed at the same time, ``make up`` is needed.

With ``--servers``, it only looks after model servers and routes: in compose.yaml, Docker restarts the rest.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence

import psutil

NOTICE_SECONDS = 5.0
"""How soon a process that looks is noticed to be stopped."""


def main(arguments: Sequence[str]) -> None:
    """Start the process that looks, again whenever it has ended or was stopped; it does the same for this one."""
    if "--look" in arguments:
        from include.embedded.watchdog_rounds import look  # this process's parent does without its imports

        return look("--servers" in arguments)
    command = [sys.executable, "-m", "include.embedded.watchdog", "--look", *arguments]
    while True:
        looking = psutil.Popen(command)
        while not _has_ended(looking):
            with contextlib.suppress(psutil.Error):
                if looking.status() == psutil.STATUS_STOPPED:
                    looking.kill()
        if looking.returncode == 0:
            return None


def _has_ended(process: psutil.Popen) -> bool:
    """Wait some seconds for the process to end."""
    with contextlib.suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
        process.wait(NOTICE_SECONDS)
        return True
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
