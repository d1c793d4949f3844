"""Training and scoring with code that is out for the platform's files: real jobs of the process engine."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.adapters.engines.jobs import run_job
from include.adapters.engines.runtime_config import build_folder, model_block
from include.core.errors import PlatformError, TrainingError
from include.core.spec import ModelSpec
from include.settings import PROJECT
from include.stages import ci as checks
from include.stages.installation import open_installation
from include.stages.training import TRAINED
from tests.support.specs import columns, model_spec

pytestmark = pytest.mark.integration

ESTIMATOR = """
from sklearn.linear_model import {kind}


def estimator():
    return {kind}()
"""
KEY = "key of the platform"
OUT = """
import atexit, json, os, sys
from pathlib import Path
out = Path(json.loads(Path(sys.argv[1]).read_text())["out"])
out = out if out.is_dir() else out.parent
"""
PLATFORMS_FILES = (
    *("train.json", "train.log", "score.json", "score.log", "metrics.json", ".metrics.json", "profile.json"),
    *("estimator.json", "golden.json", "lineage.json", "scored.parquet", ".holdout.parquet.taken"),
)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    folder = open_installation().settings.secrets
    folder.mkdir(parents=True)
    (folder / "token").write_text(KEY)
    return folder


def regression(name: str = "prices") -> ModelSpec:
    return model_spec(name=name, task="regression", target="price", features=columns(size="number"))


def classification() -> ModelSpec:
    return model_spec(name="churn", target="left", features=columns(size="number"))


SPECS: dict[str, Callable[[], ModelSpec]] = {"LinearRegression": regression, "LogisticRegression": classification}


def build(spec: ModelSpec, code: str, **files: str) -> str:
    """A build whose environment is the one that the tests run in."""
    folder = build_folder(open_installation().settings, spec.name, "build")
    shutil.copytree(PROJECT / "include" / "runtime", folder / "runtime")
    (folder / "reports").mkdir()
    (folder / "environment").symlink_to(sys.prefix)
    for name, text in {"model.py": code, **files}.items():
        (folder / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "code" / name).write_text(text)
    return "build"


def train(spec: ModelSpec, build_id: str) -> Path:
    rows = pd.DataFrame({"size": range(100), "at": pd.date_range("2020-01-01", periods=100, freq="D")})
    rows = rows.assign(id=rows.index.astype(str), price=rows["size"] * 3.0, left=rows["size"] % 2)
    data = open_installation().settings.home / "data.parquet"
    rows.to_parquet(data)
    job: Any = {
        "model": model_block(spec, build_folder(open_installation().settings, spec.name, build_id) / "code"),
        "data": [str(data)],
        "train_until": "2020-03-01",
        "holdout_from": "2020-03-02",
        "holdout_until": "2020-04-30",
        "out": "",
        "champion": None,
        "compile_tolerance": None,
    }
    folder = open_installation().settings.home / "candidates" / spec.name / "run"
    run_job(open_installation().engine, spec, build_id, "train", job, folder, leaves=TRAINED, readable=[data])
    return folder


@pytest.mark.parametrize("kind", SPECS)
def test_links_that_a_training_leaves_are_neither_read_nor_written_through(secrets: Path, kind: Any) -> None:
    """Before, ``bundle`` made every key of the platform an artifact, and ``score.log`` overwrote any of its files."""
    spec = SPECS[kind]()
    leave = f"""
(out / "bundle").symlink_to({str(secrets)!r})
for name in {PLATFORMS_FILES!r}:
    (out / name).is_symlink() or (out / name).unlink(missing_ok=True)
    (out / name).symlink_to({str(secrets / "token")!r})
"""
    folder = train(spec, build(spec, OUT + leave + ESTIMATOR.format(kind=kind)))
    assert {path.name for path in folder.iterdir()} == {"train.json", "train.log", *TRAINED}
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert [path.name for path in folder.parent.iterdir()] == ["run"], "the job's own folder must be gone"
    assert (secrets / "token").read_text() == KEY
    assert len(pd.read_parquet(folder / "holdout.parquet")) == 39


def test_what_a_job_prints_is_logged_line_by_line(secrets: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = regression()
    with caplog.at_level(logging.INFO, logger="include.adapters.engines.process.engine"):
        folder = train(spec, build(spec, ESTIMATOR.format(kind="LinearRegression")))
    printed = (folder / "train.log").read_text(encoding="utf-8").splitlines()
    assert printed and caplog.messages == printed


@pytest.mark.parametrize(
    "name, what", zip(TRAINED, ["a symbolic link", "a named pipe", "nothing", "a folder"], strict=True)
)
def test_a_file_that_a_training_must_leave_is_a_plain_one(secrets: Path, name: Any, what: Any) -> None:
    leave = f"""
def leave():
    path = out / {name!r}
    path.unlink()
    do = {{"a symbolic link": lambda: path.symlink_to({str(secrets / "token")!r}), "a named pipe": lambda:
          os.mkfifo(path), "nothing": lambda: None, "a folder": path.mkdir}}
    do[{what!r}]()

atexit.register(leave)
"""
    spec = regression()
    with pytest.raises(TrainingError, match=f"prices: train: the job left '{name}' as {what}"):
        train(spec, build(spec, OUT + leave + ESTIMATOR.format(kind="LinearRegression")))
    assert KEY not in "".join(
        path.read_text(errors="replace")
        for path in open_installation().settings.home.rglob("candidates/**/*")
        if path.is_file()
    )


def test_a_job_that_fails_leaves_its_log_and_no_folder(secrets: Path) -> None:
    spec = regression()
    with pytest.raises(TrainingError, match="prices: train failed"):
        train(spec, build(spec, "raise SystemExit('out of order')\n"))
    folder = open_installation().settings.home / "candidates" / "prices"
    assert [path.name for path in folder.iterdir()] == ["run"]
    assert "out of order" in (folder / "run" / "train.log").read_text()


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_a_training_that_is_killed_from_outside_is_not_the_models_fault(secrets: Path, signal: str) -> None:
    """It is tried again: a person, a restart, or a machine without memory ended it."""
    spec = regression()
    ending = f"import os, signal\nos.kill(os.getpid(), signal.{signal})\n"
    build_id = build(spec, ending + ESTIMATOR.format(kind="LinearRegression"))
    with pytest.raises(PlatformError, match=r"train was killed from outside \(signal \d+\).*too little memory"):
        train(spec, build_id)


def test_a_full_disk_is_not_the_models_fault(secrets: Path) -> None:
    spec = regression()
    full = "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
    build_id = build(spec, full)
    with pytest.raises(PlatformError, match=r"train failed: No space left on device\. Free disk space"):
        train(spec, build_id)


def test_a_job_can_not_change_its_log_its_job_file_or_the_platforms_folder(secrets: Path) -> None:
    attack = """
folder = Path(sys.argv[1]).parent
for path in (folder / "train.json", folder / "train.log", folder / "new", folder.parent / "new"):
    try:
        path.open("a")
        print("opened", path)
    except OSError:
        pass
for rename in ((out, out.parent / "x"), (folder, out / "x"), (out / "bundle", folder / "bundle")):
    try:
        out.joinpath("bundle").mkdir(exist_ok=True)
        os.rename(*rename)
        print("renamed", rename)
    except OSError:
        pass
"""
    spec = regression()
    folder = train(spec, build(spec, OUT + attack + ESTIMATOR.format(kind="LinearRegression")))
    assert "opened" not in (folder / "train.log").read_text()
    assert "renamed" not in (folder / "train.log").read_text()
    assert {path.name for path in folder.iterdir()} == {"train.json", "train.log", *TRAINED}


def test_a_check_takes_no_link_for_its_report(secrets: Path) -> None:
    leave = f"""
import os, sys
from pathlib import Path


def pytest_unconfigure(config):
    report = Path(config.option.xmlpath)
    report.unlink(missing_ok=True)
    report.symlink_to({str(secrets / "token")!r})
    (report.parent / "pytest.txt").symlink_to({str(secrets / "token")!r})
"""
    spec = regression()
    build_id = build(spec, "", **{"tests/conftest.py": leave, "tests/test_it.py": "def test_it():\n    pass\n"})
    report = checks.test(open_installation(), spec, build_id)
    assert report["answer"] == "fail"
    assert "wrote no test report" in report["reason"]
    assert KEY not in Path(report["file"]).read_text()
    assert (secrets / "token").read_text() == KEY
    assert [
        path.name for path in (build_folder(open_installation().settings, spec.name, build_id) / "reports").iterdir()
    ] == ["pytest.txt"]


def test_all_checks_of_good_code_pass_and_keep_their_reports(secrets: Path) -> None:
    spec = regression()
    tests = "from model import estimator\n\n\ndef test_it():\n    assert estimator()\n"
    build_id = build(spec, ESTIMATOR.format(kind="LinearRegression").lstrip(), **{"tests/test_it.py": tests})
    for name, check in checks.CHECKS.items():
        report = check(open_installation(), spec, build_id)
        assert report["answer"] == "pass", (name, report)
        assert Path(report["file"]).is_file()
    names = {
        path.name for path in (build_folder(open_installation().settings, spec.name, build_id) / "reports").iterdir()
    }
    assert names == {"ruff.txt", "pytest.txt", "pytest.xml", "contract.txt", "contract.json"}
