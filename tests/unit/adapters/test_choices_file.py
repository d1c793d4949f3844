"""The file with the forms' suggestions: whole or not there, and whatever it contains, a Dag file can be parsed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from include.adapters.choices_file import MAX_BYTES, choices_file, read_choices, write_choices
from include.core.choices import Choices


def test_parts_are_replaced_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "choices"
    write_choices(folder, "rides", {"versions": ("2", "1")})
    write_choices(folder, "rides", {"builds": ("a-1",)})
    write_choices(folder, "rides", {"versions": ("3", "2", "1")})
    assert read_choices(folder, "rides") == Choices(versions=("3", "2", "1"), builds=("a-1",))
    assert read_choices(folder, "fares") == Choices()


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    write_choices(tmp_path, "rides", {"versions": ("1",)})
    written = choices_file(tmp_path, "rides").stat().st_ino
    write_choices(tmp_path, "rides", {"versions": ("1",)})
    assert choices_file(tmp_path, "rides").stat().st_ino == written


def test_stages_that_write_at_once_lose_no_part(tmp_path: Path) -> None:
    def renew(part: str) -> None:
        for number in range(20):
            write_choices(tmp_path, "rides", {part: (str(number),)})  # type: ignore[dict-item]

    threads = [threading.Thread(target=renew, args=(part,)) for part in ("versions", "builds", "windows")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_choices(tmp_path, "rides") == Choices(versions=("19",), builds=("19",), windows=("19",))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"versions": 3}', b"[" * 100_000, b'{"a": "' + b"x" * MAX_BYTES + b'"}'],
    ids=lambda content: content[:12],
)
def test_a_damaged_file_suggests_nothing_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    choices_file(tmp_path, "rides").write_bytes(content)
    assert read_choices(tmp_path, "rides") == Choices()
    write_choices(tmp_path, "rides", {"versions": ("1",)})
    assert json.loads(choices_file(tmp_path, "rides").read_text())["versions"] == ["1"]


def test_what_is_no_regular_file_suggests_nothing(tmp_path: Path) -> None:
    choices_file(tmp_path, "rides").mkdir()
    choices_file(tmp_path, "fares").symlink_to("/dev/zero")
    assert read_choices(tmp_path, "rides") == read_choices(tmp_path, "fares") == Choices()
