"""Questions to people, their answers, and what an answer lets a run do. A missing answer is never a pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from include.core.health.incident_events import IncidentEvent
from include.core.json_types import Signal
from include.core.plain_text import one_line
from include.core.release.checks import RolloutCheck
from include.core.spec import Question
from include.core.verdict import Verdict

APPROVAL = "approval"
"""The stage of a rollout whose verdict is a person's answer."""
APPROVE = "Approve"
"""The option of Airflow's approvals that approves."""
CHANGED = "the evidence has changed since people saw it"
"""Why a cleared task does not ask again: Airflow would show the evidence of the first time."""
REMARK, REMARK_CHARACTERS = "remark", 300
"""The field in which a person may say why."""


@dataclass(frozen=True)
class Answer:
    """What a person answered, or that nobody did."""

    approved: bool
    user: str = ""
    """Id of the Airflow user; empty: nobody answered in time."""
    name: str = ""
    remark: str = ""

    @classmethod
    def of(cls, event: Mapping[str, object]) -> Answer:
        """The answer in the event with which Airflow resumes a task; an approval that nobody gave is none."""
        user, given = event.get("responded_by_user"), event.get("params_input")
        if event.get("timedout") or not isinstance(user, Mapping) or not user.get("id"):
            return cls(False)
        ident, name = str(user["id"]), one_line(str(user.get("name") or user["id"]), 100)
        remark = given.get(REMARK) if isinstance(given, Mapping) else None
        return cls(
            event.get("chosen_options") == [APPROVE], ident, name, one_line(str(remark or ""), REMARK_CHARACTERS)
        )

    @property
    def given(self) -> bool:
        """Whether somebody answered."""
        return bool(self.user)


@dataclass(frozen=True)
class Asked:
    """A question as people see it in Airflow's web UI."""

    subject: str
    body: str
    """Markdown."""

    @property
    def fingerprint(self) -> str:
        """Tells whether two questions show the same."""
        return sha256(f"{self.subject}\n{self.body}".encode()).hexdigest()

    def differs_from(self, shown: str) -> bool:
        """Whether people saw another question before; ``shown`` is its fingerprint, empty if they saw none."""
        return shown not in ("", self.fingerprint)


@dataclass(frozen=True)
class Waiting:
    """A question that nobody has answered yet."""

    model: str
    dag: str
    """The Dag whose run waits."""
    run: str
    task: str
    subject: str
    """What waits, such as ``version 3``."""
    until: float
    """The end of the time to answer, epoch seconds."""


def waiting_releases(model: str, checks: Sequence[RolloutCheck], now: float) -> list[Waiting]:
    """The open ones of a model's questions whether to deploy a version (``now``: epoch seconds)."""
    return [
        Waiting(model, f"{model}.deployment", one.run, "approve_release", f"version {one.version}", answered_until(one))
        for one in checks
        if waits(one, now)
    ]


def waiting_trainings(model: str, events: Sequence[IncidentEvent], question: Question, now: float) -> list[Waiting]:
    """The open questions whether to retrain; of each incident the newest event of asking and answering counts."""
    newest = {one.incident: one for one in events if one.kind != "acknowledged"}
    open_until = {one: one.recorded + question.hours * 3600 for one in newest.values() if one.kind == "asked"}
    dag, task = f"{model}.retraining", "approve_retraining"
    return [
        Waiting(model, dag, one.run, task, f"training for incident {one.incident}", until)
        for one, until in open_until.items()
        if now < until
    ]


def is_allowed(approvers: Collection[str], user: str) -> bool:
    """Whether the user's answer counts; an empty list names everyone."""
    return bool(user) and (not approvers or user in approvers)


def judge_answer(answer: Answer, question: Question, signals: Mapping[str, Signal]) -> Verdict:
    """The verdict of an answer: a pass only if somebody approved who may. ``signals`` are the question's.

    The signal ``by`` is set if the answer is that of somebody who may give it.
    """
    if not answer.given:
        return Verdict("fail", f"nobody answered within {question.hours:g} h", signals)
    if not is_allowed(question.approvers, answer.user):
        listed = ", ".join(question.approvers)
        return Verdict("fail", f"answered by {answer.name}, who is not among the approvers ({listed})", signals)
    verb = "approved" if answer.approved else "rejected"
    reason = f"{verb} by {answer.name}" + (f": {answer.remark}" if answer.remark else "")
    return Verdict("pass" if answer.approved else "fail", reason, {**signals, "by": answer.user})


def newest_approval(checks: Sequence[RolloutCheck], run: str) -> RolloutCheck | None:
    """The run's question and its answer, if it asked one."""
    return next((one for one in checks if one.run == run and one.stage == APPROVAL), None)


def is_approval(check: RolloutCheck) -> bool:
    """Whether the check is a question with its answer, the present one or an earlier one of its run."""
    return check.stage.partition(",")[0] == APPROVAL


def earlier_answer(checks: Sequence[RolloutCheck], run: str) -> RolloutCheck | None:
    """What a person answered in this run, to keep it under a stage of its own when the question is asked again."""
    answered = newest_approval(checks, run)
    if answered is None or not answered.verdict.signals.get("by"):
        return None
    number = sum(is_approval(one) for one in checks if one.run == run)
    return replace(answered, stage=f"{APPROVAL}, answer {number}")


def was_rejected(check: RolloutCheck | None) -> bool:
    """Whether a person rejected the version; False for a missing answer."""
    return bool(check and check.verdict.answer == "fail" and check.verdict.signals.get("by"))


def waits(check: RolloutCheck, now: float) -> bool:
    """Whether the check is a question that can still be answered."""
    return check.stage == APPROVAL and check.verdict.answer == "hold" and now < answered_until(check)


def answered_until(check: RolloutCheck) -> float:
    """The end of the time to answer the question of a check, epoch seconds."""
    return check.recorded + hours_of(check) * 3600


def hours_of(check: RolloutCheck) -> float:
    """The time to answer the question of a check, as it was asked; 0 if it is not an open question."""
    hours = check.verdict.signals.get("hours")
    return float(hours) if isinstance(hours, int | float) else 0.0


def why_not_approved(check: RolloutCheck | None, approvers: Collection[str], version: str, champion: str | None) -> str:
    """Why a run's approval does not let the version into production; empty if it does.

    ``champion``: the version in production now. An approval was given for the evidence, which compared the version with
    the one that was in production then.
    """
    if check is None:
        return "nobody was asked for approval in this run"
    if check.version != version:
        return f"the approval of this run is about version {check.version}"
    if not check.verdict.passed:
        return check.verdict.reason
    if not is_allowed(approvers, str(check.verdict.signals.get("by") or "")):
        return f"{check.verdict.reason}, who is not among the approvers any more"
    before = check.verdict.signals.get("champion")
    if before != champion:
        return (
            f"production changed from {in_production(before)} to {in_production(champion)} while the answer was awaited"
        )
    return ""


def in_production(version: object) -> str:
    """What serves, in words."""
    return f"version {version}" if version else "nothing"
