"""The registry: what it does not say is never taken for a version that was lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from include.adapters.mlflow_run import TrainingData
from include.adapters.registry import About, Registry, file_hash
from include.core.errors import ArtifactError, NotRegisteredError, PlatformError
from include.settings import Settings

pytestmark = pytest.mark.integration

NOTHING: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": {}, "description": ""}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "mlflow").mkdir()
    return Registry(Settings(home=tmp_path))


def register(registry: Registry, tmp_path: Path, candidate: str, **more: Any) -> str:
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "model.skops").write_text("model")
    return registry.register("fares", bundle, candidate=candidate, **(NOTHING | more))


@pytest.mark.parametrize("number", ["7", "seven"])
def test_a_version_that_is_not_there_is_not_registered(registry: Registry, tmp_path: Path, number: str) -> None:
    with pytest.raises(NotRegisteredError, match=rf"no version {number} \(known: none\)"):
        registry.version("fares", number)
    assert register(registry, tmp_path, "first") == "1"
    with pytest.raises(NotRegisteredError, match=rf"no version {number} \(known: 1\)"):
        registry.version("fares", number)


def test_a_registry_that_does_not_answer_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a candidate would be judged without the champion, by a threshold alone."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    unreachable = Registry(Settings(home=tmp_path, mlflow_url="http://127.0.0.1:9"))
    with pytest.raises(PlatformError, match="the registry can't be asked for version 1"):
        unreachable.version("fares", "1")


def test_numbers_go_on_after_a_loss_also_when_it_was_killed_meanwhile(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts" / "fares" / "3").mkdir(parents=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "delete_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            register(registry, tmp_path, "first")
    assert register(registry, tmp_path, "first") == "4"
    assert register(registry, tmp_path, "first") == "4", "the same candidate is the same version"
    assert register(registry, tmp_path, "second") == "5"
    assert "sha256" in registry.version("fares", "4").tags


def test_the_alias_challenger_belongs_to_the_version_that_is_offered(registry: Registry, tmp_path: Path) -> None:
    """Not to a refused one, nor to the champion: whoever reads the alias would take it for what comes next."""
    for number in ("1", "2", "3"):
        register(registry, tmp_path, number, tags={"verdict": "fail" if number == "3" else "pass"})
    registry.offer("fares", "1")
    assert registry.alias("fares", "challenger") == "1"
    registry.set_champion("fares", "1")
    assert (registry.alias("fares", "challenger"), registry.alias("fares", "champion")) == (None, "1")
    registry.offer("fares", "1")
    assert registry.alias("fares", "challenger") is None, "it already is the champion"
    registry.offer("fares", "2")
    registry.offer("fares", None)
    registry.withdraw("fares", "1")
    assert registry.alias("fares", "challenger") == "2", "still offered, though a later candidate was refused"
    registry.withdraw("fares", "2")
    assert registry.alias("fares", "challenger") is None
    with pytest.raises(NotRegisteredError):
        registry.set_champion("fares", "9")


@pytest.mark.parametrize("holder", ["1", "3"])
def test_an_alias_of_an_earlier_release_is_put_right(registry: Registry, tmp_path: Path, holder: str) -> None:
    """They gave ``challenger`` to each version, and left it to the champion."""
    for number in ("1", "2", "3"):
        register(registry, tmp_path, number, tags={"verdict": "fail" if number == "3" else "pass"})
    registry.set_champion("fares", "1")
    registry.set_alias("fares", "challenger", holder)
    registry.offer("fares", None)
    assert registry.alias("fares", "challenger") is None


def test_a_bundle_of_an_earlier_release_is_still_verified_and_none_of_its_tags_is_missed(
    registry: Registry, tmp_path: Path
) -> None:
    register(registry, tmp_path, "first")
    kept = registry.version("fares", "1").tags
    for name in set(kept) - {"sha256"}:
        registry.client.delete_model_version_tag("fares", "1", name)
    folder = registry.fetch("fares", "1")
    (folder / "model.skops").write_text("other")
    with pytest.raises(ArtifactError, match=r"model\.skops has sha256"):
        registry.fetch("fares", "1")


@pytest.mark.parametrize("changed", ["MLmodel", "pictures/roc.png"])
def test_every_file_is_compared_also_those_for_people(registry: Registry, tmp_path: Path, changed: str) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "pictures").mkdir(parents=True)
    for name in ("MLmodel", "pictures/roc.png"):
        (bundle / name).write_text(name)
    register(registry, tmp_path, "first")
    folder = registry.fetch("fares", "1")
    (folder / changed).write_text("other")
    with pytest.raises(ArtifactError, match=changed):
        registry.fetch("fares", "1")


def test_a_compiled_model_is_one_of_the_registered_files_or_refused(registry: Registry, tmp_path: Path) -> None:
    assert register(registry, tmp_path, "first") == "1"
    assert registry.compiled("fares", "1") is None
    folder = registry.fetch("fares", "1")
    (folder / "model.onnx").write_text("compiled by nobody")
    with pytest.raises(ArtifactError, match=r"model\.onnx was not registered with this version"):
        registry.fetch("fares", "1")
    (tmp_path / "bundle" / "model.onnx").write_text("compiled")
    assert register(registry, tmp_path, "second") == "2"
    folder = registry.fetch("fares", "2")
    assert registry.compiled("fares", "2") == file_hash(folder / "model.onnx")
    (folder / "model.onnx").write_text("changed")
    with pytest.raises(ArtifactError, match=r"model\.onnx has sha256 .*It was changed or damaged"):
        registry.fetch("fares", "2")


def test_runs_show_what_mlflow_accepts_of_any_parameter_metric_and_data(registry: Registry, tmp_path: Path) -> None:
    """Names come from the commit's code and from the data: none may break the registration."""
    data = TrainingData(
        "2013-05", "5" * 64, [f"/lake/{'x' * 200}/{n}.parquet" for n in range(1000)], 7, {"km": "number"}
    )
    register(
        registry,
        tmp_path,
        "first",
        parameters={"a=b/../c": "x" * 1000, "..": 1, "": 2, "naïve": None, **{f"p{n}": n for n in range(150)}},
        metrics={"mae.zone=a/b;<c>": 1.5, **{f"m{n}": 0.5 for n in range(2000)}},
        data=data,
        about=About("team", "What it predicts"),
    )
    run = registry.client.get_run(str(registry.version("fares", "1").run_id))
    parameters = run.data.params
    assert len(parameters["a:b_.._c"]) == 500 and parameters["a:b_.._c"].endswith("x…")
    assert parameters["naïve"] == "None" and parameters["p149"] == "149"
    assert run.data.metrics["mae.zone:a_b__c_"] == 1.5 and len(run.data.metrics) == 1000
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("2013-05", "5" * 36)
    assert json.loads(dataset.source)["uri"] == data.paths[-1], "the newest, also if there is no room for all"
    assert run.data.tags["mlflow.user"] == "team"
    model = registry.client.get_registered_model("fares")
    assert (model.description, model.tags["owner"]) == ("What it predicts", "team")


def test_an_experiment_opens_as_model_training_also_if_an_earlier_release_made_it(
    registry: Registry, tmp_path: Path
) -> None:
    registry.client.create_experiment("fares", artifact_location=str(tmp_path / "artifacts"))
    register(registry, tmp_path, "first")
    experiment = registry.client.get_experiment_by_name("fares")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    registry.client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", "classification")
    register(registry, tmp_path, "second")
    experiment = registry.client.get_experiment_by_name("fares")
    assert experiment.tags["mlflow.experimentKind"] == "classification", "a team's own choice stays"
