"""What people have been asked is on the pages of its model, rollout and incident, and so are their answers."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from include.core.approval import APPROVAL
from include.core.health.incident_events import IncidentEvent
from include.core.health.record import Incident
from include.core.release.checks import RolloutCheck
from include.core.verdict import Verdict
from include.pages.models import Query, models_view, render_incident, render_model, render_models, render_rollout
from include.pages.place import Place
from include.settings import Settings
from include.stages.installation import Installation, open_installation
from include.stages.overview import model_detail, overviews
from tests.support.specs import model_spec

ASKS = model_spec(deployment={"approval": {"required": True}}, degradation={"drop": 0.05, "mode": "ask"})
PLACE = Place("/team")
INCIDENT = Incident("late-2013-05", "2013-05", Verdict("fail", "worse"))
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    made = open_installation(Settings(home=tmp_path))
    now = made.store.release("late", "production")
    made.store.swap_release(now, now.promote("2", "2 promoted by first"))
    return made


def answer(here: Installation, given: Any, reason: str, run: str = "run 1", **signals: Any) -> None:
    check = RolloutCheck(run, APPROVAL, "3", Verdict(given, reason, {"champion": "2", **signals}))
    here.store.record_check("late", check)


def text(page: str | None) -> str:
    """What a person reads."""
    assert page is not None
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.partition("<main")[2])).split())


def listed(here: Installation, words: str = "") -> str:
    return render_models(PLACE, models_view(overviews(here, [ASKS]), Query(words), [], {}))


def incident_page(here: Installation, *, allowed: bool = True) -> str | None:
    return render_incident(PLACE, model_detail(here, ASKS), INCIDENT.key, allowed=allowed)


def rollout_sentence(here: Installation) -> str:
    page = render_rollout(PLACE, model_detail(here, ASKS), "run 1")
    found = re.search(r'class="outcome"><b>(.*?)</b>', page or "")
    return unescape(found.group(1)) if found else ""


REQUIRED = '"/team/dags/late.{0}/runs/run%201/tasks/approve_{1}/required_actions" data-airflow'


def test_a_version_that_waits_is_linked_to_where_people_answer(here: Installation) -> None:
    answer(here, "hold", "waits for an answer until tomorrow", hours=24)
    link = REQUIRED.format("deployment", "release")
    page = render_model(PLACE, model_detail(here, ASKS), allowed=True, paused=False)
    rollout = render_rollout(PLACE, model_detail(here, ASKS), "run 1") or ""
    for shown in (page, rollout, listed(here)):
        assert link in shown
    assert "version 3 waits for approval" in text(listed(here))
    assert "version 3 waits for approval" in text(listed(here, "waits for approval")), "it can be searched for"
    assert "Waits for approval : version 3, until 20" in text(page)
    assert rollout_sentence(here) == "Version 3 waits for an answer until tomorrow."


@pytest.mark.parametrize(
    ("given", "reason", "sentence"),
    [
        ("pass", "approved by Ann", "Version 3 was approved by Ann; its canary has not begun."),
        ("fail", "rejected by Ann: no", "Version 3 was not deployed: rejected by Ann: no."),
        ("hold", "waits for an answer until yesterday", "Version 3 was not approved in time."),
    ],
)
def test_what_was_answered_or_is_overdue_waits_no_more(
    here: Installation, given: str, reason: str, sentence: str
) -> None:
    answer(here, given, reason, hours=0)
    assert rollout_sentence(here) == sentence
    assert "required_actions" not in listed(here)
    page = text(render_model(PLACE, model_detail(here, ASKS), allowed=True, paused=False))
    assert f"{given} : {reason}" in page.partition("Approvals")[2], "answers are kept"
    assert f"{given} : {reason}" in text(render_rollout(PLACE, model_detail(here, ASKS), "run 1"))


def test_an_earlier_answer_is_shown_and_does_not_decide(here: Installation) -> None:
    for stage, given, reason in (
        ("approval, answer 1", "fail", "rejected by Bob"),
        (APPROVAL, "pass", "approved by Ann"),
    ):
        check = RolloutCheck("run 1", stage, "3", Verdict(given, reason, {"by": "x"}))  # type: ignore[arg-type]
        here.store.record_check("late", check)
    assert rollout_sentence(here) == "Version 3 was approved by Ann; its canary has not begun."
    page = text(render_model(PLACE, model_detail(here, ASKS), allowed=True, paused=False))
    assert "rejected by Bob" in page and "approved by Ann" in page


def test_the_limits_of_the_question_are_among_those_of_the_rollout(here: Installation) -> None:
    answer(here, "pass", "approved by Ann")
    shown = text(render_rollout(PLACE, model_detail(here, ASKS), "run 1")).partition("Thresholds")[2]
    assert "deployment.approval.required True" in shown and "deployment.approval.hours 24" in shown
    assert "deployment.approval required=" not in shown


def event(here: Installation, kind: Any, author: str = "", said: str = "") -> None:
    run = "" if kind == "acknowledged" else "run 1"
    here.store.record_event("late", IncidentEvent(INCIDENT.key, kind, author, said, run))


def test_an_incident_shows_what_people_said(here: Installation) -> None:
    here.store.record_incident("late", INCIDENT)
    assert "Nobody was asked" in text(incident_page(here))
    event(here, "asked", said="worse")
    page = incident_page(here) or ""
    assert "Its training waits for approval" in text(page)
    assert "No training . Its training" not in text(page)
    assert REQUIRED.format("retraining", "retraining") in page
    assert "training for incident late-2013-05 waits for approval" in text(listed(here))
    event(here, "rejected", "Ann", "holidays")
    assert "No training: rejected by Ann: holidays." in text(incident_page(here))
    assert "incident__late-2013-05" not in (incident_page(here) or ""), "there is no such run"
    assert "required_actions" not in (incident_page(here) or "") + listed(here)
    event(here, "asked")
    event(here, "approved", "Ann")
    assert "incident__late-2013-05" in (incident_page(here) or "")


def test_an_acknowledgement_is_in_the_list_and_its_form_only_for_those_who_may(here: Installation) -> None:
    here.store.record_incident("late", INCIDENT)
    assert "acknowledged" not in text(listed(here))
    event(here, "acknowledged", "Ann", "on it")
    assert "late-2013-05 acknowledged by Ann" in text(listed(here))
    form = 'action="/team/evergreen/ui/models/late/incidents/late-2013-05/acknowledge"'
    assert form in (incident_page(here) or "")
    assert form not in (incident_page(here, allowed=False) or "")
    assert "acknowledged Ann on it" in text(incident_page(here))


def test_hostile_answers_stay_text(here: Installation) -> None:
    here.store.record_incident("late", INCIDENT)
    answer(here, "fail", f"rejected by {HOSTILE}", by=HOSTILE)
    for kind in ("asked", "rejected", "acknowledged"):
        event(here, kind, HOSTILE, HOSTILE)
    detail = model_detail(here, ASKS)
    model = render_model(PLACE, detail, allowed=True, paused=False)
    for page in (model, incident_page(here), render_rollout(PLACE, detail, "run 1"), listed(here)):
        assert page and HOSTILE not in page
        assert "&lt;script&gt;" in page


def test_a_list_of_many_models_costs_as_many_queries_as_one_of_one(here: Installation) -> None:
    specs = [ASKS.model_copy(update={"name": f"model-{number}"}) for number in range(20)]
    for spec in specs:
        here.store.record_incident(spec.name, INCIDENT, IncidentEvent(INCIDENT.key, "asked", run="run 1"))
    queries: list[str] = []

    def count(*arguments: Any) -> None:
        queries.append(arguments[2])

    sa.event.listen(here.store.engine, "before_cursor_execute", count)
    found = overviews(here, specs)
    sa.event.remove(here.store.engine, "before_cursor_execute", count)
    assert len(queries) == 7
    assert all(len(one.waiting) == 1 for one in found)
