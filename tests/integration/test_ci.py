"""``<model>.ci``: from a real commit in a real repository to a recorded build; uv, checks and Airflow are real."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.adapters.spec_file import load_spec
from include.adapters.store import Store
from include.core.errors import BuildError
from include.stages import ci as checks
from include.stages.installation import open_installation
from tests.support.airflow_runs import run_here
from tests.support.real_repository import RealRepository
from tests.support.specs import columns, model_yaml

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SPEC = model_yaml(
    name="tiny",
    repository={"url": "repositories/tiny.git"},
    task="regression",
    target="doubled",
    features=columns(number="number"),
    data={"source": {"path": "tiny/{window}.parquet"}, "event_time": "moment"},
    training={"time_limit_minutes": 2, "memory_mb": 2048},
)
GOOD = {
    "requirements.txt": "scikit-learn==1.9.1\n",
    "model.py": "from sklearn.linear_model import LinearRegression\n\n\n"
    "def estimator():\n    return LinearRegression()\n",
    "tests/test_model.py": "from model import estimator\n\n\n"
    "def test_it_fits():\n    assert estimator().fit([[1], [2]], [2, 4]).predict([[3]])[0] > 5\n",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """One home for all tests here. Its environments are those of other modules too: each is built once."""
    from airflow.utils.db import initdb

    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("ci")
        (home / "models" / "tiny").mkdir(parents=True)
        (home / "models" / "tiny" / "model.yaml").write_text(SPEC)
        patch.setenv("EVERGREEN_HOME", str(home))
        patch.setenv("EVERGREEN_MODELS", str(home / "models"))
        patch.setenv("EVERGREEN_GIT_POLL_SECONDS", "0.1")
        (home / "environments").symlink_to(request.config.cache.mkdir("environments"))
        initdb()
        yield home


@pytest.fixture
def repository(home: Path, tmp_path: Path) -> RealRepository:
    """The model's repository, new in each test, at the address that model.yaml names."""
    (home / "repositories").mkdir(exist_ok=True)
    bare = home / "repositories" / "tiny.git"
    shutil.rmtree(bare, ignore_errors=True)
    repository = RealRepository(tmp_path)
    repository.bare.rename(bare)
    repository.bare = bare
    repository.commit(GOOD)
    return repository


@pytest.fixture
def store(home: Path) -> Store:
    return open_installation().store


def run_ci(**conf: Any) -> tuple[str, dict[str, str]]:
    """A run of tiny.ci by hand; its state and its tasks' states."""
    from airflow.dag_processing.dagbag import DagBag

    folder = Path(__file__).resolve().parents[2] / "dags"
    bag = DagBag(dag_folder=str(folder / "ci.py"))
    assert not bag.import_errors, bag.import_errors
    return run_here(bag.dags["tiny.ci"], conf)


def test_a_good_commit_becomes_a_passed_build_and_is_not_checked_twice(
    repository: RealRepository, store: Store, home: Path
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    started = time.monotonic()
    state, tasks = run_ci()
    cold = time.monotonic() - started
    assert state == "success", tasks
    build = store.newest_passed_build("tiny")
    assert build.commit == commit
    assert set(build.report) == {"lint", "test", "check_contract"}
    assert all(report["answer"] == "pass" for report in build.report.values())
    assert build.report["test"]["reason"] == "1 tests passed"
    assert all(Path(report["file"]).is_file() for report in build.report.values())
    assert build.parameters is not None and not build.parameters["any"], "a training checks its parameters against them"
    folder = home / "builds" / "tiny" / build.build_id
    assert (folder / "reports" / "pytest.xml").is_file()
    assert not (folder / "code" / ".git").exists()
    assert not list((home / "checkouts" / "tiny").iterdir())

    started = time.monotonic()
    state, _ = run_ci(ref=commit)
    warm = time.monotonic() - started
    assert state == "success" and store.build("tiny", build.build_id).report == build.report, "it was checked again"
    print(f"ci run: {cold:.1f} s with a new environment, {warm:.1f} s when the build had passed before")

    run_ci(ref=commit, again=True)
    again = store.build("tiny", build.build_id)
    assert again.status == "passed" and again.report != build.report, "'again' must check again"


def test_a_commit_with_a_failing_test_is_recorded_as_failed_and_says_which_test(
    repository: RealRepository, store: Store
) -> None:
    commit = repository.commit({"tests/test_model.py": "def test_sums():\n    assert 1 + 1 == 3, 'sums are off'\n"})
    state, tasks = run_ci()
    assert state == "failed"
    assert tasks["test"] == "failed"
    assert tasks["lint"] == "success"
    assert tasks["record_build"] == "failed"
    build = store.builds("tiny")[0]
    assert (build.commit, build.status) == (commit, "failed")
    assert "test_sums" in build.report["test"]["reason"]
    assert "sums are off" in build.report["test"]["reason"]


def test_a_commit_that_does_not_import_fails_with_its_import_error(repository: RealRepository, store: Store) -> None:
    code = "import a_library_nobody_has\n\n\ndef estimator():\n    return a_library_nobody_has\n"
    repository.commit({"model.py": code})
    state, tasks = run_ci()
    assert state == "failed"
    assert tasks["test"] == "failed"
    assert tasks["check_contract"] == "failed"
    build = store.builds("tiny")[0]
    assert "a_library_nobody_has" in build.report["test"]["reason"]
    assert "a_library_nobody_has" in build.report["check_contract"]["reason"]


def test_requirements_that_can_not_be_met_are_recorded_with_the_commit(
    repository: RealRepository, store: Store
) -> None:
    commit = repository.commit({"requirements.txt": "scikit-learn==0.0.99\n"})
    state, tasks = run_ci()
    assert state == "failed"
    assert tasks["build_environment"] == "failed"
    assert tasks["test"] == "upstream_failed"
    build = store.builds("tiny")[0]
    assert (build.build_id, build.status) == (f"{commit[:12]}-unbuilt", "failed")
    assert "scikit-learn" in build.report["build_environment"]["reason"]


def test_a_repository_that_is_gone_fails_at_once_and_records_nothing(
    repository: RealRepository, store: Store, home: Path
) -> None:
    before = len(store.builds("tiny"))
    shutil.rmtree(repository.bare)
    state, tasks = run_ci()
    assert state == "failed"
    assert tasks["check_out"] == "failed"
    assert tasks["record_build"] == "failed"
    assert len(store.builds("tiny")) == before


@pytest.fixture
def built(repository: RealRepository, home: Path) -> Any:
    """A build of a commit with the given files, without Airflow around it."""

    def build(files: dict[str, str]) -> tuple[Any, str]:
        spec = load_spec(home / "models" / "tiny" / "model.yaml")
        commit = repository.commit(files)
        return spec, checks.build_environment(open_installation(), spec, commit).build_id

    return build


@pytest.mark.parametrize(
    ("check", "files", "words"),
    [
        ("lint", {"model.py": "import os\n\n\ndef estimator():\n    return undefined_name\n"}, "undefined_name"),
        ("test", {"tests/test_model.py": "VALUE = 1\n"}, "there are no tests"),
        ("test", {"tests/test_model.py": "import pytest\n\n\n@pytest.mark.skip\ndef test_a():\n    pass\n"}, "skipped"),
        ("test", {"tests/test_model.py": "import os\n\n\ndef test_a():\n    os._exit(0)\n"}, "no test report"),
        ("check_contract", {"model.yaml": SPEC.replace("name: tiny", "name: other")}, "'other' is not"),
        ("check_contract", {"model.yaml": SPEC.replace("task: regression", "task: magic")}, "task"),
        ("check_contract", {"model.py": "def estimator():\n    return 'not a model'\n"}, ""),
    ],
)
def test_each_check_fails_closed(built: Any, check: str, files: Any, words: str) -> None:
    report = checks.CHECKS[check](open_installation(), *built(files))
    assert report["answer"] == "fail" and words in report["reason"], report


def test_a_commits_tests_can_not_see_the_platform(built: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a-secret-key")
    (home / "secrets").mkdir(exist_ok=True)
    (home / "secrets" / "token").write_text("hunter2")
    spying = f"""
import os
from pathlib import Path

import pytest


def test_environment():
    assert not [name for name in os.environ if "AIRFLOW" in name or "EVERGREEN" in name]


def test_files():
    with pytest.raises(PermissionError):
        Path({str(home / "secrets" / "token")!r}).read_text()


def test_its_own_verdict():
    with pytest.raises(OSError, match="Permission denied|Read-only file system"):
        (Path.cwd().parent / "reports" / "pytest.xml").write_text("passed")
"""
    report = checks.CHECKS["test"](open_installation(), *built({"tests/test_model.py": spying}))
    assert report["answer"] == "pass", report


def test_an_own_configuration_is_used_and_one_around_the_platform_is_not(built: Any, home: Path) -> None:
    """A pyproject.toml above EVERGREEN_HOME, such as the platform's own, must not configure a team's checks."""
    above = "[tool.ruff.lint]\nselect = ['ALL']\n[tool.pytest.ini_options]\naddopts = '--bad'\n"
    (home / "pyproject.toml").write_text(above)
    try:
        files = {"pyproject.toml": "[project]\nname = 'tiny'\nversion = '1'\n"}
        assert checks.CHECKS["lint"](open_installation(), *built(files))["answer"] == "pass"
        assert checks.CHECKS["test"](open_installation(), *built(files | {"a.txt": ""}))["answer"] == "pass"
        strict = {"pyproject.toml": "[tool.ruff.lint]\nselect = ['D']\n"}
        assert "D100" in checks.CHECKS["lint"](open_installation(), *built(strict))["reason"]
    finally:
        (home / "pyproject.toml").unlink()


def test_recording_is_safe_to_repeat_and_announces_once(home: Path, store: Store) -> None:
    """A run that crashed after recording announces on its retry; another run for the same commit does not."""
    from airflow.sdk.exceptions import AirflowSkipException

    from evergreen.operators.record_build import RecordBuildOperator

    class Run:
        def __init__(self, run_id: str, run_type: str = "asset_triggered") -> None:
            self.run_id, self.run_type = run_id, run_type

    class Task:
        def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
            values = {
                ("check_out", "return_value"): {"commit": "c" * 40},
                ("build", "return_value"): {"build_id": "cccccccccccc-12345678", "environment": "e"},
                ("test", "report"): {"answer": "pass", "reason": "fine"},
            }
            return values.get((task_ids, key))

    def record(run: Run, checks: list[str]) -> Any:
        operator = RecordBuildOperator(
            task_id="record", model="twice", check_out="check_out", build="build", checks=checks
        )
        events: dict[Any, Any] = {operator.asset: type("Event", (), {"extra": None})()}
        context: Any = {"ti": Task(), "dag_run": run, "outlet_events": events}
        operator.execute(context)
        return events[operator.asset].extra

    announced = {"build_id": "cccccccccccc-12345678", "commit": "c" * 40}
    assert record(Run("one"), ["test"]) == announced
    assert record(Run("one"), ["test"]) == announced, "the retry of a crashed task must announce"
    with pytest.raises(AirflowSkipException):
        record(Run("two"), ["test"])
    assert record(Run("three", "manual"), ["test"]) == announced
    with pytest.raises(BuildError, match="lint: did not finish"):
        record(Run("four"), ["test", "lint"])
    assert store.builds("twice")[0].status == "failed", "a check without a report must count as failed"
