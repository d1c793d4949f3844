"""``<model>.ci`` as Airflow sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="module")
def ci() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS / "ci.py"))
    assert not bag.import_errors, bag.import_errors
    return bag.dags["flights.ci"]


def test_it_reads_as_a_story(ci: Any) -> None:
    order = {task.task_id: sorted(task.downstream_task_ids) for task in ci.tasks}
    checks = ["check_contract", "lint", "test"]
    assert order == {
        "check_out": ["build_environment"],
        "build_environment": checks,
        **{check: ["record_build"] for check in checks},
        "record_build": [],
    }


def test_every_check_that_a_build_must_pass_is_in_it(ci: Any) -> None:
    from include.stages.ci import CHECKS

    recorded = ci.get_task("record_build")
    assert set(recorded.checks) == set(CHECKS), "a check that is not recorded would not be required"


def test_the_build_is_recorded_whatever_happened(ci: Any) -> None:
    assert ci.get_task("record_build").trigger_rule == "all_done"
    assert [asset.name for asset in ci.get_task("record_build").outlets] == ["flights/build"]


def test_a_new_commit_starts_it(ci: Any) -> None:
    [asset] = ci.timetable.asset_condition.objects
    assert asset.name == "flights/commit"
    path, arguments = asset.watchers[0].trigger.serialize()
    assert path == "evergreen.triggers.git_commit.GitCommitTrigger"
    url = "repositories/flights.git"
    assert arguments == {"model": "flights", "url": url, "branch": "main", "connection": None}


def test_the_triggers_can_be_made_again_from_what_they_say_of_themselves() -> None:
    """The triggerer makes a trigger from its serialized form, in another process."""
    from evergreen.triggers.data_partition import DataPartitionTrigger
    from evergreen.triggers.git_commit import GitCommitTrigger

    git = GitCommitTrigger("flights", "https://example.com/a.git", "main", "team")
    for trigger in (git, DataPartitionTrigger("flights")):
        path, arguments = trigger.serialize()
        assert path == f"{type(trigger).__module__}.{type(trigger).__name__}"
        assert type(trigger)(**arguments).serialize() == trigger.serialize()


def test_the_form_is_described(ci: Any) -> None:
    for name in ("ref", "again"):
        param = ci.params.get_param(name)
        assert param.schema["type"]
        assert param.description


@pytest.mark.parametrize(
    ("ref", "events", "expected"),
    [("v1", ["a"], "v1"), (" v1\n", [], "v1"), ("", ["a", "b"], "b"), (None, [], "")],
    ids=["by hand", "with spaces", "the newest seen commit", "neither: the branch"],
)
def test_which_commit_a_run_is_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ref: str | None, events: Any, expected: str
) -> None:
    from evergreen.assets import model_asset
    from evergreen.operators.check_out_commit import CheckOutCommitOperator
    from include.adapters import git

    class Event:
        def __init__(self, timestamp: int, commit: str) -> None:
            self.timestamp, self.extra = timestamp, {"from_trigger": True, "payload": {"commit": commit}}

    asked = []

    def resolve(_home: Path, _repository: Any, wanted: str) -> str:
        asked.append(wanted)
        return "c" * 40

    monkeypatch.setattr(git, "resolve_commit", resolve)
    monkeypatch.setattr(git, "check_out", lambda *_: tmp_path)
    seen = [Event(moment, commit) for moment, commit in enumerate(events)]
    context: Any = {"params": {"ref": ref}, "triggering_asset_events": {model_asset("flights", "commit"): seen}}
    operator = CheckOutCommitOperator(task_id="check_out", model="flights")
    assert operator.execute(context) == {"commit": "c" * 40}
    assert asked == [expected]
