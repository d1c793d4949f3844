"""Runs that contradict themselves or what there is: the first task refuses them, with the real operators and Airflow.

Nothing may have happened then: no checkout, no snapshot, no server, nothing gathered; what serves stays as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from include.adapters.store import Store
from include.core.build import Build
from include.core.errors import BuildError, RunRefusedError
from include.core.release.rollout import Rollout
from include.stages.installation import open_installation
from tests.integration.monitored_model import MODEL, MonitoredModel
from tests.support.airflow_runs import run_here
from tests.support.health_rows import incident

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DAGS = Path(__file__).resolve().parents[2] / "dags"
FIRST = {
    "ci": "check_out",
    "training": "take_snapshot",
    "deployment": "choose_release",
    "monitoring": "gather_predictions",
    "retraining": "degraded_health",
}
MADE = ("checkouts", "builds", "lake", "candidates", "run", "gateway", "reports")
"""Folders of the home that the stages write to."""


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredModel]:
    """``late``: version 1 serves, nothing stands by; versions 1 and 2 are registered; one build failed."""
    from airflow.utils.db import initdb

    home = tmp_path_factory.mktemp("refused")
    with pytest.MonkeyPatch.context() as patch:
        folder = home / "models" / "late"
        folder.mkdir(parents=True)
        (folder / "model.yaml").write_text(yaml.safe_dump(MODEL), encoding="utf-8")
        patch.setenv("EVERGREEN_HOME", str(home))
        patch.setenv("EVERGREEN_MODELS", str(home / "models"))
        patch.delenv("EVERGREEN_STORE_URL", raising=False)
        patch.delenv("EVERGREEN_MLFLOW_URL", raising=False)
        patch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", f'{{"conn_type": "fs", "extra": {{"path": "{home}"}}}}')
        initdb()
        monitored = MonitoredModel(home)
        register(monitored)
        monitored.store.record_build(Build("late", "bad-1", "b" * 40, "e", "failed"))
        monitored.predict("2013-05")
        yield monitored


def register(monitored: MonitoredModel) -> None:
    shutil.rmtree(monitored.home / "artifacts")  # they are not the registered ones
    (monitored.home / "mlflow").mkdir()
    for number in ("1", "2"):
        bundle = monitored.home / "bundles" / number
        bundle.mkdir(parents=True)
        (bundle / "model.skops").write_text(number)
        more: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": {}, "description": ""}
        assert open_installation().registry.register("late", bundle, candidate=number, **more) == number


@pytest.fixture
def store(monitored: MonitoredModel) -> Store:
    return open_installation().store


def dag_of(story: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS / f"{story}.py"))
    assert not bag.import_errors, bag.import_errors
    return bag.dags[f"late.{story}"]


def first_task(story: str, **conf: Any) -> Any:
    """What the first task of ``late.<story>`` does in a run with this conf, merged into its params by Airflow."""
    from airflow.sdk.definitions.param import process_params

    dag = dag_of(story)
    task = dag.get_task(FIRST[story])
    assert task.upstream_task_ids == set()
    params = process_params(dag, task, conf, suppress_exception=False)
    ti = SimpleNamespace(get_first_reschedule_date=lambda _: None)
    return task.execute({"params": params, "dag_run": SimpleNamespace(run_id="manual__1"), "ti": ti})


def run(story: str, **conf: Any) -> tuple[str, dict[str, str]]:
    """A whole run of ``late.<story>`` by hand, in this process; its state and its tasks' states."""
    return run_here(dag_of(story), conf)


def files(home: Path) -> set[Path]:
    return {path for name in MADE for path in (home / name).rglob("*") if path.is_file()}


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a name that ci lacks": ("ci", {"reff": "main"}, "'reff' (known: ref, again)"),
    "a ref that is none": ("ci", {"ref": "no such ref"}, "'no such ref' is not the name of a branch"),
    "a name that training lacks": ("training", {"windows": "2013-05"}, "'windows' (known: window, build"),
    "a window of another grain": ("training", {"window": "2013-W20"}, "Write it like '2013-05'"),
    "a window without data": ("training", {"window": "2013-07", "build": "good-1"}, "no training data for 2013-07"),
    "a build that is not there": ("training", {"build": "x-1"}, "no build 'x-1' (newest that passed: good-1)"),
    "a build that failed": ("training", {"build": "bad-1"}, "'bad-1' did not pass"),
    "an incident that never was": ("training", {"incident": "late-2012-01"}, "no incident 'late-2012-01'"),
    "a rollback to a version": ("deployment", {"rollback": True, "version": "1"}, "contradict each other"),
    "a rollback to nowhere": ("deployment", {"rollback": True}, "no earlier release of late"),
    "a version that is not there": ("deployment", {"version": "999"}, "there is no version 999 (known: 2, 1)"),
    "a version that is no number": ("deployment", {"version": "v2"}, "'v2' is not a version number"),
    "a name that deployment lacks": ("deployment", {"verson": "2"}, "'verson' (known: version, rollback)"),
    "a month that is none": ("monitoring", {"window": "2013-13"}, "Write it like '2013-05'"),
    "a month to come": ("monitoring", {"window": "2999-01"}, "2999-01 has not begun yet"),
    "a name that monitoring lacks": ("monitoring", {"month": "2013-05"}, "'month' (known: window)"),
    "a name that retraining lacks": ("retraining", {"await": True}, "'await' (known: wait)"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_refused_by_the_first_task_before_anything_happened(
    monitored: MonitoredModel, store: Store, mistake: Any
) -> None:
    story, conf, said = REFUSED[mistake]
    store.record_build(Build("late", "good-1", "a" * 40, "e", "passed"))
    before, release = files(monitored.home), store.release("late", "production")
    with pytest.raises((RunRefusedError, BuildError)) as refused:
        first_task(story, **conf)
    assert said in str(refused.value)
    assert files(monitored.home) == before
    assert store.release("late", "production") == release
    assert store.health("late") == []


@pytest.mark.parametrize("error", [RunRefusedError, BuildError])
def test_a_mistake_is_never_retried(error: Any) -> None:
    from airflow.sdk.definitions.retry_policy import RetryAction

    from evergreen.model_dags import RETRY_POLICY

    assert RETRY_POLICY.evaluate(error("x"), 1, 3).action == RetryAction.FAIL


def test_a_refused_deployment_fails_and_leaves_another_runs_test_and_canary_alone(
    monitored: MonitoredModel, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """settle and clear_test are teardowns: they run for a refused run too, and must not touch what isn't its own."""
    nothing, production = store.release("late", "test"), store.release("late", "production")
    rollout = Rollout("another", "2", lease=1e12)
    test = replace(nothing, revision=nothing.revision + 1, weights={"2": 100}, rollout=rollout, note="test by another")
    store.swap_release(nothing, test)
    canary = store.swap_release(production, production.begin_canary("2", 20, rollout, "canary by another"))
    try:
        state, tasks = run("deployment", rollback=True, version="2")
        assert state == "failed"
        ends = {"choose_release": "failed", "clear_test": "success", "settle": "skipped"}
        assert tasks == {task: ends.get(task, "upstream_failed") for task in tasks}
        assert "'rollback' and 'version' contradict each other" in capsys.readouterr().out
        assert store.release("late", "test") == test
        assert store.release("late", "production") == canary
    finally:
        store.swap_release(test, replace(nothing, revision=test.revision + 1))
        store.swap_release(canary, canary.abandon("cleared"))


def test_an_untouched_training_without_a_build_is_refused_before_the_snapshot(
    monitored: MonitoredModel, store: Store
) -> None:
    monitored.training_data()
    before = files(monitored.home)
    for build in store.builds("late"):
        store.record_build(replace(build, status="failed"))
    with pytest.raises(RunRefusedError, match="no build has passed yet"):
        first_task("training", window=None, build="", parameters=None, reason=None, incident="")
    assert files(monitored.home) == before


def test_what_retraining_passes_on_is_taken_and_trained_on(monitored: MonitoredModel, store: Store) -> None:
    """Its conf has the figures of the incident too, which are in no form; spaces around a value do not count."""
    monitored.training_data()
    store.record_incident("late", incident("2013-01"))
    store.record_build(Build("late", "good-1", "a" * 40, "e", "passed"))
    conf = {"reason": "drop", "incident": "late-2013-01", "window": " 2013-01\n", "signals": {"drop": 0.1}}
    assert first_task("training", **conf)["window"] == "2013-01"
