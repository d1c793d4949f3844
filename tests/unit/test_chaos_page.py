"""The page of faults: what failed is marked, and faults that were played again replace their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.page import write_page
from tests.chaos.runner import Outcome


def test_a_fault_that_is_played_again_replaces_its_row_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "faults.md"
    good, bad = (Outcome(fault, 3.0, 10, 0, 0, 0) for fault in FAULTS[:2])
    write_page([good, replace(bad, lost=1)], whole=True, file=file)
    text = file.read_text(encoding="utf-8")
    assert "1 of 2 passed" in text
    assert f"| {bad.fault.name} (failed) |" in text
    write_page([replace(bad, seconds=7.0)], whole=False, file=file)
    text = file.read_text(encoding="utf-8")
    assert "2 of 2 passed" in text and "(failed)" not in text
    assert text.splitlines()[-2:] == [good.row(), replace(bad, seconds=7.0).row()]
    write_page([good], whole=True, file=file)
    assert bad.fault.name not in file.read_text(encoding="utf-8")
