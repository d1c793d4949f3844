"""What a job leaves in its folder: only plain files come out, whatever else a hostile job puts there."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from include.adapters.engines.job_output import job_folder, take_files
from include.adapters.engines.process.confinement import run_confined
from include.adapters.engines.process.confinement_guard import remove_tree
from include.core.errors import TrainingError

SECRET = "key of the platform"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_text(SECRET)
    return folder


@pytest.fixture
def left(tmp_path: Path) -> Path:
    folder = tmp_path / "left"
    folder.mkdir()
    return folder


def read_only_by(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_plain_files_are_copied_and_nothing_else(tmp_path: Path, left: Path) -> None:
    for name in ("a.json", "b.parquet", "unexpected"):
        (left / name).write_text(name)
    (left / "a.json").chmod(0o4777)
    take_files(left, ["a.json", "b.parquet"], tmp_path / "into")
    assert read_only_by(tmp_path / "into") == {"a.json": b"a.json", "b.parquet": b"b.parquet"}
    assert not (tmp_path / "into" / "a.json").stat().st_mode & 0o7000
    assert (tmp_path / "into" / "a.json").stat().st_ino != (left / "a.json").stat().st_ino, "the job may hold it open"


def put_a_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/{path.name}")  # the whole path may be too long for a socket
        os.close(here)


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "a symbolic link": lambda path, secrets: path.symlink_to(secrets / "token"),
    "a symbolic link that leads nowhere": lambda path, secrets: path.symlink_to(secrets / "nothing"),
    "a symbolic link to a folder": lambda path, secrets: path.symlink_to(secrets),
    "a symbolic link to itself": lambda path, secrets: path.symlink_to(path),
    "a symbolic link to standard input": lambda path, secrets: path.symlink_to("/proc/self/fd/0"),
    "a hard link": lambda path, secrets: path.hardlink_to(secrets / "token"),
    "a folder": lambda path, secrets: path.mkdir(),
    "a named pipe": lambda path, secrets: os.mkfifo(path),
    "a socket": put_a_socket,
    "nothing": lambda path, secrets: None,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_a_plain_file_is_refused_by_name(tmp_path: Path, left: Path, secrets: Path, kind: Any) -> None:
    HOSTILE[kind](left / "score.json", secrets)
    into = tmp_path / "into"
    words = "a symbolic link" if kind.startswith("a symbolic link") else kind
    with pytest.raises(TrainingError, match=f"left 'score.json' as {words}.*Only regular files"):
        take_files(left, ["score.json"], into)
    assert list(into.iterdir()) == []
    assert (secrets / "token").read_text() == SECRET


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_may_be_missing_is_a_plain_file_if_it_is_there(
    tmp_path: Path, left: Path, secrets: Path, kind: Any
) -> None:
    into = tmp_path / "into"
    HOSTILE[kind](left / "model.onnx", secrets)
    if kind == "nothing":
        take_files(left, [], into, optional=["model.onnx"])
        return
    with pytest.raises(TrainingError, match=r"left 'model\.onnx' as .*Only regular files"):
        take_files(left, [], into, optional=["model.onnx"])
    assert list(into.iterdir()) == []


@pytest.mark.needs("root")  # only root makes devices, and a job never can
def test_a_device_is_refused_by_name(tmp_path: Path, left: Path) -> None:
    os.mknod(left / "score.json", 0o20600, os.makedev(1, 5))
    with pytest.raises(TrainingError, match="left 'score.json' as a device"):
        take_files(left, ["score.json"], tmp_path / "into")


def test_more_than_may_be_taken_is_refused_also_with_holes_and_in_several_files(tmp_path: Path, left: Path) -> None:
    os.truncate(os.open(left / "sparse", os.O_CREAT | os.O_WRONLY, 0o600), 100 * 2**30)
    with pytest.raises(TrainingError, match="'sparse' with 107374182400 bytes.*Write less"):
        take_files(left, ["sparse"], tmp_path / "into")
    for name in ("a", "b"):
        (left / name).write_bytes(bytes(600))
    with pytest.raises(TrainingError, match="'b' with 600 bytes; at most 400 are"):
        take_files(left, ["a", "b"], tmp_path / "into", largest_bytes=1000)


def test_a_folder_that_is_swapped_for_a_link_is_not_entered(tmp_path: Path, left: Path, secrets: Path) -> None:
    left.rmdir()
    left.symlink_to(secrets)
    with pytest.raises(NotADirectoryError):
        take_files(left, ["token"], tmp_path / "into")


@pytest.mark.parametrize("name", ["../secrets/token", "inner/token", "/etc/passwd", "..", "."])
def test_a_name_with_a_path_is_the_platforms_own_mistake(tmp_path: Path, left: Path, secrets: Path, name: str) -> None:
    """Nested names could lead through a link; none is ever asked for."""
    (left / "inner").symlink_to(secrets)
    with pytest.raises(ValueError, match="is not the name of a file"):
        take_files(left, [name], tmp_path / "into")


def test_what_stood_in_the_platforms_folder_is_replaced_and_links_there_are_not_followed(
    tmp_path: Path, left: Path, secrets: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "a").symlink_to(secrets / "token")
    (left / "a").write_text("new")
    take_files(left, ["a"], into)
    assert (into / "a").read_text() == "new"
    assert (secrets / "token").read_text() == SECRET


def test_whatever_is_left_is_removed_and_what_it_points_to_stays(tmp_path: Path, secrets: Path) -> None:
    """Deeper than Python recurses, without permissions, with links out; as root and as anybody."""
    code = """
import os
os.chdir("left")
os.symlink({secrets!r}, "link"); os.symlink({token!r}, "file"); os.mkfifo("pipe")
for number in range(1200):
    os.mkdir("deep"); os.chdir("deep")
open("bottom", "w").close()
os.chdir(os.environ["START"] + "/left")
os.makedirs("closed/in"); open("closed/file", "w").close()
os.chmod("closed/in", 0); os.chmod("closed", 0)
for number in range(500):
    os.makedirs(f"wide/{{number}}"); open(f"wide/{{number}}/x", "w").close()
os.chmod(".", 0)
""".format(secrets=str(secrets), token=str(secrets / "token"))
    with job_folder(tmp_path / "left") as folder:
        done = run_confined(
            [sys.executable, "-c", code],
            cwd=tmp_path, readable=[], writable=[folder], scratch=tmp_path / "scratch", log=None,
            time_limit=60, memory_mb=512,
            env={"START": str(tmp_path)},
        )  # fmt: skip
        assert done.code == 0, done.output_tail
    assert not folder.exists()
    assert read_only_by(secrets) == {"token": SECRET.encode()}


def test_a_jobs_deep_home_is_removed_too(tmp_path: Path, home: Path) -> None:
    code = "import os; os.chdir(os.environ['HOME'])\nfor _ in range(1200): os.mkdir('d'); os.chdir('d')"
    done = run_confined(
        [sys.executable, "-c", code],
        cwd=tmp_path, readable=[], writable=[], scratch=tmp_path / "scratch", log=None, time_limit=60, memory_mb=512,
    )  # fmt: skip
    assert done.code == 0, done.output_tail
    assert list((tmp_path / "scratch").iterdir()) == []


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path, secrets: Path) -> None:
    (tmp_path / "link").symlink_to(secrets)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "link")  # harmless when nothing is there
    assert not os.path.lexists(tmp_path / "link")
    assert read_only_by(secrets) == {"token": SECRET.encode()}


def test_the_folder_is_empty_at_first_and_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "of an earlier try").touch()
    job = ExitStack()
    folder = job.enter_context(job_folder(tmp_path / "left"))
    assert list(folder.iterdir()) == []
    job.close()
    assert not folder.exists()
