"""The line that a finished run gets as its note: what came of it, on one line, whatever its tasks returned."""

from typing import Any

import pytest

from evergreen.run_notes import MARK, MOST_CHARACTERS, NOTE_CHARACTERS, merged, run_note

PASSED = {"answer": "pass", "reason": "fine"}
CHECKED = {("check_out", "return_value"): {"commit": "c" * 40, "author": "Ada"}}
REPORTS = {(task, "report"): PASSED for task in ("lint", "test", "check_contract")}
CASES: dict[str, tuple[str, str, dict[Any, Any], list[str], str]] = {
    "a build": (
        "late.ci", "success", {**CHECKED, **REPORTS, ("record_build", "return_value"): {"build_id": "c-1"}}, [],
        "commit cccccccccccc by Ada: pass, build c-1",
    ),
    "a build as before": (
        "late.ci", "success", {**CHECKED, **REPORTS}, [], "commit cccccccccccc by Ada: pass, as before",
    ),
    "a failed check": (
        "late.ci", "failed", {**CHECKED, **REPORTS, ("test", "report"): {"answer": "fail", "reason": "1 failed"}},
        ["record_build"], "commit cccccccccccc by Ada: fail, test: 1 failed; failed at record_build",
    ),
    "no commit": ("late.ci", "failed", {}, ["check_out"], "no result; failed at check_out"),
    "a version": (
        "late.training", "success",
        {
            ("register_candidate", "return_value"): {"version": "4"},
            ("compare_with_champion", "return_value"): {"answer": "fail", "reason": "not better"},
        },
        [], "version 4: fail, not better",
    ),
    "invalid data": (
        "late.training", "failed", {}, ["validate_snapshot"], "no version registered; failed at validate_snapshot",
    ),
    "a release": (
        "late.deployment", "success",
        {("choose_release", "version"): "4", ("settle", "return_value"): {"champion": "4", "revision": 9}},
        [], "version 4 is in production (revision 9)",
    ),
    "a failed canary": (
        "late.deployment", "failed", {("choose_release", "version"): "4"}, ["watch_canary", "settle"],
        "version 4 did not reach production; failed at watch_canary, settle",
    ),
    "a rejected version": (
        "late.deployment", "success",
        {
            ("choose_release", "version"): "4", ("settle", "return_value"): {"champion": "3", "revision": 9},
            ("approve_release", "verdict"): {"answer": "fail", "reason": "rejected by Ann: too risky"},
        },
        [], "version 4 was not deployed: rejected by Ann: too risky",
    ),
    "a version that nobody approved": (
        "late.deployment", "failed",
        {
            ("choose_release", "version"): "4",
            ("approve_release", "verdict"): {"answer": "fail", "reason": "nobody answered within 24 h"},
        },
        ["approve_release", "settle"],
        "version 4 was not deployed: nobody answered within 24 h; failed at approve_release, settle",
    ),
    "a retraining that somebody rejected": (
        "late.retraining", "success",
        {
            ("degraded_health", "return_value"): {"incident": "late-2013-05", "reason": "worse"},
            ("approve_retraining", "verdict"): {"answer": "fail", "reason": "rejected by Ann"},
        },
        [], "fail, no training for incident late-2013-05, rejected by Ann: worse",
    ),
    "a rollback": (
        "late.deployment", "success", {("roll_back", "return_value"): {"champion": "3", "revision": 8}}, [],
        "rolled back to version 3 (revision 8)",
    ),
    "windows": (
        "late.monitoring", "success",
        {
            ("measure_health", "return_value"): ["2013-04", "2013-05"],
            ("publish_health", "return_value"): {"window": "2013-05", "status": "complete"},
        },
        [], "window 2013-05 is complete, and 1 earlier windows again",
    ),
    "an incident": (
        "late.retraining", "success",
        {("degraded_health", "return_value"): {"incident": "late-2013-05", "reason": "worse"}}, [],
        "fail, training for incident late-2013-05: worse",
    ),
    "healthy": (
        "late.retraining", "success", {("degraded_health", "verdict"): {"answer": "pass", "reason": "within"}}, [],
        "pass, within",
    ),
    "housekeeping": (
        "evergreen.housekeeping", "success", {("clean_up", "return_value"): {"bytes": 1_500_000}}, [], "1.5 MB freed",
    ),
    "timed out": ("late.training", "failed", {}, [], "no version registered; failed"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_run_ends_with_what_came_of_it(name: str) -> None:
    dag, state, results, failed, expected = CASES[name]
    assert run_note(dag, state, results, failed) == MARK + expected


@pytest.mark.parametrize("dag", ["example", "late.other", "evergreen"])
def test_other_dags_get_no_note(dag: str) -> None:
    assert run_note(dag, "success", {}, []) == ""


@pytest.mark.parametrize("value", [None, 1, "text", [], ["x"], {"version": None}, {"answer": ["x"]}, {}])
@pytest.mark.parametrize("stage", ["ci", "training", "deployment", "monitoring", "retraining"])
def test_whatever_tasks_returned_it_is_one_line(stage: str, value: Any) -> None:
    tasks = ("check_out", "register_candidate", "compare_with_champion", "settle", "publish_health", "degraded_health")
    results = {(task, key): value for task in tasks for key in ("return_value", "verdict", "report")}
    assert run_note(f"late.{stage}", "success", results, []).startswith(MARK)


def test_what_a_commit_says_is_shown_as_text_that_every_database_takes() -> None:
    author = "![x](http://evil) <img>\x00\n\ud800" + "y" * 2000
    note = run_note("late.ci", "success", {("check_out", "return_value"): {"commit": "c" * 40, "author": author}}, [])
    assert not set("[]<>`\n\x00\ud800") & set(note)
    assert len(note) <= len(MARK) + MOST_CHARACTERS
    note.encode()


@pytest.mark.parametrize(
    "existing, expected",
    [
        (None, f"{MARK}new"),
        ("", f"{MARK}new"),
        ("by hand", f"by hand\n{MARK}new"),
        (f"by hand\n{MARK}old", f"by hand\n{MARK}new"),
        (f"{MARK}old", f"{MARK}new"),
        (f"{MARK}new", None),
        ("x" * (NOTE_CHARACTERS - 5), None),
    ],
)
def test_what_a_person_wrote_stays_and_a_rerun_replaces_the_line(existing: Any, expected: Any) -> None:
    assert merged(existing, f"{MARK}new") == expected
