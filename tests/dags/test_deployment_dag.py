"""The deployment Dag with and without the replay of logged requests."""

from pathlib import Path

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import PROJECT
from tests.support.specs import spec_values


@pytest.mark.parametrize("requests", [0, 50])
def test_requests_are_replayed_between_the_test_and_the_canary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    (tmp_path / "fares").mkdir()
    described = spec_values(name="fares", deployment={"shadow": {"requests": requests}})
    (tmp_path / "fares" / "model.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
    bag = DagBag(dag_folder=str(PROJECT / "dags" / "deployment.py"))
    assert bag.import_errors == {}
    dag = bag.dags["fares.deployment"]
    before = "replay_in_test" if requests else "verify_in_test"
    assert dag.get_task("start_canary").upstream_task_ids == {before}
    assert dag.get_task("clear_test").upstream_task_ids >= {before}
    assert ("replay_in_test" in dag.task_ids) == bool(requests)
