"""What all tests share. Paths and settings come first: Airflow reads them when it is imported."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
for folder in (PROJECT, PROJECT / "plugins"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

SCRATCH = Path(tempfile.mkdtemp(prefix="evergreen-tests-"))
os.environ.setdefault("EVERGREEN_HOME", str(SCRATCH / "home"))
os.environ["AIRFLOW_HOME"] = str(SCRATCH / "airflow")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{SCRATCH / 'airflow.db'}"
os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Where everything must run (``EVERGREEN_REQUIRE_ALL=1``), a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("EVERGREEN_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and EVERGREEN_REQUIRE_ALL=1 allows none: {report.longrepr}"
    return report


@pytest.fixture
def spec():
    """The spec of the bundled example."""
    from include.core.spec_file import load_spec

    return load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
