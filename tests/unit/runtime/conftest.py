"""What the tests of the runtime share."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime puts the model's folder on the path; the next test has another."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def run_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a job as its process would; returns the exit code and what stands on stderr."""
    from include.runtime.jobs import run

    def run_it(main: Any, job: Any) -> Any:
        path = tmp_path / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["runtime", str(path)])
        with pytest.raises(SystemExit) as ended:
            run(main)
        return ended.value.code, capsys.readouterr().err

    return run_it
