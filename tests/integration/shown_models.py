"""Three models in a store, as their pages show them: what went well, what was refused, and what means harm."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from include.adapters.store import Store
from include.core.approval import APPROVAL
from include.core.build import Build
from include.core.candidate import CandidateRecord
from include.core.drift.figures import DriftFigure, SideBySide
from include.core.health.incident_events import EventKind, IncidentEvent
from include.core.health.record import HealthRow, Incident
from include.core.quality.figures import QualityFigure
from include.core.release.checks import RolloutCheck
from include.core.release.release import Release
from include.core.release.rollout import Rollout
from include.core.release.traffic import Traffic
from include.core.verdict import Answer, Verdict
from tests.support.health_rows import health_row, with_drift
from tests.support.specs import columns, model_yaml

HOSTILE = "<script>document.title='got in'</script><img src=x onerror=\"document.title='got in'\">"
"""Text that takes over a page which shows it as it is."""
LONG = "a_very_long_name_of_a_column_that_somebody_generated_" * 3
TOO_SLOW = "p95 latency is 900 ms, above the limit of 60 ms"
MODELS = {
    "fares": model_yaml(
        name="fares",
        owner="pricing team",
        description="What a ride costs.",
        repository={"url": "https://forge.example/pricing/fares.git"},
        task="regression",
        target="fare",
        features=columns(miles="number", zone="category"),
        monitoring={"window": "week", "rows_at_least": 100},
        degradation={"drop": "20%"},
    ),
    "churn": model_yaml(name="churn", owner=f"growth {HOSTILE}", description=f"Who leaves. {HOSTILE}"),
    "fresh": model_yaml(name="fresh", description="Brought today."),
}
"""Model → its model.yaml. ``fares`` has lived for months, ``churn`` means harm, and ``fresh`` is new."""


def fill(store: Store) -> None:
    """Everything that happened to the models."""
    _fares(store)
    _churn(store)


def _fares(store: Store) -> None:
    for number, value in enumerate([10.2, 10.4, 10.1, 10.9, 12.6, 13.1, 10.3, 10.2]):
        store.record_health("fares", _week(10 + number, value, "1" if number < 6 else "2"))
    store.record_health("fares", replace(_week(18, math.nan, "2"), status="waiting", truth_problem="has not arrived"))
    verdict = Verdict("fail", "mae of version 1 is beyond the allowed drop of 20% in 2 of the newest 3 windows")
    store.record_incident("fares", Incident("fares-2013-W15", "2013-W15", verdict))
    store.record_build(Build("fares", "0123456789ab-e1", "0123456789ab" + "0" * 28, "e1", "passed", run_id="ci one"))
    store.record_traffic("fares", Traffic(time.time(), requests=41.6, rows=90.0))
    _candidate(store, "fares", "1", "pass", "first version", "build")
    _candidate(store, "fares", "2", "pass", "better by 2.1", "fares-2013-W15 is degraded", "fares-2013-W15")
    _candidate(store, "fares", "3", "fail", "not better: -0.2 (-0.5 to 0.1)", "by hand")
    _candidate(store, "fares", "4", "pass", "better by 0.4", "new build")
    now = _promoted(store, Release("fares", "production"), "1", "first")
    now = _promoted(store, now, "2", "second")
    rollout = Rollout("fourth/run", "4", lease=0.0)
    canary = store.swap_release(now, now.begin_canary("4", 10, rollout, "canary of 4 by fourth/run"))
    store.record_check(
        "fares", RolloutCheck("fourth/run", "test environment", "4", Verdict("pass", "golden predictions match"))
    )
    verdict = Verdict("fail", TOO_SLOW, {"requests": 140, "p95_seconds": 0.9, "champion_p95_seconds": 0.02})
    store.record_check("fares", RolloutCheck("fourth/run", "canary step 1", "4", verdict, 10))
    store.swap_release(canary, canary.abandon(f"rolled back by fourth/run: canary step 1: {TOO_SLOW}"))
    asked = Verdict("hold", "waits for an answer until 2099-01-01 00:00 UTC", {"champion": "2", "hours": 24})
    store.record_check("fares", RolloutCheck("fifth/run", APPROVAL, "3", asked))
    incident, run = "fares-2013-W15", "first ask"
    store.record_event("fares", IncidentEvent(incident, "asked", text="mae is beyond the drop", run=run))
    store.record_event("fares", IncidentEvent(incident, "approved", "Ann", "go", run))


def _churn(store: Store) -> None:
    build = Build("churn", "b", "f" * 40, "e", "failed", {"test": {"answer": "fail", "reason": HOSTILE}}, "ci")
    store.record_build(build)
    row = with_drift(
        health_row("2013-05", 0.9),
        {
            LONG: DriftFigure({"psi": 0.4}, new={HOSTILE: 3}, vanished=("x",), status="drifted"),
            "prediction": DriftFigure({"psi": 0.1}, distribution=SideBySide((HOSTILE, "b"), (0.5, 0.5), (0.9, 0.1))),
        },
        LONG,
        HOSTILE,
    )
    store.record_health("churn", replace(row, problem=HOSTILE))
    store.record_incident("churn", Incident("churn-2013-05", "2013-05", Verdict("fail", HOSTILE, {"why": HOSTILE})))
    _candidate(store, "churn", "1", "pass", HOSTILE, HOSTILE)
    nothing = Release("churn", "production")
    canary = nothing.begin_canary("1", 100, Rollout("one", "1", lease=0.0), HOSTILE)
    store.swap_release(store.swap_release(nothing, canary), canary.promote("1", HOSTILE))
    store.record_check("churn", RolloutCheck("one", "canary step 1", "1", Verdict("pass", HOSTILE), 100))
    store.record_check("churn", RolloutCheck("one", APPROVAL, "1", Verdict("pass", HOSTILE, {"by": HOSTILE})))
    kinds: tuple[EventKind, ...] = ("asked", "approved", "acknowledged")
    for kind in kinds:
        store.record_event("churn", IncidentEvent("churn-2013-05", kind, HOSTILE, HOSTILE, HOSTILE))


def _week(number: int, value: float, version: str) -> HealthRow:
    row = health_row(f"2013-W{number}", value, version=version, metric="mae")
    figure = QualityFigure(None if math.isnan(value) else value, value - 0.4, value + 0.4, 500)
    quality = {"mae": figure}
    row = replace(row, quality=quality, by_version={version: quality}, reference={"mae": 10.0}, grain="week")
    miles = DriftFigure({"psi": 0.05 * number}, limits={"psi": 0.8})
    return with_drift(row, {"miles": miles, "prediction": DriftFigure({"psi": 0.1})})


def _candidate(
    store: Store, model: str, version: str, answer: Answer, why: str, reason: str, incident: str = ""
) -> None:
    value = 10.0 - int(version) / 10
    store.record_candidate(
        model,
        CandidateRecord(
            version=version,
            verdict=Verdict(answer, why),
            commit="0123456789ab" + "0" * 28,
            build="0123456789ab-e1",
            snapshot="s" * 64,
            window="2013-W09",
            run_id=f"incident__{incident}" if incident else f"training {version}",
            reason=reason,
            incident=incident,
            metric="mae",
            value=value,
            low=value - 0.3,
            high=value + 0.3,
            importances={"miles": 0.75, HOSTILE: 0.25},
        ),
    )


def _promoted(store: Store, now: Release, version: str, run: str) -> Release:
    rollout = Rollout(run, version, lease=0.0)
    canary = store.swap_release(now, now.begin_canary(version, 10, rollout, f"canary of {version} by {run}"))
    verdict = Verdict("pass", "errors, latency and predictions are within their limits")
    store.record_check(now.model, RolloutCheck(run, "canary step 1", version, verdict, 10))
    return store.swap_release(canary, canary.promote(version, f"{version} promoted by {run}"))
