"""The note of a finished Dag run: one line, from what its tasks returned. Pure; the listener reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MARK = "Evergreen: "
"""Begins the line, so that the listener knows its own."""
MOST_CHARACTERS = 300
NOTE_CHARACTERS = 1000
"""The size of the column in Airflow's database; a longer text makes PostgreSQL refuse the statement."""

Results = Mapping[tuple[str, str], Any]
"""Task and key → the value it pushed."""
CI_CHECKS = ("build_environment", "lint", "test", "check_contract")
NEEDED = ("return_value", "report", "version", "verdict", "author")
"""The keys of the values that notes are made of."""
_NOT_SHOWN = str.maketrans(dict.fromkeys("[]<>`", ""))
"""Notes are shown as Markdown, and authors and reasons come from commits: no links, images or HTML."""


def run_note(dag_id: str, state: str, results: Results, failed: Sequence[str]) -> str:
    """The line for a run of one of Evergreen's Dags; empty for other Dags.

    ``state`` is Airflow's, ``failed`` has the tasks that failed.
    """
    stage = "housekeeping" if dag_id == "evergreen.housekeeping" else dag_id.rpartition(".")[2]
    if stage not in _NOTES:
        return ""
    text = _NOTES[stage](results) or ("nothing to do" if state == "success" else "no result")
    if state != "success":
        text += f"; failed at {', '.join(failed)}" if failed else f"; {state}"
    return MARK + _one_line(text)


def merged(existing: str | None, line: str) -> str | None:
    """The note with the line as its last one, instead of the line of an earlier end of the run; None: unchanged.

    What a person wrote stays; if it leaves no room for the line, so does the whole note.
    """
    kept = [one for one in (existing or "").splitlines() if not one.startswith(MARK)]
    note = "\n".join([*kept, line])
    return None if note == existing or len(note) > NOTE_CHARACTERS else note


def _ci(results: Results) -> str:
    checked_out = _mapping(results.get(("check_out", "return_value")))
    if not checked_out:
        return ""
    author = f" by {checked_out['author']}" if checked_out.get("author") else ""
    reports = {task: _mapping(results.get((task, "report"))) for task in CI_CHECKS}
    refused = [f"{task}: {report.get('reason')}" for task, report in reports.items() if report.get("answer") == "fail"]
    build = _mapping(results.get(("record_build", "return_value"))).get("build_id")
    verdict = "fail, " + "; ".join(refused) if refused else f"pass, build {build}" if build else ""
    passed = all(reports[task].get("answer") == "pass" for task in CI_CHECKS[1:])
    verdict = verdict or ("pass, as before" if passed else "no verdict")
    return f"commit {str(checked_out.get('commit'))[:12]}{author}: {verdict}"


def _training(results: Results) -> str:
    registered = _mapping(results.get(("register_candidate", "return_value")))
    verdict = _mapping(results.get(("compare_with_champion", "return_value")))
    version = f"version {registered['version']}" if registered.get("version") else "no version registered"
    if not verdict:
        return version
    return f"{version}: {verdict.get('answer')}, {verdict.get('reason')}"


def _deployment(results: Results) -> str:
    rolled_back = _mapping(results.get(("roll_back", "return_value")))
    if rolled_back:
        return f"rolled back to version {rolled_back.get('champion')} (revision {rolled_back.get('revision')})"
    chosen = results.get(("choose_release", "version"))
    if not chosen:
        return "no version to deploy"
    settled = _mapping(results.get(("settle", "return_value")))
    promoted = settled or _mapping(results.get(("promote_release", "return_value")))
    if promoted.get("champion") == chosen:
        return f"version {chosen} is in production (revision {promoted.get('revision')})"
    approval = _answer(results, "approve_release")
    if approval.get("answer") == "fail":
        return f"version {chosen} was not deployed: {approval.get('reason')}"
    canary = _mapping(results.get(("watch_canary", "return_value")))
    why = f": {canary.get('reason')}" if canary.get("answer") == "fail" else ""
    return f"version {chosen} did not reach production{why}"


def _monitoring(results: Results) -> str:
    published = _mapping(results.get(("publish_health", "return_value")))
    windows = results.get(("measure_health", "return_value"))
    others = len(windows) - 1 if isinstance(windows, list) else 0
    if not published:
        return "no window measured"
    more = f", and {others} earlier windows again" if others > 0 else ""
    return f"window {published.get('window')} is {published.get('status')}{more}"


def _retraining(results: Results) -> str:
    degraded = _mapping(results.get(("degraded_health", "return_value")))
    if degraded:
        answer = _answer(results, "approve_retraining")
        training = "training" if answer.get("answer") != "fail" else "no training"
        said = f", {answer['reason']}" if answer.get("reason") else ""
        return f"fail, {training} for incident {degraded.get('incident')}{said}: {degraded.get('reason')}"
    verdict = _mapping(results.get(("degraded_health", "verdict")))
    return f"{verdict.get('answer')}, {verdict.get('reason')}" if verdict else ""


def _answer(results: Results, task: str) -> Mapping[str, Any]:
    """The verdict of a person's answer to a task's question."""
    return _mapping(results.get((task, "verdict")))


def _housekeeping(results: Results) -> str:
    summary = _mapping(results.get(("clean_up", "return_value")))
    return f"{summary['bytes'] / 1e6:.1f} MB freed" if "bytes" in summary else ""


_NOTES: Mapping[str, Callable[[Results], str]] = {
    "ci": _ci,
    "training": _training,
    "deployment": _deployment,
    "monitoring": _monitoring,
    "retraining": _retraining,
    "housekeeping": _housekeeping,
}
STAGES = tuple(_NOTES)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _one_line(text: str) -> str:
    """One line that every database takes: printable characters that have an encoding, and not too many."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    plain = " ".join(plain.translate(_NOT_SHOWN).split())
    return plain if len(plain) <= MOST_CHARACTERS else f"{plain[: MOST_CHARACTERS - 3]}..."
