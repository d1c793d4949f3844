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


@pytest.fixture
def spec():
    """The spec of the bundled example."""
    from include.core.spec_file import load_spec

    return load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
