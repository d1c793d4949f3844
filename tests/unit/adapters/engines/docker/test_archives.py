"""Archives for containers: the same going in for the same files, and nothing but plain files coming out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from include.adapters.engines.docker import archives as container_files
from include.adapters.engines.docker.archives import USER, archive, archived, take_new, take_out
from include.core.errors import TrainingError


def tar(*members: tuple[str, bytes | None, dict[str, Any]]) -> list[bytes]:
    """A tar as an engine sends it, in small chunks."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content, more in members:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
            entry.size = len(content or b"")
            for key, value in more.items():
                setattr(entry, key, value)
            made.addfile(entry, io.BytesIO(content or b""))
    whole = buffer.getvalue()
    return [whole[start : start + 700] for start in range(0, len(whole), 700)]


def test_times_and_owners_of_the_machine_are_not_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "code" / "__pycache__" / "a.pyc").touch()
    for name in ("b.py", "a.py"):
        (tmp_path / "code" / name).write_text(name)
    one = archived({"evergreen/code": tmp_path / "code", "x": b"1"})
    os.utime(tmp_path / "code" / "a.py", (1, 1))
    (tmp_path / "code" / "b.py").chmod(0o600)
    assert archived({"x": b"1", "evergreen/code": tmp_path / "code"}) == one
    with tarfile.open(fileobj=io.BytesIO(one)) as found:
        assert found.getnames() == ["evergreen", "evergreen/code", "evergreen/code/a.py", "evergreen/code/b.py", "x"]


def test_what_is_given_to_write_to_belongs_to_the_user_and_its_parents_do_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    buffer = io.BytesIO()
    archive({"a/out": tmp_path / "out"}, into=buffer, owner=USER)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as found:
        assert {member.name: member.uid for member in found} == {"a": 0, "a/out": USER}


def test_only_plain_files_of_the_folder_itself_come_out(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    link = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
    hard = {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}
    device = {"type": tarfile.CHRTYPE}
    members: list[tuple[str, bytes | None, dict[str, Any]]] = [
        ("out", None, {}),
        ("out/fine", b"fine" * 1000, {"mode": 0o4777}),
        ("out/folder", None, {}),
        ("out/folder/file", b"x", {}),
        ("out/link/file", b"x", {}),
        ("out/..", b"x", {}),
        ("out/../../escaped", b"x", {}),
        ("/out/absolute", b"fine", {}),
        ("out/link", b"", link),
        ("out/hard", b"", hard),
        ("out/device", b"", device),
    ]
    take_out(tar(*members), out, largest_bytes=10**6)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["deep/out/fine"]
    assert (out / "fine").read_bytes() == b"fine" * 1000
    assert not (out / "fine").stat().st_mode & 0o4000


def test_more_than_may_come_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="Write less"):
        take_out(tar(("out/a", b"x" * 600, {}), ("out/b", b"x" * 600, {})), tmp_path, largest_bytes=1000)
    monkeypatch.setattr(container_files, "MAX_ENTRIES", 20)
    with pytest.raises(TrainingError, match="20 files"):
        take_out(tar(*((f"out/{number}", None, {}) for number in range(21))), tmp_path, largest_bytes=1000)


def test_of_a_log_only_what_is_new_is_appended(tmp_path: Path) -> None:
    (tmp_path / "1-1-2.jsonl").write_bytes(b"one\n")
    segments = tar(
        ("log", None, {}),
        ("log/1-1-2.jsonl", b"one\ntwo\n", {}),
        ("log/2-1-3.jsonl", b"three\n", {}),
        ("log/other", b"x", {}),
    )
    take_new(segments, tmp_path)
    take_new(segments, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "1-1-2.jsonl": b"one\ntwo\n",
        "2-1-3.jsonl": b"three\n",
    }
