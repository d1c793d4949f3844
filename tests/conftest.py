"""What all tests share. Paths and settings come first: Airflow reads them when it is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from include.core.spec import ModelSpec

hypothesis.settings.register_profile("evergreen", deadline=None)  # on a busy machine, any example may be slow
hypothesis.settings.load_profile("evergreen")

pytest_plugins = [
    "pytester",
    "tests.support.coverage_summary",
    "tests.support.environment_guard",
    "tests.support.groups",
    "tests.support.needs",
    "tests.support.progress",
]

PROJECT = Path(__file__).resolve().parent.parent
for folder in (PROJECT, PROJECT / "plugins"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

SCRATCH = Path(tempfile.mkdtemp(prefix="evergreen-tests-"))
os.environ["EVERGREEN_HOME"] = str(SCRATCH / "home")
os.environ["AIRFLOW_HOME"] = str(SCRATCH / "airflow")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{SCRATCH / 'airflow.db'}"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as in the platform's own processes
os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture
def spec() -> ModelSpec:
    """The spec of the bundled example."""
    from include.adapters.spec_file import load_spec

    return load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
