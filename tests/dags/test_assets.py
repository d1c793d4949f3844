"""The assets of all Dags as Airflow collects them: of two with the same name, it keeps one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.collection import AssetModelOperation
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Asset
from airflow.serialization.encoders import encode_asset_like, encode_trigger
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.triggers.base import BaseEventTrigger

from tests.conftest import PROJECT
from tests.dags.test_every_dag import assets_in
from tests.integration.monitored_model import MODEL

ON_NEW_DATA = {"fares": True, "tides": True, "late": False}
"""Models whose code is in one repository, and whether they train on new data."""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagBag]:
    models = tmp_path_factory.mktemp("models")
    for name, on_new_data in ON_NEW_DATA.items():
        (models / name).mkdir()
        described = MODEL | {"name": name, "training": {"on_new_data": on_new_data}}
        (models / name / "model.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERGREEN_MODELS", str(models))
        found = DagBag(dag_folder=str(PROJECT / "dags"))
        assert found.import_errors == {}
        yield found


def declared(bag: DagBag) -> list[Asset]:
    """Every asset in a schedule, an inlet or an outlet, as often as it is named."""
    tasks = [task for dag in bag.dags.values() for task in dag.tasks]
    named = [asset for task in tasks for asset in (*task.inlets, *task.outlets)]
    return [asset for dag_id in bag.dags for asset in starts(bag, dag_id)] + named


def starts(bag: DagBag, dag_id: str) -> list[Asset]:
    """The assets in the Dag's schedule."""
    return [asset for asset in assets_in(bag.dags[dag_id].timetable.asset_condition) if isinstance(asset, Asset)]


def watchers(asset: Any) -> dict[str, int]:
    """Name of a watcher → what Airflow knows its trigger by."""
    triggers = {watcher.name: encode_trigger(watcher.trigger) for watcher in asset.watchers}
    return {name: BaseEventTrigger.hash(known["classpath"], known["kwargs"]) for name, known in triggers.items()}


def files(bag: DagBag) -> dict[str, dict[str, LazyDeserializedDAG]]:
    """The serialized Dags of each file, which Airflow collects together."""
    found: dict[str, dict[str, LazyDeserializedDAG]] = {}
    for dag_id, dag in bag.dags.items():
        found.setdefault(Path(dag.fileloc).name, {})[dag_id] = LazyDeserializedDAG.from_dag(dag)
    return found


def test_every_declared_watcher_is_collected(bag: DagBag) -> None:
    wanted = {(asset.name, name) for asset in declared(bag) for name in watchers(asset)}
    training = {(f"{model}/data", f"{model}_data") for model, on_new_data in ON_NEW_DATA.items() if on_new_data}
    assert wanted == {(f"{model}/commit", f"{model}_git") for model in ON_NEW_DATA} | training
    collected = {
        (asset.name, name)
        for dags in files(bag).values()
        for asset in AssetModelOperation.collect(dags).assets.values()
        for name in watchers(asset)
    }
    assert collected == wanted, "a watcher that is not collected never starts"


def test_an_asset_is_the_same_wherever_it_is_named(bag: DagBag) -> None:
    """Also across files: whichever is parsed last would put its own watchers in place of the others."""
    for asset in declared(bag):
        same = [other for other in declared(bag) if other.name == asset.name]
        watched = [other for other in same if other.watchers]
        assert len({(other.uri, other.group, str(other.extra)) for other in same}) == 1, asset.name
        assert not watched or all(watchers(other) == watchers(watched[0]) for other in same), asset.name


def test_a_model_trains_on_new_data_only_if_it_says_so(bag: DagBag) -> None:
    for model, on_new_data in ON_NEW_DATA.items():
        scheduled = {asset.name for asset in starts(bag, f"{model}.training")}
        assert scheduled == {f"{model}/build"} | ({f"{model}/data"} if on_new_data else set())


def test_no_two_models_share_a_trigger(bag: DagBag) -> None:
    """A trigger of two assets has no state of its own: it would end with its first look."""
    watched = {(asset.name, trigger) for asset in declared(bag) for trigger in watchers(asset).values()}
    assert len(watched) == len({trigger for _, trigger in watched}) == len(ON_NEW_DATA) + sum(ON_NEW_DATA.values())


def test_every_asset_is_stored_as_airflows_own(bag: DagBag) -> None:
    for asset in declared(bag):
        plain = Asset(name=asset.name, uri=asset.uri, group=asset.group, extra=asset.extra, watchers=asset.watchers)
        assert encode_asset_like(asset) == encode_asset_like(plain), asset.name
        assert asset == plain, asset.name


def test_equal_assets_are_one_in_a_set(bag: DagBag) -> None:
    assert len({asset.name for asset in declared(bag)}) == len(set(declared(bag)))
