"""With degradation.mode: ask, an incident is asked about in one run, and starts a training only when approved."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.approval import Answer, Asked
from include.core.errors import GateError
from include.core.health.record import Incident
from include.core.verdict import Verdict
from include.settings import Settings
from include.stages.installation import Installation, open_installation
from include.stages.retraining import (
    acknowledge,
    answer_for_training,
    ask_for_training,
    open_incident,
    require_training_approval,
)
from tests.support.specs import model_spec

ASKS = model_spec(degradation={"drop": 0.05, "mode": "ask", "question": {"hours": 2, "approvers": ["ann"]}})
INCIDENT = Incident("late-2013-05", "2013-05", Verdict("fail", "roc_auc is beyond the drop", {"version": "2"}))
YES, NO, NOBODY = Answer(True, "ann", "Ann", "go"), Answer(False, "ann", "Ann", "holidays"), Answer(False)


@pytest.fixture
def here(tmp_path: Any) -> Installation:
    return open_installation(Settings(home=tmp_path))


def ask(here: Installation, run: str = "run", shown: str = "") -> Asked | str:
    return ask_for_training(here, ASKS, INCIDENT, run, "https://airflow.example", shown)


def answer(here: Installation, given: Answer, run: str = "run") -> Verdict:
    return answer_for_training(here, ASKS, INCIDENT.key, run, given)


def said(here: Installation) -> list[str]:
    return [event.sentence for event in here.store.incident_events("late", INCIDENT.key)]


def test_without_the_mode_nothing_is_needed(here: Installation) -> None:
    require_training_approval(here, model_spec(), INCIDENT.key)


def test_asking_opens_the_incident_so_that_later_windows_cool_down(here: Installation) -> None:
    asked = ask(here)
    assert isinstance(asked, Asked)
    assert "[Incident](https://airflow.example/evergreen/ui/models/late/incidents/late-2013-05)" in asked.body
    assert [incident.key for incident in here.store.incidents("late")] == [INCIDENT.key]
    with pytest.raises(GateError, match="nobody has answered yet"):
        require_training_approval(here, ASKS, INCIDENT.key)


def test_an_approval_starts_the_training_and_is_kept(here: Installation) -> None:
    ask(here)
    assert answer(here, YES).passed
    require_training_approval(here, ASKS, INCIDENT.key)
    assert said(here) == ["asked: roc_auc is beyond the drop", "approved by Ann: go"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (NO, "rejected by Ann: holidays"),
        (NOBODY, "unanswered: nobody answered within 2 h"),
        (Answer(True, "eve", "Eve"), "unanswered: answered by Eve, who is not among the approvers (ann)"),
    ],
)
def test_any_other_answer_starts_none_and_is_kept(here: Installation, given: Answer, kept: str) -> None:
    ask(here)
    assert answer(here, given).answer == "fail"
    assert said(here)[-1] == kept
    with pytest.raises(GateError, match=r"starts no training without an approval .*late.training by hand"):
        require_training_approval(here, ASKS, INCIDENT.key)


def test_only_the_run_that_opened_the_incident_asks(here: Installation) -> None:
    ask(here)
    assert ask(here, "second") == "incident late-2013-05 is open already, and its question was asked in run run"
    answer(here, YES)
    assert isinstance(ask(here, "second"), str)
    require_training_approval(here, ASKS, INCIDENT.key)


def test_an_incident_of_before_is_not_asked_about(here: Installation) -> None:
    open_incident(here, model_spec(), INCIDENT)
    assert ask(here) == "incident late-2013-05 is open already, and its training was started without a question"


def test_asking_again_closes_the_gate_until_there_is_an_answer(here: Installation) -> None:
    asked = ask(here)
    assert isinstance(asked, Asked)
    answer(here, YES)
    assert ask(here, shown=asked.fingerprint) == asked
    with pytest.raises(GateError, match="nobody has answered yet"):
        require_training_approval(here, ASKS, INCIDENT.key)
    answer(here, NO)
    with pytest.raises(GateError, match="rejected by Ann: holidays"):
        require_training_approval(here, ASKS, INCIDENT.key)


def test_evidence_that_has_changed_is_not_asked_about_under_the_old_text(here: Installation) -> None:
    ask(here)
    answer(here, YES)
    with pytest.raises(GateError, match="evidence has changed"):
        ask(here, shown="another")
    with pytest.raises(GateError, match="unanswered: the evidence has changed"):
        require_training_approval(here, ASKS, INCIDENT.key)


@pytest.mark.parametrize("first", [None, YES])
def test_an_answer_to_no_open_question_is_refused(here: Installation, first: Answer | None) -> None:
    if first:
        ask(here)
        answer(here, first)
    with pytest.raises(GateError, match="no open question"):
        answer(here, YES)
    ask(here)
    with pytest.raises(GateError, match="no open question"):
        answer(here, YES, "another run")


def test_an_acknowledgement_is_no_answer(here: Installation) -> None:
    assert acknowledge(here, ASKS, INCIDENT.key, "Bob", "") is False, "there is no such incident"
    ask(here)
    for _ in range(2):
        assert acknowledge(here, ASKS, INCIDENT.key, "Bob", " looking\ninto it ") is True
    assert said(here)[1:] == ["acknowledged by Bob: looking into it"]
    assert answer(here, YES).passed
