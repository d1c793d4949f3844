"""Running an attack by system calls inside a confined job."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from include.adapters.engines.process.confinement import Completed, run_confined
from include.adapters.engines.process.system_calls import ALWAYS_THERE, socket_calls

needs_table = pytest.mark.needs("system_calls")
signals_scoped = pytest.mark.needs("landlock_signals")

CALLS = """
import ctypes, errno, os, socket, sys, platform
NUMBERS = {numbers!r}
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    words = [a if isinstance(a, (bytes, ctypes.Array)) or a is None else ctypes.c_long(a) for a in arguments]
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    return got if got >= 0 else -ctypes.get_errno()

def show(name, *arguments):
    got = call(name, *arguments)
    print(name, errno.errorcode.get(-got, got) if got < 0 else got, flush=True)
"""


def attack(code: str, folder: Path, **policy: Any) -> Completed:
    """Run ``code`` confined; it may use ``call(name, …)``, which gives minus the error, and ``show``, which prints."""
    refused = (*ALWAYS_THERE, *socket_calls(bind=True, connect=True), *socket_calls(bind=False, connect=False))
    numbers = {call.name: getattr(call, os.uname().machine) for call in refused} | {"mseal": 462}
    settled: dict[str, Any] = {
        "readable": [],
        "writable": [],
        "scratch": folder.with_name(f"{folder.name}-scratch"),
        "log": None,
        "time_limit": 30.0,
        "memory_mb": 512,
    } | policy
    program = CALLS.format(numbers=numbers) + textwrap.dedent(code)
    return run_confined([sys.executable, "-c", program], cwd=folder, **settled)
