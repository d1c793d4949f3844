"""Housekeeping on real files, a real store and a real registry, for two models: what goes, and what must stay."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.adapters.removal import ASIDE, disk_used, remove, size
from include.adapters.store_tables import log_positions
from include.core.build import Build, Lineage
from include.core.errors import PlatformError
from include.core.health.record import Incident
from include.core.release.release import Release
from include.core.retention import DISK_FULL
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.settings import Settings
from include.stages import disk
from include.stages.housekeeping import CleanUp, clean_up
from include.stages.installation import Installation, open_installation
from tests.support.specs import model_spec

MODELS = ("fares", "churn")
NOW = datetime.now(UTC).replace(tzinfo=None)
OLD = (NOW - timedelta(days=40)).timestamp()
VERSIONS = 4
"""Of each, housekeeping keeps the newest two; version 1 serves."""


def made(path: Path, age: float | None = OLD, text: str = "x") -> Path:
    """A file that was last used at this time (None: now)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if age is not None:
        os.utime(path, (age, age))
    return path


def made_folder(path: Path, age: float | None = OLD) -> Path:
    """A folder with a file, last used at this time (None: now)."""
    made(path / "file")
    if age is not None:
        os.utime(path, (age, age))
    return path


def spec_of(name: str) -> ModelSpec:
    return model_spec(name=name, retention={"versions": 2, "log_days": 30, "window_days": 60})


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry has four versions of each model."""
    home = tmp_path_factory.mktemp("home")
    (home / "mlflow").mkdir()
    here = open_installation(Settings(home=home))
    for model in MODELS:
        for number in range(1, VERSIONS + 1):
            bundle = home / "bundles" / model / str(number)
            lineage = Lineage(model, build=f"c{number}-e{number}", commit=f"c{number}", snapshot=f"{model}-s{number}")
            made(bundle / "model.skops", None)
            made(bundle / "lineage.json", None, json.dumps(asdict(lineage)))
            nothing: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": {}, "description": ""}
            assert here.registry.register(model, bundle, candidate=str(number), **nothing) == str(number)
    return home


@pytest.fixture
def here(registered: Path, tmp_path: Path) -> Installation:
    """The registry, with a store and files of its own: of each model version 1 serves."""
    settings = Settings(home=tmp_path, mlflow_url=f"sqlite:///{registered}/mlflow/mlflow.db")
    found = open_installation(replace(settings, mlflow_artifacts=str(registered / "mlflow")))
    for model in MODELS:
        before = Release(model, "production")
        serving = replace(before, revision=1, weights={"1": 100}, champion="1")
        found.store.swap_release(before, serving)
        for number in range(1, VERSIONS + 1):
            found.store.record_build(Build(model, f"c{number}-e{number}", f"c{number}", f"e{number}", "passed"))
            build = made_folder(tmp_path / "builds" / model / f"c{number}-e{number}", None)
            (build / "environment").symlink_to(f"../../../environments/e{number}")
            os.utime(build, (OLD, OLD))
            made(tmp_path / "lake" / "snapshots" / "objects" / f"{model}-o{number}.parquet")
            manifest = {"model": model, "hash": f"{model}-s{number}", "window": "2013-05", "rows": 1}
            manifest["partitions"] = {"2013-05": f"/elsewhere/{model}-o{number}.parquet"}
            made(tmp_path / "lake" / "snapshots" / model / f"{model}-s{number}.json", OLD, json.dumps(manifest))
            made_folder(tmp_path / "artifacts" / model / str(number))
        made_folder(tmp_path / "candidates" / model / "old")
        made_folder(tmp_path / "candidates" / model / "new", None)
    for number in range(1, VERSIONS + 1):
        folder = tmp_path / "environments" / f"e{number}"
        made(folder / "requirements.lock", None)
        os.utime(folder, (OLD, OLD))
    for number in range(1, VERSIONS + 1):  # fetched again, as from another machine
        for model in MODELS:
            import shutil

            shutil.rmtree(tmp_path / "artifacts" / model / str(number))
            found.registry.fetch(model, str(number))
            os.utime(tmp_path / "artifacts" / model / str(number), (OLD, OLD))
    return found


def cleaned(here: Installation, **options: Any) -> CleanUp:
    return clean_up(here, [spec_of(model) for model in MODELS], NOW, **{"dry_run": False, **options})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def test_what_serves_and_the_newest_versions_keep_all_that_they_were_made_of(here: Installation) -> None:
    home = here.settings.home
    done = cleaned(here)
    assert done.skipped == {}
    for model in MODELS:
        assert names(home / "builds" / model) == {"c1-e1", "c3-e3", "c4-e4"}
        assert names(home / "artifacts" / model) == {"1", "3", "4"}
        assert names(home / "lake" / "snapshots" / model) == {f"{model}-s{number}.json" for number in (1, 3, 4)}
        assert names(home / "candidates" / model) == {"new"}
    assert names(home / "environments") == {"e1", "e3", "e4"}
    objects = {f"{model}-o{number}.parquet" for model in MODELS for number in (1, 3, 4)}
    assert names(home / "lake" / "snapshots" / "objects") == objects
    assert cleaned(here).removals == [], "nothing is left to do"


def test_a_dry_run_says_the_same_and_removes_nothing(here: Installation) -> None:
    before = sorted(here.settings.home.rglob("*"))
    planned = cleaned(here, dry_run=True)
    assert sorted(here.settings.home.rglob("*")) == before
    done = cleaned(here)
    assert {one.path for one in done.removals} == {one.path for one in planned.removals}
    assert planned.summary() == done.summary()
    assert done.summary()["kinds"]["build"]["removed"] == len(MODELS)
    assert done.summary()["bytes"] > 0


def test_what_was_used_lately_stays(here: Installation) -> None:
    home = here.settings.home
    touched = [home / "builds" / "fares" / "c2-e2", home / "lake" / "snapshots" / "fares" / "fares-s2.json"]
    for path in touched:
        os.utime(path)
    removed = {one.path for one in cleaned(here).removals}
    assert not removed & set(touched)
    assert (home / "environments" / "e2").exists(), "a build that stays has its environment"
    assert (home / "lake" / "snapshots" / "objects" / "fares-o2.parquet").exists()
    assert not (home / "lake" / "snapshots" / "objects" / "churn-o2.parquet").exists()


@pytest.mark.parametrize("damage", ["release", "lineage"])
def test_a_model_that_can_not_be_read_keeps_everything_and_so_do_all_what_they_share(
    here: Installation, damage: str
) -> None:
    home = here.settings.home
    if damage == "release":
        with here.store.engine.begin() as connection:
            for table in ("evergreen_releases", "evergreen_release_history"):
                connection.exec_driver_sql(f"UPDATE {table} SET release = '[]' WHERE model = 'fares'")
    else:
        made(home / "artifacts" / "fares" / "4" / "lineage.json", None, "{}")
    done = cleaned(here)
    assert set(done.skipped) == {"fares"}
    assert {one.path for one in done.removals if "fares" in str(one.path.relative_to(home))} == set()
    assert names(home / "builds" / "churn") == {"c1-e1", "c3-e3", "c4-e4"}
    assert names(home / "environments") == {"e1", "e2", "e3", "e4"}
    assert len(names(home / "lake" / "snapshots" / "objects")) == len(MODELS) * VERSIONS


def test_what_models_share_stays_while_a_model_yaml_is_invalid(here: Installation) -> None:
    cleaned(here, complete=False)
    assert names(here.settings.home / "environments") == {"e1", "e2", "e3", "e4"}


def test_the_log_goes_once_it_is_in_the_lake_but_not_where_a_server_may_go_on(here: Installation) -> None:
    folder = here.settings.prediction_log / "fares"
    segments = {
        "2-production@1-1000-7": 1,  # gathered, of a version that is no longer loaded
        "2-production@1-1001-8": 0,  # not gathered
        "1-production@1-1000-9": 1,  # gathered, and its server goes on in the next one
        "1-production@1-1002-9": 1,
    }
    for name, position in segments.items():
        made(folder / f"{name}.jsonl")
        here.store.set_log_position("fares", f"{name}.jsonl", position)
    cleaned(here)
    assert names(folder) == {"2-production@1-1001-8.jsonl", "1-production@1-1002-9.jsonl"}
    assert log_positions.name  # the positions stay, so that nothing is gathered twice
    assert here.store.log_position("fares", "2-production@1-1000-7.jsonl") == 1


def test_old_windows_go_with_their_reports_except_those_of_incidents(here: Installation) -> None:
    home, long_ago = here.settings.home, (NOW - timedelta(days=61)).timestamp()
    for window in ("2013-05", "2013-06", "2013-W20", NOW.strftime("%Y-%m")):
        part = made(home / "lake" / "predictions" / "churn" / window / "part.parquet", long_ago)
        os.utime(part.parent, (long_ago, long_ago))
        made(home / "reports" / "churn" / f"{window}.html", long_ago)
        made(home / "reports" / "churn" / f"{window}.json", long_ago)
    made(home / "reports" / "churn" / "data-0123456789ab.json", long_ago)
    here.store.record_incident("churn", Incident("churn-2013-06", "2013-06", Verdict("fail", "worse")))
    cleaned(here)
    kept = {"2013-06", NOW.strftime("%Y-%m")}
    assert names(home / "lake" / "predictions" / "churn") == kept
    reports = {f"{window}.{kind}" for window in kept for kind in ("html", "json")} | {"data-0123456789ab.json"}
    assert names(home / "reports" / "churn") == reports


@pytest.mark.parametrize("days", [0, 59])
def test_predictions_about_long_ago_that_were_gathered_lately_stay(here: Installation, days: int) -> None:
    """A replayed history, or a model of the past: its windows are old on the day that they are written."""
    home, lately = here.settings.home, (NOW - timedelta(days=days)).timestamp()
    part = made(home / "lake" / "predictions" / "fares" / "2013-05" / "part.parquet", lately)
    os.utime(part.parent, (OLD, OLD))
    report = made(home / "reports" / "fares" / "2013-05.html", lately)
    cleaned(here)
    assert part.exists()
    assert report.exists()


def test_a_removal_that_was_killed_is_finished_by_the_next_one(here: Installation) -> None:
    half = made_folder(here.settings.home / "builds" / "fares" / f"{ASIDE}c0-e0")
    cleaned(here)
    assert not half.exists()


def test_links_are_removed_and_not_what_they_point_to(tmp_path: Path) -> None:
    target = made_folder(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(target)
    (tmp_path / "link").symlink_to(target)
    remove(tmp_path / "folder")
    remove(tmp_path / "link")
    assert names(tmp_path) == {"target"}
    assert names(target) == {"file"}


def test_folders_that_a_model_made_read_only_can_be_removed(tmp_path: Path) -> None:
    inner = made_folder(tmp_path / "build" / "code")
    for folder in (inner, inner.parent):
        folder.chmod(0o500)
    assert size(tmp_path / "build") > 0
    remove(tmp_path / "build")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("share", [DISK_FULL, 1.0])
def test_a_full_disk_refuses_trainings_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    assert 0 < disk_used(tmp_path) < 1
    monkeypatch.setattr(disk, "disk_used", lambda _: DISK_FULL - 0.001)
    disk.refuse_when_full(Settings(home=tmp_path))
    monkeypatch.setattr(disk, "disk_used", lambda _: share)
    with pytest.raises(PlatformError, match=r"Run evergreen\.housekeeping"):
        disk.refuse_when_full(Settings(home=tmp_path))
