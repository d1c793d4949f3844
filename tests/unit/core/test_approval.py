"""What a person's answer lets a run do: a missing, foreign or outdated answer opens nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from include.core.approval import (
    APPROVAL,
    Answer,
    Asked,
    judge_answer,
    waiting_releases,
    waiting_trainings,
    was_rejected,
    why_not_approved,
)
from include.core.health.incident_events import IncidentEvent, acknowledgement, why_no_training
from include.core.release.checks import RolloutCheck
from include.core.spec import Approval, Question
from include.core.verdict import Verdict
from tests.support.specs import model_spec

ANN = {"id": "ann", "name": "Ann"}


def event(chosen: str = "Approve", user: Any = ANN, remark: object = None, **more: Any) -> dict[str, Any]:
    """What Airflow resumes a waiting task with."""
    return {"chosen_options": [chosen], "params_input": {"remark": remark}, "responded_by_user": user, **more}


def check(answer: Any = "pass", version: str = "3", by: str = "ann", **signals: Any) -> RolloutCheck:
    given = {"champion": "2", "by": by} | signals
    return RolloutCheck("run", APPROVAL, version, Verdict(answer, f"{answer} by Ann", given), recorded=1000.0)


def test_nobody_is_asked_unless_the_spec_says_so() -> None:
    spec = model_spec()
    assert spec.deployment.approval == Approval(required=False, hours=24, approvers=[])
    assert (spec.degradation.mode, spec.degradation.question) == ("retrain", Question(hours=24, approvers=[]))


@pytest.mark.parametrize(
    "wrong",
    [{"hours": 0}, {"hours": -1}, {"hours": 1e9}, {"approvers": ["ann", "ann"]}, {"approvers": [""]}, {"who": 1}],
)
def test_a_question_that_nobody_could_answer_is_an_error_of_the_spec(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model_spec(deployment={"approval": {"required": True, **wrong}})
    with pytest.raises(ValidationError):
        model_spec(degradation={"drop": 0.05, "mode": "ask", "question": wrong})


def test_an_answer_has_its_author_and_a_remark_of_one_line() -> None:
    assert Answer.of(event(remark=" fine\nby me ")) == Answer(True, "ann", "Ann", "fine by me")
    assert Answer.of(event("Reject", {"id": "7", "name": ""})) == Answer(False, "7", "7")
    assert len(Answer.of(event(remark="x" * 1000)).remark) == 300


@pytest.mark.parametrize(
    "missing",
    [
        event(user=None),
        event(timedout=True),
        event(user={"id": "", "name": "Ann"}),
        {},
        {"error": "timeout", "error_type": "timeout"},
    ],
)
def test_an_approval_without_a_person_is_none(missing: dict[str, Any]) -> None:
    answer = Answer.of(missing)
    assert (answer.given, answer.approved) == (False, False)
    verdict = judge_answer(answer, Question(hours=0.5), {})
    assert (verdict.answer, verdict.reason) == ("fail", "nobody answered within 0.5 h")


@pytest.mark.parametrize("chosen", [[], ["Reject"], ["Approve", "Reject"], ["approve"], "Approve", None])
def test_only_the_option_approve_approves(chosen: object) -> None:
    assert Answer.of({**event(), "chosen_options": chosen}).approved is False


def test_the_verdict_names_who_said_what() -> None:
    ask = Question()
    passed = judge_answer(Answer(True, "ann", "Ann", "looks good"), ask, {"champion": "2"})
    assert (passed.answer, passed.reason) == ("pass", "approved by Ann: looks good")
    assert passed.signals == {"champion": "2", "by": "ann"}
    rejected = judge_answer(Answer(False, "ann", "Ann"), ask, {})
    assert (rejected.answer, rejected.reason) == ("fail", "rejected by Ann")


@pytest.mark.parametrize("approved", [True, False])
def test_an_answer_of_somebody_who_may_not_answer_counts_as_none(approved: bool) -> None:
    verdict = judge_answer(Answer(approved, "eve", "Eve"), Question(approvers=["ann", "bob"]), {})
    assert (verdict.answer, verdict.signals) == ("fail", {})
    assert verdict.reason == "answered by Eve, who is not among the approvers (ann, bob)"
    assert was_rejected(RolloutCheck("run", APPROVAL, "3", verdict)) is False


def test_only_a_persons_rejection_is_one() -> None:
    assert was_rejected(check("fail")) is True
    assert was_rejected(check("fail", by="")) is False
    assert was_rejected(check("pass")) is False
    assert was_rejected(None) is False


@pytest.mark.parametrize(
    ("given", "approvers", "champion", "problem"),
    [
        (None, [], "2", "nobody was asked for approval in this run"),
        (check(version="4"), [], "2", "the approval of this run is about version 4"),
        (check("hold"), [], "2", "hold by Ann"),
        (check("fail"), [], "2", "fail by Ann"),
        (check(by=""), [], "2", "not among the approvers any more"),
        (check(), ["bob"], "2", "not among the approvers any more"),
        (check(), [], "4", "production changed from version 2 to version 4 while the answer was awaited"),
        (check(), [], None, "production changed from version 2 to nothing"),
        (check(champion=None), [], "1", "production changed from nothing to version 1"),
    ],
)
def test_whatever_is_not_an_approval_of_this_version_beside_this_champion_is_named(
    given: RolloutCheck | None, approvers: list[str], champion: str | None, problem: str
) -> None:
    assert problem in why_not_approved(given, approvers, "3", champion)


def test_an_approval_lets_its_version_pass() -> None:
    assert why_not_approved(check(), ["ann"], "3", "2") == ""
    assert why_not_approved(check(champion=None), [], "3", None) == ""


def test_what_waits_is_found_until_its_time_is_over() -> None:
    asked = check("hold", by="", hours=1)
    (waiting,) = waiting_releases("late", [check(), asked], 1000.0 + 3599)
    assert (waiting.dag, waiting.task, waiting.subject) == ("late.deployment", "approve_release", "version 3")
    assert waiting_releases("late", [asked], 1000.0 + 3600) == []
    events = [
        IncidentEvent("late-2013-04", "asked", run="one", recorded=1000.0),
        IncidentEvent("late-2013-04", "acknowledged", "Ann", recorded=1001.0),
        IncidentEvent("late-2013-05", "asked", run="two", recorded=1000.0),
        IncidentEvent("late-2013-05", "rejected", "Ann", recorded=1002.0),
    ]
    (training,) = waiting_trainings("late", events, Question(hours=1), 1100.0)
    assert (training.run, training.subject) == ("one", "training for incident late-2013-04")
    assert waiting_trainings("late", events, Question(hours=0.01), 1100.0) == []


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ([], "nobody was asked"),
        (["acknowledged"], "nobody was asked"),
        (["asked"], "nobody has answered yet"),
        (["asked", "rejected"], "rejected"),
        (["asked", "unanswered"], "unanswered"),
        (["asked", "approved", "asked"], "nobody has answered yet"),
        (["asked", "approved"], ""),
        (["asked", "rejected", "asked", "approved", "acknowledged"], ""),
    ],
)
def test_only_a_newest_answer_that_approves_starts_a_training(kinds: list[Any], problem: str) -> None:
    assert why_no_training([IncidentEvent("late-2013-05", kind) for kind in kinds]) == problem


def test_the_newest_acknowledgement_counts() -> None:
    events = [IncidentEvent("late-2013-05", "acknowledged", name) for name in ("Ann", "Bob")]
    found = acknowledgement([*events, IncidentEvent("late-2013-05", "asked")])
    assert found and found.sentence == "acknowledged by Bob"


def test_questions_that_show_the_same_have_the_same_fingerprint() -> None:
    first = Asked("Deploy?", "evidence")
    assert not first.differs_from("")
    assert not first.differs_from(Asked("Deploy?", "evidence").fingerprint)
    assert first.differs_from(Asked("Deploy?", "other evidence").fingerprint)
