"""No process of a job outlives it, and none can get at its guards. Each job runs for real."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from include.adapters.engines.process import confinement
from include.core.errors import PlatformError
from tests.support.needs import missing
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from tests.unit.adapters.engines.process.attacks import attack, needs_table, signals_scoped

pytestmark = [pytest.mark.integration, needs_table]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def left_behind(mark: str) -> list[int]:
    """Processes whose command line or environment has the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARK") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


SURVIVORS = """
import signal, time

def forked_twice_in_a_session_of_its_own():
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)

def child_that_lives_only_until_it_has_a_child():
    while os.fork() == 0:
        os.setsid()

def child_of_which_nobody_gets_a_signal():
    for flags in (0, 0x8000):  # the second one is a child of the parent's parent
        if call("clone", flags, 0, 0, 0, 0) == 0:
            time.sleep(600)

def deaf_subreaper():
    libc.prctl(36, 1, 0, 0, 0)
    for number in (1, 2, 15):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)

for survivor in (forked_twice_in_a_session_of_its_own, child_that_lives_only_until_it_has_a_child,
                 child_of_which_nobody_gets_a_signal, deaf_subreaper):
    for _ in range(5):
        if os.fork() == 0:
            survivor()
            os._exit(0)
open("out/guard", "w").write(str(os.getppid()))
time.sleep({seconds})
"""


@signals_scoped
@pytest.mark.parametrize("end", ["by itself", "time", "guard killed", "outer guard killed", "both asked to end"])
def test_no_process_of_a_job_outlives_it(tmp_path: Path, end: str) -> None:
    """Whichever way it was forked, and whatever ends first."""
    out, file = tmp_path / "out", tmp_path / "out" / "guard"
    out.mkdir()

    def end_the_guards() -> None:
        wait_for(lambda: file.exists() and file.read_text(), 15, "the processes of the job")
        guard = psutil.Process(int(file.read_text()))
        outer = guard.parent()
        assert outer is not None
        for one in {"guard killed": [guard], "outer guard killed": [outer]}.get(end, []):
            one.kill()
        for one in {"both asked to end": [outer, guard]}.get(end, []):
            one.terminate()

    code = SURVIVORS.replace("{seconds}", "0" if end == "by itself" else "600")
    policy = {"writable": [out], "time_limit": 2.0 if end == "time" else 60.0, "env": {"MARK": tmp_path.name}}
    if end in ("by itself", "time"):
        assert attack(code, tmp_path, **policy).limit == ("time" if end == "time" else None)
    else:
        killer = threading.Thread(target=end_the_guards)
        killer.start()
        with pytest.raises(PlatformError, match="was aborted"):
            attack(code, tmp_path, **policy)
        killer.join()
    assert left_behind(tmp_path.name) == []


def test_without_scoped_signals_children_are_stopped_first_then_killed(tmp_path: Path) -> None:
    """The way of older kernels; the guard's own function, in a process of its own."""
    project = Path(confinement.__file__).parents[4]
    code = f"""
import os, sys, time
sys.path.insert(0, {str(project)!r})
from include.adapters.engines.process import confinement_guard as guard
guard.call_prctl(guard.PR_SET_CHILD_SUBREAPER, 1)
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork() == 0:
                time.sleep(600)
            time.sleep(0.01)
time.sleep(0.5)
guard.end_tree(scoped=False)
print("left:", guard.has_children())
"""
    environment = {**os.environ, "MARK": tmp_path.name}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "left: False\n", done.stderr
    assert left_behind(tmp_path.name) == []


def test_the_guard_can_not_be_limited_slowed_stopped_or_killed(tmp_path: Path) -> None:
    code = """
    import signal, struct
    one = ctypes.create_string_buffer(struct.pack("QQ", 1, 1))
    guard = os.getppid()
    show("prlimit64", guard, 0, one, None)
    show("setpriority", 0, guard, 19)
    show("sched_setaffinity", guard, 8, struct.pack("Q", 1))
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGCONT):
        try:
            os.kill(guard, number)
            print("killed")
        except PermissionError:
            print("refused")
    """
    output = attack(code, tmp_path).output_tail.splitlines()
    assert output[:3] == ["prlimit64 EPERM", "setpriority EPERM", "sched_setaffinity EPERM"]
    if not missing("landlock_signals"):
        assert output[3:] == ["refused"] * 4


@signals_scoped
def test_no_way_of_sending_a_signal_reaches_a_process_outside(tmp_path: Path) -> None:
    """Also not through a descriptor whose owner gets a signal when there is something to read."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as victim:
        code = f"""
        import fcntl, signal, socket
        victim, stop = {victim.pid}, signal.SIGSTOP
        def owned():
            here, there = socket.socketpair()
            fcntl.fcntl(here, fcntl.F_SETOWN, victim)
            fcntl.fcntl(here, 10, int(stop))  # F_SETSIG
            fcntl.fcntl(here, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            there.send(b"x")
            raise PermissionError  # nobody says whether the signal arrived
        queued = lambda: libc.syscall(129 if platform.machine() == "x86_64" else 138, victim, int(stop), bytes(128))
        thread = lambda: libc.syscall(234 if platform.machine() == "x86_64" else 131, victim, victim, int(stop))
        for way in (
            lambda: os.kill(victim, stop),
            lambda: os.killpg(victim, stop),
            lambda: signal.pidfd_send_signal(os.pidfd_open(victim), stop),
            owned,
        ):
            try:
                way()
                print("sent")
            except PermissionError:
                print("refused")
        print(queued(), thread())
        """
        output = attack(code, tmp_path).output_tail
        status = psutil.Process(victim.pid).status()
        victim.kill()
    assert output.splitlines() == [*["refused"] * 4, "-1 -1"]
    assert status != psutil.STATUS_STOPPED


def test_a_server_starts_threads_and_no_process(tmp_path: Path) -> None:
    """Its memory limit is one of each process, and nobody counts its processes."""
    code = """
    import os, subprocess, sys, threading
    def program(): subprocess.run(["/bin/true"])
    def spawned(): os.posix_spawn("/bin/true", ["true"], {})
    for start in (os.fork, program, spawned):
        try:
            print(start.__name__, start())
        except OSError as error:
            print(type(error).__name__)
    thread = threading.Thread(target=print, args=["a thread"])
    thread.start()
    thread.join()
    """
    command = confinement.confined_command(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path, readable=[], writable=[], scratch=tmp_path / "scratch", memory_mb=512,
        listen=("127.0.0.1", free_port()),
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["PermissionError"] * 3 + ["a thread", ""], done.stderr
