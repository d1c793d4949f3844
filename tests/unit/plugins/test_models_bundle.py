"""When the Dag files are parsed again."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.model_dags import models_to_parse, shard_of
from evergreen.models_bundle import SUGGESTING, ModelsBundle, ParseRequests
from include.pages.place import STAGES
from include.settings import PROJECT
from tests.support.specs import model_yaml

LOOK = 10.0
"""Seconds between two looks, as the Dag processor refreshes its bundle."""
PAUSE = 30.0


def requests(states: list[int], complete: list[bool] | None = None, parse_seconds: float = 0.0) -> list[int]:
    """The looks, of one each ten seconds, after which the files are requested."""
    decides, made = ParseRequests(0.0, PAUSE), []
    for number, state in enumerate(states):
        incomplete = {"a"} if complete and not complete[number] else set()
        if files := decides.due(number * LOOK, {"a": state}, incomplete):
            decides.done(number * LOOK, files, parse_seconds)
            made.append(number)
    return made


def test_what_does_not_change_is_not_parsed_again() -> None:
    assert requests([7] * 100) == []


def test_a_change_is_requested_at_once_and_again_later() -> None:
    """Again, since Airflow drops a request for a file that it is just parsing."""
    assert requests([7] * 5 + [8] * 20) == [5, 8]


def test_a_change_just_after_the_start_waits_for_the_first_parse() -> None:
    assert requests([7] + [8] * 20) == [3, 6]


def test_changes_all_the_time_are_requested_once_a_pause() -> None:
    assert requests(list(range(13))) == [3, 6, 9, 12]


def test_a_request_waits_until_the_one_before_is_done() -> None:
    """Files that are requested go first: the last ones in the queue would never be parsed."""
    assert requests(list(range(20)), parse_seconds=60.0) == [3, 9, 15]
    assert requests([7] * 20, [False] * 20, parse_seconds=60.0) == [3, 9, 15]


def test_missing_dags_are_requested_until_they_are_there() -> None:
    assert requests([7] * 20, [True] * 5 + [False] * 10 + [True] * 5) == [5, 8, 11, 14]


def test_only_files_whose_models_changed_are_requested() -> None:
    decides = ParseRequests(0.0, PAUSE)
    assert decides.due(0.0, {"a": 1, "b": 1}, set()) == set()
    assert decides.due(30.0, {"a": 1, "b": 2}, set()) == {"b"}
    decides.done(30.0, {"b"}, 1.0)
    assert decides.due(60.0, {"a": 2, "b": 2}, {"c"}) == {"a", "b"}
    decides.done(60.0, {"a", "b"}, 1.0)
    assert decides.due(90.0, {"a": 2, "b": 2}, set()) == {"a"}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
def test_no_change_is_forgotten_and_none_is_asked_for_too_often(looks: list[tuple[int, bool]]) -> None:
    states, complete = [state for state, _ in looks], [whole for _, whole in looks]
    quiet = 8
    made = requests(states + states[-1:] * quiet, complete + [True] * quiet)
    assert all(later - earlier >= PAUSE / LOOK for earlier, later in pairwise(made))
    changes = [number for number in range(1, len(states)) if states[number] != states[number - 1]]
    for change in changes:
        assert sum(request >= change for request in made) >= 2


@pytest.mark.parametrize(("models", "shards"), [(0, 1), (1, 1), (64, 1), (65, 2), (128, 2), (129, 4), (1000, 16)])
def test_a_thousand_models_are_in_sixteen_folders_and_few_in_one(models: int, shards: int) -> None:
    assert len({shard_of(f"model-{number}", models) for number in range(1000)}) == shards


@pytest.mark.parametrize("models", [10, 100])
def test_each_model_belongs_to_one_shard_of_the_dag_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: int
) -> None:
    names = {f"model-{number}" for number in range(models)}
    for name in names:
        path = tmp_path / name / "model.yaml"
        path.parent.mkdir()
        path.write_text(model_yaml(name=name), encoding="utf-8")
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
    shards = [[spec.name for spec in models_to_parse(f"/x/shard-{shard:02d}/ci.py")] for shard in range(4)]
    assert sorted(name for names in shards for name in names) == sorted(names)
    assert [bool(shard) for shard in shards] == [True, models > 64, False, False]
    assert {spec.name for spec in models_to_parse(str(PROJECT / "dags" / "ci.py"))} == names


def test_a_task_finds_its_dag_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in one from which the model has moved, since there are more models now."""
    path = tmp_path / "tides" / "model.yaml"
    path.parent.mkdir()
    path.write_text(model_yaml(name="tides"), encoding="utf-8")
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "tides.ci")
    for shard in range(4):
        assert [spec.name for spec in models_to_parse(f"/x/shard-{shard:02d}/ci.py")] == ["tides"]
        assert [spec.name for spec in models_to_parse(f"/x/shard-{shard:02d}/training.py")] == []


def test_a_model_keeps_its_shard() -> None:
    """Else all Dags would move to other files with a new version, in which Airflow parses each file at its own time."""
    assert [shard_of(name, 1000) for name in ("flights", "tides", "wind")] == ["shard-10", "shard-03", "shard-14"]
    assert [shard_of(name, 500) for name in ("flights", "tides", "wind")] == ["shard-02", "shard-03", "shard-06"]


def test_any_process_finds_the_dag_files_and_links_that_lead_elsewhere_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may be on another machine than the Dag processor, and a project may have been moved."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    dags = tmp_path / "project" / "dags"
    shutil.copytree(PROJECT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    (dags / "ours").mkdir()
    for name in ("tides", "rides", os.fsdecode(b"no text \xff"), *map(str, range(70))):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.yaml").touch()
    bundle = ModelsBundle(name="dags-folder", path=str(dags))
    bundle.initialize()
    stories = {f"{shard}/{stage}.py" for shard in ("shard-00", "shard-01") for stage in STAGES}
    links = {str(path.relative_to(bundle.path)): path for path in bundle.path.rglob("*") if path.is_symlink()}
    assert set(links) == stories | {"check_model_specs.py", "housekeeping.py", "ours"}
    assert all(path.resolve() == dags / path.name for path in links.values())
    moved = dags.parent.rename(tmp_path / "moved") / "dags"
    ModelsBundle(name="dags-folder", path=str(moved)).initialize()
    assert all(path.resolve() == moved / path.name for path in links.values())


def test_without_models_there_are_only_the_dags_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    bundle = ModelsBundle(name="dags-folder", path=str(PROJECT / "dags"))
    bundle.initialize()
    assert {path.name for path in bundle.path.iterdir()} == {"check_model_specs.py", "housekeeping.py"}


def test_the_stages_whose_forms_suggest_values_are_known() -> None:
    """Others are not parsed again when what is suggested has changed."""
    stories = {stage: (PROJECT / "dags" / f"{stage}.py").read_text(encoding="utf-8") for stage in STAGES}
    assert {stage for stage, story in stories.items() if "evergreen.choices" in story} == set(SUGGESTING)
