"""Airflow's real Dag processor parses the Dag files when what they read has changed, and otherwise not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evergreen.model_dags import SHARD_MODELS, shard_of
from evergreen.models_bundle import ModelsBundle
from include.adapters.choices_file import write_choices
from include.adapters.removal import remove
from include.pages.place import STAGES
from include.settings import PROJECT
from tests.support.specs import model_yaml
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BUNDLE = {"name": "dags-folder", "classpath": "evergreen.models_bundle.ModelsBundle", "kwargs": {}}
SETTINGS = {
    "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([BUNDLE]),
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "1",
    "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "DAG_PROCESSOR__STALE_DAG_THRESHOLD": "1",
    "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
    "SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
}
PARSED = "select max(last_parsed_time) from dag"


@dataclass
class Processor:
    """A running Dag processor, with a database, a home and models of its own."""

    folder: Path

    def write(self, name: str, **changes: Any) -> Path:
        """Write a model.yaml."""
        path = self.folder / "models" / name / "model.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(model_yaml(name=name, **changes), encoding="utf-8")
        return path

    def ask(self, question: str, *values: str) -> list[tuple[Any, ...]]:
        """What Airflow's database says."""
        with closing(sqlite3.connect(self.folder / "airflow.db", timeout=30, isolation_level=None)) as database:
            return database.execute(question, values).fetchall()

    def dags(self, name: str) -> set[str]:
        """The stages of the model that have a Dag now."""
        rows = self.ask("select dag_id from dag where not is_stale and dag_id like ?", f"{name}.%")
        return {dag.removeprefix(f"{name}.") for (dag,) in rows}

    def rests(self) -> bool:
        """Whether nothing has been parsed since four looks of the bundle."""
        looks: list[Any] = []
        before = self.ask(PARSED)

        def looked() -> bool:
            newest = self.ask("select last_refreshed from dag_bundle")
            if newest not in looks:
                looks.append(newest)
            return len(looks) > 5

        wait_for(looked, 60, "looks of the bundle")
        return self.ask(PARSED) == before


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    folder = tmp_path_factory.mktemp("processor")
    made = Processor(folder)
    made.write("tides")
    shutil.copytree(PROJECT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "EVERGREEN"))}
    environment = inherited | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "EVERGREEN_HOME": str(folder / "home"),
        "EVERGREEN_MODELS": str(folder / "models"),
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
        **{f"AIRFLOW__{name}": value for name, value in SETTINGS.items()},
    }
    airflow = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [airflow, "dag-processor"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: made.dags("tides") == set(STAGES), 120, "the first model's Dags", folder / "log")
        yield made
    finally:
        process.terminate()
        process.wait(30)


def test_a_new_model_gets_its_dags_and_a_removed_one_loses_them(processor: Processor) -> None:
    path = processor.write("fares")
    wait_for(lambda: processor.dags("fares") == set(STAGES), 60, "the new model's Dags")
    remove(path.parent)
    wait_for(lambda: not processor.dags("fares"), 60, "the end of the removed model's Dags")
    assert processor.dags("tides") == set(STAGES)


def test_a_changed_specification_changes_the_dags(processor: Processor) -> None:
    processor.write("tides", description="How high the water is.")
    documented = "select 1 from serialized_dag where dag_id = 'tides.ci' and data like ?"
    wait_for(lambda: processor.ask(documented, "%How high the water is.%"), 60, "the new description")


def test_nothing_is_watched_for_a_paused_dag_until_it_is_resumed(processor: Processor) -> None:
    """Airflow ends the watchers of a paused Dag, and starts those of one that was resumed, with its next parse."""
    processor.write("wind", training={"on_new_data": True})
    watchers = "select w.name from asset_watcher w join asset a on a.id = w.asset_id where a.name like 'wind/%'"
    both = {("wind_git",), ("wind_data",)}
    wait_for(lambda: set(processor.ask(watchers)) == both, 60, "the new model's watchers")
    processor.ask("update dag set is_paused = 1 where dag_id = 'wind.ci'")
    wait_for(lambda: processor.ask(watchers) == [("wind_data",)], 60, "the end of the paused Dag's watcher")
    processor.ask("update dag set is_paused = 1 where dag_id = 'wind.training'")
    wait_for(lambda: not processor.ask(watchers), 60, "the end of the other one's")
    wait_for(processor.rests, 60, "the end of requests")
    processor.ask("update dag set is_paused = 0 where dag_id like 'wind.%'")
    wait_for(lambda: set(processor.ask(watchers)) == both, 60, "the watchers of the resumed Dags")
    wait_for(processor.rests, 60, "the end of requests")
    remove(processor.folder / "models" / "wind")
    wait_for(lambda: not processor.dags("wind"), 60, "the end of the removed model's Dags")


def test_many_models_are_in_several_files_and_a_change_costs_one_of_them(processor: Processor) -> None:
    """As few models become many, half of them move to other files, and no Dag is lost; later they move back."""
    names = {"tides", *(f"many-{number}" for number in range(SHARD_MODELS))}
    for name in names - {"tides"}:
        processor.write(name)
    place = "select distinct relative_fileloc from dag where not is_stale and dag_id like ?"

    def in_place(name: str) -> bool:
        files = {(f"{shard_of(name, len(names))}/{stage}.py",) for stage in STAGES}
        return set(processor.ask(place, f"{name}.%")) == files

    wait_for(lambda: all(map(in_place, names)), 120, "all models' Dags in their files")
    other = next(name for name in names if shard_of(name, len(names)) != shard_of("tides", len(names)))
    parsed = "select min(last_parsed_time) from dag where dag_id like ?"
    wait_for(processor.rests, 60, "the end of requests")
    before = processor.ask(parsed, f"{other}.%"), processor.ask(parsed, "tides.%")
    processor.write(other, description="Another one.")
    wait_for(lambda: processor.ask(parsed, f"{other}.%") > before[0], 60, "the change")
    assert processor.ask(parsed, "tides.%") == before[1]
    for name in names - {"tides"}:
        remove(processor.folder / "models" / name)
    wait_for(lambda: not any(processor.dags(name) for name in names - {"tides"}), 120, "the end of their Dags")
    wait_for(lambda: processor.dags("tides") == set(STAGES), 60, "the Dags of the model that is left")
    wait_for(lambda: len(processor.ask(place, "tides.%")) == len(STAGES), 60, "them in the files of before")
    assert {file.partition("/")[0] for (file,) in processor.ask(place, "tides.%")} == {"shard-00"}


def test_dag_files_of_the_users_own(processor: Processor) -> None:
    """Beside ours, and in a folder; with a module that they import."""
    text = "from airflow.sdk import DAG\nfrom ours.helper import NAME\nwith DAG(NAME + __name__[-3:]):\n    pass\n"
    ours = processor.folder / "dags" / "ours"
    ours.mkdir()
    (ours / "helper.py").write_text("NAME = 'own_'\n", encoding="utf-8")
    (ours / "two.py").write_text(text, encoding="utf-8")
    (ours.parent / "one.py").write_text(text, encoding="utf-8")
    own = "select dag_id from dag where not is_stale and dag_id like 'own_%' order by dag_id"
    wait_for(lambda: processor.ask(own) == [("own_one",), ("own_two",)], 60, "their Dags")
    (ours.parent / "one.py").unlink()
    remove(ours)
    wait_for(lambda: not processor.ask(own), 60, "their end")


def test_a_new_suggestion_is_in_the_form(processor: Processor) -> None:
    write_choices(processor.folder / "home" / "choices", "tides", {"builds": ("0123456789ab",)})
    suggested = "select 1 from serialized_dag where dag_id = 'tides.training' and data like ?"
    wait_for(lambda: processor.ask(suggested, "%0123456789ab%"), 60, "the suggestion")


def test_a_broken_specification_is_reported_and_forgotten_when_it_is_mended(processor: Processor) -> None:
    path = processor.write("broken")
    path.write_text(path.read_text(encoding="utf-8").replace("task:", "tusk:"), encoding="utf-8")
    broken = "select 1 from import_error where stacktrace like '%broken/model.yaml%tusk%'"
    wait_for(lambda: processor.ask(broken), 60, "the import error")
    assert processor.dags("tides") == set(STAGES)
    processor.write("broken")
    wait_for(lambda: processor.dags("broken") == set(STAGES), 60, "the mended model's Dags")
    wait_for(lambda: not processor.ask("select 1 from import_error"), 60, "the end of the import error")


def test_a_dag_that_airflow_lost_comes_back(processor: Processor) -> None:
    """As after a parse whose result could not be stored: Airflow then takes the file's Dags for removed."""
    processor.ask("update dag set is_stale = 1 where dag_id = 'tides.monitoring'")
    wait_for(lambda: processor.dags("tides") == set(STAGES), 60, "the lost Dag")


def test_nothing_is_parsed_while_nothing_changes(processor: Processor) -> None:
    wait_for(processor.rests, 60, "the end of requests")
    assert processor.rests()


def test_a_look_reads_the_list_of_models_as_often_with_many_as_with_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of a look would grow with the square of their number: to minutes, for a thousand."""
    from airflow.utils.db import initdb

    initdb()
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    glob, patterns = Path.glob, list[str]()

    def counted(folder: Path, pattern: str) -> Iterator[Path]:
        patterns.append(pattern)
        return glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", counted)
    bundle, looks = ModelsBundle(name="dags-folder", path=str(PROJECT / "dags")), []
    for models in (1, 2, SHARD_MODELS):
        for number in range(models):
            path = tmp_path / "models" / f"model-{number}" / "model.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(model_yaml(name=path.parent.name), encoding="utf-8")
        patterns.clear()
        bundle.refresh()
        looks.append(sorted(patterns))
    assert looks[0] == looks[1] == looks[2]
