"""Files are there whole or not at all, and only those may read them who should."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.adapters.files import SHARED, write_atomically, write_private


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[Any]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Any) -> Any:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_its_owners_unless_it_is_shared(tmp_path: Path, umask: Any) -> None:
    write_atomically(tmp_path / "new" / "data", b"1")
    write_private(tmp_path / "secret", "2")
    write_atomically(tmp_path / "shared", b"3", SHARED)
    assert [mode_of(tmp_path / name) for name in ("new/data", "secret", "shared")] == [0o600, 0o600, 0o666 & ~umask]


def test_a_file_that_others_could_read_becomes_private_when_it_is_written_again(tmp_path: Path, umask: Any) -> None:
    (tmp_path / "secret").write_text("old")
    (tmp_path / "secret").chmod(0o644)
    write_private(tmp_path / "secret", "new")
    assert (mode_of(tmp_path / "secret"), (tmp_path / "secret").read_text()) == (0o600, "new")


def test_what_goes_wrong_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full(_descriptor: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
