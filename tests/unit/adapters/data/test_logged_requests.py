"""The newest logged requests of a version, whatever else is in the log."""

import json
import os
from pathlib import Path
from typing import Any

from include.adapters.data.logged_requests import newest_requests


def line(number: float, version: str = "1", rows: int = 1) -> str:
    entry = {"version": version, "features": {"size": [number] * rows}, "predictions": [number] * rows}
    return json.dumps(entry) + "\n"


def segment(folder: Path, name: str, text: str, age: int) -> None:
    path = folder / f"{name}.jsonl"
    path.write_text(text, encoding="utf-8")
    os.utime(path, (1000 - age, 1000 - age))


def numbers(folder: Path, count: int, most_rows: int = 100) -> list[Any]:
    return [request.predictions[0] for request in newest_requests(folder, "1", count, most_rows)]


def test_the_newest_requests_come_first_across_segments(tmp_path: Path) -> None:
    segment(tmp_path, "b", line(1) + line(2) + line(3), age=20)
    segment(tmp_path, "a", line(4) + line(9, version="2") + line(5), age=10)
    assert numbers(tmp_path, 4) == [5, 4, 3, 2]
    assert numbers(tmp_path, 100) == [5, 4, 3, 2, 1]
    assert numbers(tmp_path, 1) == [5]


def test_lines_that_are_no_entries_are_left_out(tmp_path: Path) -> None:
    wrong = [
        "[]",
        "null",
        '{"version": "1"}',
        '{"version": "1", "features": [], "predictions": [1]}',
        '{"version": "1", "features": {"size": 7}, "predictions": [1]}',
        '{"version": "1", "features": {"size": [1, 2]}, "predictions": [1]}',
        '{"version": "1", "features": {"size": [1]}, "predictions": ["high"]}',
        '{"version": "1", "feat',
    ]
    segment(tmp_path, "a", line(1) + "\n".join(wrong[:-1]) + "\n" + line(2) + wrong[-1], age=0)
    assert numbers(tmp_path, 10) == [2, 1]
    assert numbers(tmp_path / "nothing", 10) == []


def test_large_requests_are_few(tmp_path: Path) -> None:
    segment(tmp_path, "a", "".join(line(number, rows=40) for number in range(9)), age=0)
    found = newest_requests(tmp_path, "1", 9, 100)
    assert [request.predictions[0] for request in found] == [8, 7, 6]
    assert found[0].rows == [{"size": 8}] * 40
