"""The prediction log holds whole lines, and a line that was torn never has another behind it."""

import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.runtime.prediction_log import PredictionLog, new_request_id

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    log = PredictionLog(tmp_path / "log", "3-7")
    yield log
    log.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes os.write take only so many bytes at a time, and fail after so many in all."""
    write = os.write

    def set_up(at_once: int, room: int | None = None) -> None:
        left = [room]

        def take(descriptor: Any, content: Any) -> Any:
            piece = bytes(content[:at_once])
            if left[0] is not None:
                if not left[0]:
                    raise FULL
                piece = piece[: left[0]]
                left[0] -= len(piece)
            return write(descriptor, piece)

        monkeypatch.setattr(os, "write", take)

    return set_up


def segments(log: Any) -> Any:
    return [path.read_bytes() for path in sorted(log.folder.glob("*.jsonl"))]


def numbers(content: Any) -> Any:
    return [json.loads(line)["n"] for line in content.splitlines()]


def test_each_entry_is_a_whole_line_the_moment_it_is_appended(log: Any) -> None:
    for n in range(3):
        log.append({"n": n, "text": "two\nlines"})
        (content,) = segments(log)
        assert content.endswith(b"\n")
        assert numbers(content) == list(range(n + 1))


def test_a_segment_is_named_for_its_version_and_process_and_is_not_for_others_to_read(log: Any) -> None:
    (path,) = log.folder.iterdir()
    assert path.name.startswith("3-7-") and path.name.endswith(f"-{os.getpid()}.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_segment_begins_when_one_is_full_and_never_within_a_line(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "3-7", segment_bytes=15)
    for n in range(5):
        log.append({"n": n})
    log.close()
    assert [numbers(content) for content in segments(log)] == [[0, 1], [2, 3], [4]]


def test_a_disk_that_takes_a_line_in_pieces_still_gets_all_of_it(log: Any, disk: Any) -> None:
    disk(at_once=3)
    log.append({"n": 1})
    log.append({"n": 2})
    assert [numbers(content) for content in segments(log)] == [[1, 2]]


def test_a_torn_line_is_an_error_and_the_next_entry_begins_a_new_file(log: Any, disk: Any) -> None:
    log.append({"n": 1})
    disk(at_once=100, room=4)
    with pytest.raises(OSError, match="No space left"):
        log.append({"n": 2})
    disk(at_once=100)
    log.append({"n": 3})
    torn, new = segments(log)
    assert torn == b'{"n":1}\n{"n"'
    assert numbers(new) == [3]


def test_nothing_is_appended_to_a_torn_line_while_no_new_file_can_be_made(
    log: Any, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(at_once=100, room=4)
    with pytest.raises(OSError, match="No space left"):
        log.append({"n": 1})
    disk(at_once=100)
    with monkeypatch.context() as patch:

        def refuse(*_: Any) -> None:
            raise FULL

        patch.setattr(os, "open", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                log.append({"n": 2})
    log.append({"n": 3})
    torn, new = segments(log)
    assert (torn, numbers(new)) == (b'{"n"', [3])


def test_an_entry_of_which_nothing_was_written_leaves_the_file_in_use(log: Any, disk: Any) -> None:
    disk(at_once=100, room=0)
    with pytest.raises(OSError, match="No space left"):
        log.append({"n": 1})
    disk(at_once=100)
    log.append({"n": 2})
    assert [numbers(content) for content in segments(log)] == [[2]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [None, float("nan")], {"x": ["null", float("inf")]}])
def test_what_is_not_json_is_never_written(log: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append({"n": value, "m": None})
    assert segments(log) == [b""]


@pytest.mark.parametrize("value", [None, [None, "null", 1.5], {"null": ["null", None], "x": [None, None]}])
def test_missing_values_are_written_as_null_also_beside_a_text_that_says_so(log: Any, value: Any) -> None:
    log.append({"n": value})
    assert numbers(segments(log)[0]) == [value]


def test_all_files_are_brought_to_the_disk_also_those_that_were_full_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def opened() -> int:
        return sum(path.resolve().parent == tmp_path for path in Path("/proc/self/fd").iterdir())

    monkeypatch.setattr(os, "fdatasync", sync)
    log = PredictionLog(tmp_path, "3-7", segment_bytes=1, durable=True)
    for n in range(3):
        log.append({"n": n})
    log.sync()
    assert sorted(synced) == sorted(path.stat().st_ino for path in tmp_path.glob("*.jsonl"))
    assert (len(synced), opened()) == (3, 1)
    log.sync()
    assert len(synced) == 4, "only the current file"
    log.close()
    assert opened() == 0


def test_the_lines_of_threads_never_mix(log: Any, disk: Any) -> None:
    disk(at_once=7)
    start = threading.Barrier(4)

    def append(name: Any) -> None:
        start.wait()
        for n in range(200):
            log.append({"n": [name, n]})

    threads = [threading.Thread(target=append, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (content,) = segments(log)
    assert sorted(numbers(content)) == [[name, n] for name in range(4) for n in range(200)]


def test_an_id_is_a_uuid_of_version_7_and_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_request_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all((uuid.UUID(one).version, uuid.UUID(one).variant) == (7, uuid.RFC_4122) for one in ids)
    assert before <= int(ids[0][:12], 16) <= int(ids[-1][:12], 16) <= time.time_ns() // 1_000_000
