"""Preloading: each name is one that can be imported, and no other process of Airflow pays for it."""

import subprocess
import sys

import pytest

from include.embedded.airflow_local_settings import PRELOADED, preload
from tests.conftest import PROJECT


@pytest.mark.timeout(120)
def test_everything_named_can_be_imported(caplog: pytest.LogCaptureFixture) -> None:
    preload()
    assert [record.getMessage() for record in caplog.records if "could not preload" in record.getMessage()] == []
    assert set(PRELOADED) <= set(sys.modules)


@pytest.mark.parametrize(
    ("component", "imported"),
    [
        pytest.param("triggerer", set(), id="nothing"),
        pytest.param("dag-processor", {"evergreen.operators.run_check"}, id="what Dag files import"),
    ],
)
def test_other_processes_than_the_scheduler_import_nothing_heavy(component: str, imported: set[str]) -> None:
    path = str(PROJECT / "include" / "embedded" / "airflow_local_settings.py")
    setting = f"import runpy, sys; sys.argv = ['airflow', {component!r}]; runpy.run_path({path!r})"
    names = ("pandas", "mlflow", "sklearn", "evergreen.operators.run_check")
    check = f"{setting}; print('imported', *[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert set(done.stdout.strip().splitlines()[-1].split()) == {"imported"} | imported
