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


def test_other_processes_than_the_scheduler_import_nothing() -> None:
    path = str(PROJECT / "include" / "embedded" / "airflow_local_settings.py")
    setting = f"import runpy, sys; sys.argv = ['airflow', 'triggerer']; runpy.run_path({path!r})"
    check = f"{setting}; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
