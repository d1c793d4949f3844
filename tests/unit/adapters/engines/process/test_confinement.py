"""What a model team's code can't do. Each test runs a real process, confined."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.adapters.engines.process import confinement
from include.adapters.engines.process.confinement import (
    Completed,
    can_make_read_only,
    confined_command,
    isolation,
    run_confined,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

landlocked = pytest.mark.needs("landlock")
REFUSED = "PermissionError|Read-only file system"
"""Landlock's answer, and that of a read-only mount."""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where :func:`run` lets the homes of commands be made."""
    return scratch_beside(tmp_path)


def scratch_beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-scratch")


def run(code: str, folder: Path, **policy: Any) -> Completed:
    limits = {"time_limit": 30.0, "memory_mb": 512}
    settled = {"readable": [], "writable": [], "scratch": scratch_beside(folder), "log": None, **limits} | policy
    return run_confined([sys.executable, "-c", code], cwd=folder, **settled)


def test_output_exit_code_and_log_come_back(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    done = run("import sys; print('hello'); print('oh', file=sys.stderr); sys.exit(3)", tmp_path, log=log)
    assert (done.code, done.limit) == (3, None)
    assert done.output_tail == "hello\noh\n" == log.read_text()


def test_the_platforms_environment_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a-secret-key")
    done = run("import os; print(dict(os.environ))", tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert "a-secret-key" not in done.output_tail
    assert "AIRFLOW" not in done.output_tail
    assert "'OMP_NUM_THREADS': '1'" in done.output_tail


def test_files_move_and_are_linked_between_the_folders_that_may_be_written(tmp_path: Path) -> None:
    """Landlock refuses that unless each of its layers allows it by name; uv does it when its cache is empty."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "file").write_text("here")
    moving = "import os; os.rename('one/file', 'two/file'); os.link('two/file', 'one/again')"
    done = run(moving, tmp_path, writable=[tmp_path / "one", tmp_path / "two"], link_across=True)
    assert done.code == 0, done.output_tail
    assert (tmp_path / "one" / "again").read_text() == "here"


@landlocked
def test_a_file_outside_can_not_be_read_or_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    for code in (f"open({str(secret)!r}).read()", f"open({str(secret)!r}, 'w')", "open('/etc/shadow')"):
        done = run(code, tmp_path)
        assert done.code == 1 and re.search(REFUSED, done.output_tail), code
    assert secret.read_text() == "key"


@landlocked
def test_the_platforms_processes_can_not_be_looked_into_or_ended(tmp_path: Path) -> None:
    me = os.getpid()
    for code in (f"open('/proc/{me}/environ').read()", f"import os; os.kill({me}, 0)", f"open('/proc/{me}/mem')"):
        done = run(code, tmp_path)
        assert done.code == 1 and "PermissionError" in done.output_tail, code


@landlocked
def test_what_is_given_can_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "a").write_text("data")
    code = "open('out/b', 'w').write(open('in/a').read())"
    assert run(code, tmp_path, readable=[tmp_path / "in"], writable=[tmp_path / "out"]).code == 0
    assert (tmp_path / "out" / "b").read_text() == "data"
    refused = run("open('in/a', 'w')", tmp_path, readable=[tmp_path / "in"])
    assert re.search(REFUSED, refused.output_tail), "what is given to read must not be written"


@landlocked
def test_tcp_is_refused_unless_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('connected')"
        assert "PermissionError" in run(connect, tmp_path).output_tail
        assert "connected" in run(connect, tmp_path, connect=True).output_tail
    bind = f"import socket; socket.create_server(('127.0.0.1', {port})); print('bound')"
    assert "PermissionError" in run(bind, tmp_path).output_tail
    assert "bound" in run(bind, tmp_path, bind_ports=[port]).output_tail


@landlocked
@pytest.mark.parametrize("kind", ["AF_UNIX, socket.SOCK_STREAM", "AF_INET, socket.SOCK_DGRAM", "AF_INET, 1, 262"])
def test_ways_round_the_tcp_rules_are_closed(tmp_path: Path, kind: str) -> None:
    """A unix socket would reach supervisord; UDP and MPTCP would leave the machine."""
    done = run(f"import socket; socket.socket(socket.{kind})", tmp_path)
    assert done.code == 1
    assert "PermissionError" in done.output_tail


def test_what_libraries_need_still_works(tmp_path: Path) -> None:
    code = (
        "import socket, tempfile, multiprocessing, ssl, zoneinfo, os\n"
        "socket.socketpair(); tempfile.TemporaryFile(); multiprocessing.get_context('fork').Lock()\n"
        "ssl.create_default_context(); zoneinfo.ZoneInfo('Europe/Berlin'); os.path.expanduser('~')\n"
        "open(os.devnull, 'w').write('x'); open(os.path.expanduser('~/cache'), 'w'); print('fine', os.cpu_count())"
    )
    done = run(code, tmp_path)
    assert done.code == 0, done.output_tail


def test_too_much_memory_ends_it(tmp_path: Path) -> None:
    done = run("hog = []\nwhile True: hog.append(bytearray(10_000_000))", tmp_path, memory_mb=200)
    assert done.limit == "memory"
    assert done.code != 0


def test_memory_of_all_its_processes_together_counts(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        hog = bytearray(b'x') * 100_000_000\n"
        "        time.sleep(60)\n"
        "time.sleep(60)"
    )
    done = run(code, tmp_path, memory_mb=250)
    assert done.limit == "memory"


@pytest.mark.needs("landlock")
@pytest.mark.parametrize("memory_mb", [150, 400])
def test_shared_memory_counts_and_counts_once(tmp_path: Path, memory_mb: int) -> None:
    """Anonymous shared memory is in no file and no process's own memory. Four processes use the same 200 MB here."""
    code = (
        "import mmap, os, time\n"
        "hog = mmap.mmap(-1, 200_000_000)\n"
        "hog.write(bytes(200_000_000))\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        sum(hog[::4096])\n"
        "        time.sleep(1)\n"
        "        os._exit(0)\n"
        "time.sleep(1.5)"
    )
    done = run(code, tmp_path, memory_mb=memory_mb)
    assert done.limit == ("memory" if memory_mb == 150 else None), done.output_tail


@pytest.mark.parametrize(
    "write",
    [
        "for n in range(100): open(f'data/{n}', 'wb').write(megabyte)",
        "for n in range(100): open(os.path.expanduser(f'~/{n}'), 'wb').write(megabyte)",
        "f = []\nfor n in range(100): f.append(open('data/x', 'wb', 0)); f[-1].write(megabyte); os.unlink('data/x')",
        "os.chdir('data')\nfor n in range(250): os.mkdir('d'); os.chdir('d')\nopen('x', 'w').write('y')",
        "for n in range(100): os.write(1, megabyte)",
        "os.mkdir('data/a')\nfor n in range(100): open(f'data/a/{n}', 'wb').write(megabyte)\nos.chmod('data/a', 0)",
    ],
    ids=["files", "temporary files", "removed but open", "too deep to look", "output", "in a closed folder"],
)
def test_too_much_on_the_disk_ends_it(tmp_path: Path, write: str) -> None:
    """A job that fills the disk takes it from the predictions' log."""
    (tmp_path / "data").mkdir()
    code = f"import os, time\nmegabyte = b'x' * 2**20\n{write}\ntime.sleep(60)"
    done = run(code, tmp_path, writable=[tmp_path / "data"], disk_mb=64, log=tmp_path / "log")
    assert (done.limit, done.seconds < 20) == ("disk", True), done.output_tail[-300:]


def test_what_fits_on_the_disk_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code = (
        "import os, time\nopen('data/sparse', 'wb').truncate(2**30)\nos.symlink('/usr', 'data/link')\n"
        "for n in range(50): open('data/x', 'wb').write(b'x' * 2**20); os.makedirs(f'data/{n}/a'); time.sleep(0.03)"
    )
    done = run(code, tmp_path, writable=[tmp_path / "data"], disk_mb=64)
    assert (done.limit, done.code) == (None, 0), done.output_tail


@pytest.mark.parametrize(
    "start",
    [
        "if os.fork() == 0:\n  time.sleep(60)\n  os._exit(0)",
        "if os.fork() == 0:\n  if os.fork() == 0: time.sleep(60)\n  os._exit(0)",
        "threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    ],
    ids=["children", "orphans", "threads"],
)
def test_too_many_processes_or_threads_end_it(tmp_path: Path, start: str) -> None:
    code = f"import os, threading, time\nfor _ in range(60):\n {start.replace(chr(10), chr(10) + ' ')}\ntime.sleep(60)"
    done = run(code, tmp_path, processes=50)
    assert (done.limit, done.seconds < 20) == ("processes", True)
    done = run(code.replace("range(60)", "range(20)").replace("sleep(60)", "sleep(0.5)"), tmp_path, processes=50)
    assert (done.limit, done.code) == (None, 0)


def test_an_endless_loop_is_ended_with_all_its_children(tmp_path: Path) -> None:
    """Also a child that left the process group and was orphaned."""
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        open('out/pid', 'w').write(str(os.getpid()))\n"
        "        time.sleep(600)\n"
        "    os._exit(0)\n"
        "while True: pass"
    )
    done = run(code, tmp_path, writable=[out], time_limit=1.5)
    assert done.limit == "time"
    assert done.seconds < 10
    assert not psutil.pid_exists(int((out / "pid").read_text()))


def test_an_orphan_does_not_outlive_a_command_that_ended_well(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); open('out/pid', 'w').write(str(p.pid))"
    assert run(code, tmp_path, writable=[out]).code == 0
    assert not psutil.pid_exists(int((out / "pid").read_text()))


def test_scratch_is_removed(tmp_path: Path, scratch: Path) -> None:
    done = run("import os; open(os.path.expanduser('~/left'), 'w'); print(os.environ['TMPDIR'])", tmp_path)
    assert not Path(done.output_tail.strip()).exists()
    assert list(scratch.iterdir()) == []


def test_when_the_platforms_process_is_killed_nothing_stays(tmp_path: Path, scratch: Path) -> None:
    """kill -9 of an Airflow task must not leave a training running."""
    out = tmp_path / "out"
    out.mkdir()
    inner = (
        "import subprocess, time; p = subprocess.Popen(['sleep', '600'])\n"
        "open('out/pid', 'w').write(str(p.pid)); time.sleep(600)"
    )
    outer = (
        "import sys; from pathlib import Path; from include.adapters.engines.process.confinement import run_confined\n"
        f"run_confined([sys.executable, '-c', {inner!r}], cwd=Path({str(tmp_path)!r}), readable=[], "
        f"writable=[Path({str(out)!r})], scratch=Path({str(scratch)!r}), log=None, time_limit=600, memory_mb=512)"
    )
    project = Path(confinement.__file__).parents[4]
    task = subprocess.Popen([sys.executable, "-c", outer], env={**os.environ, "PYTHONPATH": str(project)})
    try:
        wait_for(lambda: (out / "pid").exists() and (out / "pid").read_text() != "", 10, "the grandchild")
    finally:
        task.send_signal(signal.SIGKILL)
        task.wait()
    pid = int((out / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid), 10, "the end of the grandchild of the killed task")
    wait_for(lambda: list(scratch.iterdir()) == [], 10, "the scratch folder to be empty")


def test_a_supervised_server_keeps_its_process_id_and_gets_signals(tmp_path: Path, scratch: Path) -> None:
    code = (
        "import os, signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(7))\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    command = confined_command(
        [sys.executable, "-c", code], cwd=tmp_path, readable=[], writable=[], scratch=scratch, memory_mb=512
    )
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert int(server.stdout.readline()) == server.pid
    server.terminate()
    assert server.wait(10) == 7
    server.stdout.close()


def test_a_command_that_is_not_there_says_so(tmp_path: Path, scratch: Path) -> None:
    done = run_confined(
        ["/no/such/python"],
        cwd=tmp_path,
        readable=[],
        writable=[],
        scratch=scratch,
        log=None,
        time_limit=5,
        memory_mb=256,
    )
    assert done.code == 127
    assert "can't be started" in done.output_tail


def test_without_landlock_it_runs_and_the_record_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for cached in (isolation, can_make_read_only):
        cached.cache_clear()
    try:
        assert (isolation(), can_make_read_only()) == ("environment", False)
    finally:
        for cached in (isolation, can_make_read_only):
            cached.cache_clear()
