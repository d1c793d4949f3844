"""What model code must not see, change or take away: environments, files of others, and the prediction log."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from include.adapters.engines.process.confinement import confined_command
from include.settings import PROJECT
from tests.unit.adapters.engines.process.attacks import attack, needs_table


def test_the_environment_of_a_job_is_in_no_command_line(tmp_path: Path) -> None:
    """Everyone on the machine may read command lines, and uv gets passwords of package indexes in its environment."""
    code = """
    import glob
    lines = []
    for file in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            lines.append(open(file).read())
        except OSError:
            pass
    guards = [line for line in lines if "confinement_launcher" in line]
    print(len(guards) >= 2, any("hunter" + "2" in line for line in lines), os.environ["UV_INDEX_OWN_PASSWORD"])
    print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1])
    """
    done = attack(code, tmp_path, env={"UV_INDEX_OWN_PASSWORD": "hunter2"})
    assert done.output_tail == "True False hunter2\n[0, 1, 2]\n"


LOG_ATTACKS = {
    "read": "open(there).read()",
    "list": "os.listdir(log)",
    "shorten": "open(there, 'w')",
    "shorten by a call": "os.truncate(there, 0)",
    "remove": "os.unlink(there)",
    "rename": "os.rename(there, there + '.old')",
    "replace": "os.replace(new('x.jsonl'), there)",
    "link from elsewhere": "os.link('/etc/passwd', os.path.join(log, 'again.jsonl'))",
    "symbolic link": "os.symlink('/etc/passwd', os.path.join(log, 'link.jsonl'))",
    "pipe": "os.mkfifo(os.path.join(log, 'pipe.jsonl'))",
    "folder": "os.mkdir(os.path.join(log, 'folder.jsonl'))",
    "device": "os.mknod(os.path.join(log, 'device.jsonl'), 0o020600, os.makedev(1, 5))",
    "remove the folder": "os.rmdir(log)",
    "move the folder": "os.rename(log, log + '.old')",
}


@pytest.mark.needs("landlock")
def test_a_server_adds_to_the_prediction_log_and_can_not_take_anything_from_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (log / "earlier.jsonl").write_text("logged\n")
    code = f"""
    import os, sys
    sys.path.append({str(PROJECT / "include")!r})
    from runtime.prediction_log import PredictionLog
    log = {str(log)!r}
    there = os.path.join(log, "earlier.jsonl")
    def new(name):
        path = os.path.join(log, name)
        open(path, "x").close()
        return path
    writer = PredictionLog(__import__("pathlib").Path(log), "server", segment_bytes=1)
    for number in range(3):
        writer.append({{"request": number}})
    for name, attempt in {LOG_ATTACKS!r}.items():
        try:
            eval(attempt)
        except OSError:
            pass
        else:
            print(name, "worked")
    print("over")
    """
    command = confined_command(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path, readable=[PROJECT / "include"], writable=[], appendable=[log],
        scratch=tmp_path / "scratch", memory_mb=512,
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("over\n", 0), done.stderr
    assert (log / "earlier.jsonl").read_text() == "logged\n"
    written = sorted(log.glob("server-*.jsonl"))
    assert [path.read_text() for path in written] == [f'{{"request":{number}}}\n' for number in range(3)]
    assert {path.name for path in log.iterdir()} - {path.name for path in written} == {"earlier.jsonl", "x.jsonl"}


CHANGES = {
    "mode": "os.chmod(path, 0o777)",
    "mode by a descriptor": "os.fchmod(os.open(path, os.O_RDONLY), 0o777)",
    "mode by a path without rights": "os.chmod(f'/proc/self/fd/{os.open(path, os.O_PATH)}', 0o777)",
    "mode of the folder": "os.chmod(os.path.dirname(path), 0o777)",
    "times": "os.utime(path, (1, 1))",
    "times by a descriptor": "os.utime(os.open(path, os.O_RDONLY), (1, 1))",
    "attributes": "os.setxattr(path, 'user.x', b'1')",
    "attributes by a descriptor": "os.setxattr(os.open(path, os.O_RDONLY), 'user.x', b'1')",
    "owner": "os.chown(path, os.getuid(), os.getgid())",
    "content": "open(path, 'a')",
    "length": "os.truncate(path, 0)",
    "name": "os.rename(path, path + '.old')",
    "removed": "os.unlink(path)",
    "a new name": "os.link(path, 'mine/again')",
    "mode of a device": "os.chmod('/dev/null', 0o600)",
    "mode of the Python": "os.chmod(os.path.realpath(sys.executable), 0o700)",
    "mode of the system": "os.chmod('/usr/lib', 0o700)",
    "mounts removed": "mount('umount2', path, 2)",
    "mounts made": "mount('mount', b'/tmp', b'/tmp', None, 4096, None)",
    "mounts made writable": "mount('mount', b'none', b'/', None, 32 | 4096, None)",
    "another root": "os.chroot('mine')",
}


@pytest.mark.needs("read_only_mounts")
@pytest.mark.parametrize("given", ["readable", "out of reach"])
def test_nothing_about_a_file_of_others_can_be_changed(tmp_path: Path, given: str) -> None:
    """Landlock has no rules for modes, times and attributes: model code could open the platform's secrets to all."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir(mode=0o700)
    path = other / "file"
    path.write_text("kept")
    path.chmod(0o600)
    before = (path.stat(), other.stat(), os.listxattr(path))
    code = f"""
    path = {str(path)!r}
    def mount(name, *arguments):
        texts = [a.encode() if isinstance(a, str) else a for a in arguments]
        if getattr(libc, name)(*texts) != 0:
            raise OSError(ctypes.get_errno(), name)
    for name, change in {CHANGES!r}.items():
        try:
            eval(change)
        except OSError:
            pass
        else:
            print(name, "worked")
    open("mine/own", "w").close()
    os.chmod("mine/own", 0o640)
    os.utime("mine/own", (5, 5))
    os.rename("mine/own", "mine/done")
    print("over")
    """
    done = attack(code, tmp_path, readable=[path] if given == "readable" else [], writable=[mine])
    assert (done.output_tail, done.code) == ("over\n", 0)
    assert (path.stat(), other.stat(), os.listxattr(path), path.read_text()) == (*before, "kept")
    assert (mine / "done").stat().st_mode & 0o777 == 0o640
    assert (mine / "done").stat().st_mtime == 5


@pytest.mark.needs("read_only_mounts")
def test_shared_memory_is_the_jobs_own_bounded_and_gone_afterwards(tmp_path: Path) -> None:
    """/dev/shm was shared by all jobs and the platform, without a limit, and what a job left there stayed."""
    mark = Path("/dev/shm") / f"evergreen-{tmp_path.name}-{os.getpid()}"
    mark.write_text("of another")
    try:
        code = f"""
        print(os.listdir("/dev/shm"), os.path.exists({str(mark)!r}))
        import multiprocessing.shared_memory
        block = multiprocessing.shared_memory.SharedMemory(create=True, size=1000)
        multiprocessing.resource_tracker.unregister(block._name, "shared_memory")
        open({str(mark) + "-left"!r}, "w").close()
        try:
            with open("/dev/shm/large", "wb") as file:
                for _ in range(100):
                    file.write(bytes(1_000_000))
        except OSError as error:
            print(error.strerror)
        """
        done = attack(code, tmp_path, memory_mb=80)
        assert done.output_tail == "[] False\nNo space left on device\n"
        assert mark.read_text() == "of another"
        assert [path.name for path in mark.parent.glob(f"{mark.name}*")] == [mark.name]
    finally:
        mark.unlink()


@needs_table
def test_memory_that_no_limit_counts_can_not_be_had(tmp_path: Path) -> None:
    """Files in memory that are not mapped belong to no process."""
    done = attack('show("memfd_create", b"x", 0)\nshow("memfd_secret", 0)', tmp_path)
    assert done.output_tail == "memfd_create ENOSYS\nmemfd_secret ENOSYS\n"
