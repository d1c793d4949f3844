"""The store: compare-and-swap lets one writer win, and everything can be recorded twice."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from include.adapters.store import Store
from include.core.build import Build
from include.core.candidate import CandidateRecord
from include.core.errors import DeploymentConflictError, EvergreenError, UnreachableError
from include.core.health.record import Incident
from include.core.release.checks import RolloutCheck
from include.core.release.release import Release
from include.core.release.rollout import Rollout
from include.core.verdict import Verdict
from tests.support.database_servers import PASSWORD, QUOTED, PostgreSQL
from tests.support.health_rows import health_row
from tests.support.waiting import wait_for


@pytest.fixture
def store(store_url: str) -> Any:
    return Store(store_url)


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    """A store that can be damaged: PostgreSQL refuses text that is not JSON."""
    return Store(f"sqlite:///{tmp_path / 'evergreen.db'}")


def test_nothing_deployed_is_revision_zero(store: Any) -> None:
    assert store.release("m", "production") == Release("m", "production")


def test_of_many_writers_at_once_exactly_one_wins_and_the_others_say_why(store: Any) -> None:
    first = store.swap_release(Release("m", "production"), Release("m", "production", 1, {"1": 100}, champion="1"))
    outcomes: list[str | DeploymentConflictError] = []
    barrier = threading.Barrier(8)

    def deploy(number: int) -> None:
        rollout = Rollout(f"run-{number}", "2", lease=0.0)
        barrier.wait()
        try:
            store.swap_release(first, first.begin_canary("2", 10, rollout, f"canary of 2 by run-{number}"))
            outcomes.append(f"run-{number}")
        except DeploymentConflictError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=deploy, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
    losers = [str(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(winners) == 1
    assert len(losers) == 7
    assert all(winners[0] in loser and "deploy again" in loser for loser in losers)
    assert store.release("m", "production").rollout.run == winners[0]


def test_two_first_deployments_conflict_too(store: Any) -> None:
    nothing = Release("m", "production")
    store.swap_release(nothing, nothing.begin_canary("1", 10, Rollout("a", "1", lease=0.0), "a"))
    with pytest.raises(DeploymentConflictError):
        store.swap_release(nothing, nothing.begin_canary("2", 10, Rollout("b", "2", lease=0.0), "b"))


def test_each_revision_stays_in_the_history(store: Any) -> None:
    first = store.swap_release(Release("m", "production"), Release("m", "production", 1, {"1": 100}, champion="1"))
    store.swap_release(first, first.promote("2", "better"))
    assert [(each.release.revision, each.release.champion) for each in store.release_history("m")] == [
        (1, "1"),
        (2, "2"),
    ]


@pytest.mark.parametrize(
    "damaged", ["", "null", "{}", "[]", '"text"', '{"model": "', '{"model": "m", "environment": "production"}']
)
def test_a_damaged_release_is_read_from_its_history_and_never_taken_for_none(sqlite: Any, damaged: str) -> None:
    """Nothing deployed would mean that all servers are stopped."""
    first = sqlite.swap_release(Release("m", "production"), Release("m", "production", 1, {"1": 100}, champion="1"))

    def damage(table: str) -> None:
        with sqlite.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET release = :damaged"), {"damaged": damaged})

    damage("evergreen_releases")
    assert sqlite.release("m", "production") == first
    damage("evergreen_release_history")
    with pytest.raises(EvergreenError, match=r"m: the production release can't be read .*from a backup"):
        sqlite.release("m", "production")
    with sqlite.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM evergreen_release_history"))
    with pytest.raises(EvergreenError, match="can't be read"):
        sqlite.release("m", "production")
    assert sqlite.released() == [("m", "production")]


def test_an_incident_opens_once(store: Any) -> None:
    opened = Incident("m-2013-05", "2013-05", Verdict("fail", "degraded", {"drop": 0.1}))
    assert store.record_incident("m", opened) is True
    assert store.record_incident("m", opened) is False
    (kept,) = store.incidents("m")
    assert replace(kept, recorded=0.0) == opened
    assert kept.recorded == pytest.approx(time.time(), abs=60)


def test_measuring_a_window_again_replaces_its_health_and_nan_becomes_null(store: Any) -> None:
    store.record_health("m", health_row("2013-05", float("nan")))
    store.record_health("m", health_row("2013-05", 0.7))
    store.record_health("m", health_row("2013-04", float("nan")))
    assert [row.quality["roc_auc"].value for row in store.health("m")] == [None, 0.7]


def test_the_mark_of_a_model_differs_after_each_change_and_is_not_touched_by_another_model(store: Any) -> None:
    first = Release("m", "production", 1, {"1": 100}, champion="1")
    changes: tuple[Callable[[], object], ...] = (
        lambda: store.swap_release(Release("m", "production"), first),
        lambda: store.swap_release(first, first.promote("2", "better")),
        lambda: store.record_health("m", health_row("2013-04", 0.7)),
        lambda: store.record_health("m", health_row("2013-05", 0.7)),
        lambda: store.record_health("m", health_row("2013-05", 0.6)),
        lambda: store.record_incident("m", Incident("m-2013-05", "2013-05", Verdict("hold", "too few"))),
    )
    marks = [store.marks().get("m")]
    for change in changes:
        change()
        store.record_health("other", health_row("2013-05", 0.5))
        marks.append(store.marks()["m"])
        assert store.marks()["m"] == marks[-1], "it differs without a change"
    assert len(set(marks)) == len(changes) + 1


def test_health_is_read_in_parts_from_the_newest_window_on(store: Any) -> None:
    for month in range(1, 6):
        store.record_health("m", health_row(f"2013-{month:02d}", 0.7))
    assert [row.window for row in store.newest_health("m", 2)] == ["2013-04", "2013-05"]
    assert [row.window for row in store.newest_health("m", 2, before="2013-02")] == ["2013-01"]
    assert store.newest_health("m", 2, before="2013-01") == []
    assert store.health("m")[0].recorded == pytest.approx(time.time(), abs=60)


def test_training_uses_the_newest_build_that_passed(store: Any) -> None:
    with pytest.raises(EvergreenError, match="no build has passed"):
        store.newest_passed_build("m")
    store.record_build(Build("m", "a-1", "a", "1", "passed"))
    store.record_build(Build("m", "b-1", "b", "1", "failed"))
    assert store.newest_passed_build("m").build_id == "a-1"
    with pytest.raises(EvergreenError, match="no build 'c'"):
        store.build("m", "c")


def test_lists_read_the_newest_windows_of_every_model_and_grain(store: Any) -> None:
    for model in ("fares", "late"):
        for month in range(1, 6):
            store.record_health(model, health_row(f"2013-{month:02d}", month / 10))
    store.record_health("late", health_row("2013-W01", 0.5))
    store.record_health("late", health_row("2013-05", 0.9))
    found = store.window_summaries(2)
    assert {model: [one.window for one in windows] for model, windows in found.items()} == {
        "fares": ["2013-04", "2013-05"],
        "late": ["2013-04", "2013-05", "2013-W01"],
    }
    assert found["late"][1].value == 0.9, "measuring again replaces the summary"
    assert store.window_summaries(1, "fares") == {"fares": found["fares"][1:]}


def test_lists_read_every_models_release_build_and_incident(store: Any) -> None:
    for model in ("fares", "late"):
        for number in (1, 2):
            build = Build(model, f"b{number}", "c" * 40, "e", "passed" if number == 1 else "failed")
            store.record_build(build)
            store.record_incident(model, Incident(f"{model}-{number}", "2013-05", Verdict("fail", "degraded")))
        first = store.swap_release(Release(model, "production"), Release(model, "production", 1, champion="1"))
        store.swap_release(first, first.promote("2", "again"))
        store.swap_release(Release(model, "test"), Release(model, "test", 1, champion="9"))
    assert {name: one.release.champion for name, one in store.production_releases().items()} == {
        "fares": "2", "late": "2",
    }  # fmt: skip
    assert {name: one.build_id for name, one in store.newest_builds().items()} == {"fares": "b2", "late": "b2"}
    assert {name: one.key for name, one in store.newest_incidents().items()} == {"fares": "fares-2", "late": "late-2"}


@pytest.mark.parametrize("damaged", ["[]", "{", "", "null", "{}"])
def test_one_damaged_release_is_missing_in_a_list_and_hides_no_other(sqlite: Any, damaged: str) -> None:
    for model in ("fares", "late"):
        sqlite.swap_release(Release(model, "production"), Release(model, "production", 1, champion="1"))
    with sqlite.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE evergreen_release_history SET release = '{damaged}' WHERE model = 'late'"))
    assert list(sqlite.production_releases()) == ["fares"]


def test_a_stage_of_a_rollout_keeps_its_newest_verdict(store: Any) -> None:
    for answer in ("hold", "pass"):
        store.record_check("late", RolloutCheck("run", "canary step 1", "2", Verdict(answer, "so", {"p95": 0.1}), 10))
    store.record_check("late", RolloutCheck("run", "canary step 2", "2", Verdict("fail", "too slow"), 50))
    store.record_check("late", RolloutCheck("other", "canary step 1", "3", Verdict("pass", "so"), 10))
    found = store.rollout_checks("late", "run")
    assert [(one.stage, one.verdict.answer, one.share) for one in found] == [
        ("canary step 1", "pass", 10), ("canary step 2", "fail", 50),
    ]  # fmt: skip
    assert len(store.rollout_checks("late")) == 3
    assert store.rollout_checks("fares") == []


def test_candidates_are_kept_newest_first_and_once(store: Any) -> None:
    def record(version: str, answer: Any) -> None:
        verdict = Verdict(answer, "so", {"difference": math.nan})
        store.record_candidate(
            "late", CandidateRecord(version, verdict, "c", "b", "s", "w", "r", "why", "", "mae", 1.0, None, None)
        )

    for version in ("1", "2", "10"):
        record(version, "fail")
    record("2", "pass")
    found = store.candidates("late")
    assert [(one.version, one.verdict.answer) for one in found] == [("10", "fail"), ("2", "pass"), ("1", "fail")]
    assert found[0].verdict.signals == {"difference": None}


@pytest.mark.needs("database_servers")
def test_a_restart_of_the_database_is_not_noticed_and_an_outage_is_named_without_the_password(
    postgres: PostgreSQL,
) -> None:
    """Without a test of connections before their use, the first query after a restart failed: a page answered 500."""
    store = Store(postgres.new_database().replace("postgresql://", "postgresql+psycopg2://"))
    first = store.swap_release(Release("m", "production"), Release("m", "production", 1, {"1": 100}, champion="1"))
    postgres.stop()
    with pytest.raises(UnreachableError, match=r"does not respond.*Start it, or correct EVERGREEN_STORE_URL") as away:
        store.release("m", "production")
    assert QUOTED not in str(away.value) and PASSWORD not in str(away.value)
    postgres.start()
    wait_for(postgres.responds)
    assert store.release("m", "production") == first
    postgres.stop()
    postgres.start()
    wait_for(postgres.responds)
    assert store.release("m", "production") == first
