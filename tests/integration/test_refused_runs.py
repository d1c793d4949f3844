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

from include.adapters.choices_file import choices_file
from include.adapters.store import Store
from include.core.build import Build, CheckReport
from include.core.errors import BuildError, RunRefusedError
from include.core.release.rollout import Rollout
from include.stages.choices import ALL_PARTS, add_data_windows, renew_choices
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
MADE = ("checkouts", "builds", "lake", "candidates", "run", "gateway", "reports", "choices")
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
        tags = {"1": {"verdict": "pass"}, "2": {"verdict": "hold", "verdict_reason": "worse"}}[number]
        more: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": tags, "description": ""}
        assert open_installation().registry.register("late", bundle, candidate=number, **more) == number


def good_build() -> Build:
    """A build that passed; its estimator function has two parameters."""
    contract: CheckReport = {"answer": "pass", "reason": "", "parameters": {"names": ["depth", "rate"], "any": False}}
    return Build("late", "good-1", "a" * 40, "e", "passed", {"check_contract": contract})


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
    "a name that deployment lacks": ("deployment", {"verson": "2"}, "'verson' (known: version, force, rollback, to)"),
    "a version that promotion refused": (
        "deployment",
        {"version": "2"},
        "version 2 did not pass promotion (hold: worse)",
    ),
    "a suggested version that promotion refused": (
        "deployment",
        {"version": "2 · refused by promotion (hold) · 2013-05-17"},
        "tick 'force' to deploy it",
    ),
    "a target without a rollback": ("deployment", {"to": "1"}, "'to' needs 'rollback'"),
    "a forced rollback": ("deployment", {"rollback": True, "force": True}, "'rollback' and 'force' contradict"),
    "a forced candidate": ("deployment", {"force": True}, "'force' needs a 'version'"),
    "a rollback to what never served": (
        "deployment",
        {"rollback": True, "to": "2"},
        "'2' is not an earlier release (earlier releases: none)",
    ),
    "a rollback to what serves": ("deployment", {"rollback": True, "to": "1"}, "'1' is in production already"),
    "a parameter that the estimator lacks": (
        "training",
        {"parameters": {"nope": 1}, "build": "good-1"},
        "no parameter 'nope' (it has: depth, rate)",
    ),
    "several mistakes at once": (
        "training",
        {"parameters": {"nope": 1}, "incident": "late-2012-01"},
        "no incident 'late-2012-01'",
    ),
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
    store.record_build(good_build())
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

    from evergreen.retry_policy import RETRY_POLICY

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


def test_parameters_of_a_build_that_was_checked_before_they_were_recorded_are_not_refused(
    monitored: MonitoredModel, store: Store
) -> None:
    monitored.training_data()
    store.record_build(Build("late", "good-1", "a" * 40, "e", "passed"))
    assert first_task("training", parameters={"nope": 1})["windows"] == ["2013-01"]


def test_a_parameter_in_model_yaml_that_the_build_lacks_is_refused_too(
    monitored: MonitoredModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitored.training_data()
    store.record_build(good_build())
    file = monitored.home / "models" / "late" / "model.yaml"
    before = file.read_text(encoding="utf-8")
    file.write_text(yaml.safe_dump({**MODEL, "training": {"parameters": {"nope": 1}}}), encoding="utf-8")
    try:
        with pytest.raises(
            RunRefusedError, match=r"training.parameters in model.yaml: .* 'nope' \(it has: depth, rate"
        ):
            first_task("training")
    finally:
        file.write_text(before, encoding="utf-8")


def test_what_was_recorded_is_suggested_by_the_forms_and_a_suggestion_can_be_submitted(
    monitored: MonitoredModel, store: Store
) -> None:
    """The whole way: the stages' facts, the file, the parsed Dag, Airflow's validation, and the first task."""
    monitored.training_data()
    store.record_build(good_build())
    renew_choices(open_installation(), "late", *ALL_PARTS)
    assert first_task("training", build="good-1")["window"] == "2013-01"
    (version, champion) = examples("deployment", "version")
    assert version.startswith("2 · refused by promotion (hold) · ")
    assert champion.startswith("1 · passed promotion · ")
    assert examples("deployment", "to") is None, "nothing served before version 1"
    assert examples("training", "build") == ["good-1"]
    assert examples("training", "window") == ["2013-01"]
    with pytest.raises(RunRefusedError, match="version 2 did not pass"):
        first_task("deployment", version=version)
    assert first_task("training", build=examples("training", "build")[0], window="2013-01")["window"] == "2013-01"


def test_a_forced_version_is_chosen_with_the_reason_that_is_overridden(monitored: MonitoredModel) -> None:
    pushed: dict[str, str] = {}
    from airflow.sdk.definitions.param import process_params

    dag = dag_of("deployment")
    task = dag.get_task("choose_release")
    params = process_params(dag, task, {"version": "2", "force": True}, suppress_exception=False)
    context: Any = {
        "params": params,
        "dag_run": SimpleNamespace(run_id="manual__1"),
        "ti": SimpleNamespace(xcom_push=pushed.__setitem__),
    }
    assert task.choose_branch(context) == "deploy_to_test"
    assert pushed == {"version": "2", "overridden": "hold: worse"}


def test_forms_suggest_nothing_when_the_file_is_damaged_and_no_database_is_asked(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew_choices(open_installation(), "late", *ALL_PARTS)
    monkeypatch.setenv("EVERGREEN_STORE_URL", "postgresql+psycopg2://nowhere.invalid/evergreen")
    monkeypatch.setenv("EVERGREEN_MLFLOW_URL", "http://127.0.0.1:9")
    assert examples("deployment", "version"), "parsing needs neither store nor registry"
    file = choices_file(monitored.installation.settings.choices, "late")
    for content in ("", "{", '{"versions": [[]]}'):
        file.write_text(content, encoding="utf-8")
        assert examples("deployment", "version") is None


def test_suggestions_that_can_not_be_renewed_fail_no_task(
    monitored: MonitoredModel, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "choices").write_text("a file where the folder belongs")
    elsewhere = replace(open_installation(), settings=replace(open_installation().settings, home=tmp_path))
    renew_choices(elsewhere, "late", *ALL_PARTS)
    add_data_windows(elsewhere, "late", ["2013-01"])
    assert caplog.text.count("were not renewed") == 2


def examples(story: str, name: str) -> Any:
    """What the form of ``late.<story>`` suggests for a field; None if nothing."""
    return dag_of(story).params.get_param(name).schema.get("examples")
