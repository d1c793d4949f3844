"""What people were asked and answered about incidents is kept in order, whoever writes at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from include.adapters.store import Store
from include.core.approval import APPROVAL
from include.core.health.incident_events import IncidentEvent
from include.core.health.record import Incident
from include.core.release.checks import RolloutCheck
from include.core.verdict import Verdict

FIRST, SECOND = (Incident(f"m-2013-0{month}", f"2013-0{month}", Verdict("fail", "worse")) for month in (4, 5))
ASKED = IncidentEvent(FIRST.key, "asked", text="worse", run="run")


@pytest.fixture
def store(store_url: str) -> Store:
    return Store(store_url)


def test_events_are_numbered_within_their_incident(store: Store) -> None:
    assert store.record_incident("m", FIRST, ASKED) is True
    answered = IncidentEvent(FIRST.key, "rejected", "Ann", "not\u2028now", "run")
    store.record_event("m", answered)
    store.record_event("m", IncidentEvent(SECOND.key, "acknowledged", "Bob"))
    store.record_event("other", IncidentEvent(FIRST.key, "acknowledged", "Bob"))
    first, second = store.incident_events("m", FIRST.key)
    assert (first, second) == (ASKED, answered)
    assert (first.number, second.number) == (1, 2)
    assert first.recorded == pytest.approx(time.time(), abs=60)
    assert [(one.incident, one.number) for one in store.incident_events("m")] == [
        (FIRST.key, 1), (FIRST.key, 2), (SECOND.key, 1),
    ]  # fmt: skip


def test_an_incident_that_is_open_already_is_not_asked_about(store: Store) -> None:
    assert store.record_incident("m", FIRST) is True
    assert store.record_incident("m", FIRST, ASKED) is False
    assert store.incident_events("m") == []


def test_of_runs_that_open_an_incident_at_once_one_asks(store: Store) -> None:
    store.create_tables()
    with ThreadPoolExecutor(8) as pool:
        runs = [f"run-{number}" for number in range(8)]
        opened = list(
            pool.map(lambda run: store.record_incident("m", FIRST, IncidentEvent(FIRST.key, "asked", run=run)), runs)
        )
    (asked,) = store.incident_events("m")
    assert [run for run, first in zip(runs, opened, strict=True) if first] == [asked.run]


def test_events_of_the_same_moment_are_all_kept(store: Store) -> None:
    store.create_tables()
    with ThreadPoolExecutor(8) as pool:
        events = [IncidentEvent(FIRST.key, "acknowledged", f"person {number}") for number in range(16)]
        list(pool.map(lambda event: store.record_event("m", event), events))
    found = store.incident_events("m", FIRST.key)
    assert [one.number for one in found] == list(range(1, 17))
    assert {one.author for one in found} == {event.author for event in events}


def test_lists_read_the_events_of_the_newest_incidents_and_the_open_approvals(store: Store) -> None:
    for model in ("m", "n"):
        for incident in (FIRST, SECOND):
            store.record_incident(model, incident, IncidentEvent(incident.key, "asked", run=f"{model} run"))
    store.record_event("n", IncidentEvent(SECOND.key, "acknowledged", "Ann"))
    newest = store.newest_incident_events()
    assert {model: [one.sentence for one in events] for model, events in newest.items()} == {
        "m": ["asked"], "n": ["asked", "acknowledged by Ann"],
    }  # fmt: skip
    assert all(one.incident == SECOND.key for events in newest.values() for one in events)
    answers = {"a": "hold", "b": "pass", "c": "fail", "d": "hold"}
    for run, answer in answers.items():
        check = RolloutCheck(run, APPROVAL, "3", Verdict(answer, f'as in "answer": "{answer}"'))  # type: ignore[arg-type]
        store.record_check("m", check)
    store.record_check("m", RolloutCheck("e", "replay", "3", Verdict("hold", "few requests")))
    found = store.open_approvals()
    assert {model: [one.run for one in checks] for model, checks in found.items()} == {"m": ["a", "d"]}
