"""Operators and sensors: one a file, named for what it does, built the same way."""

import ast
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_task import ModelTask
from evergreen.operators.offer_candidate import OfferCandidateOperator
from evergreen.operators.train_candidate import TrainCandidateOperator
from evergreen.operators.validate_snapshot import ValidateSnapshotOperator
from include.settings import PROJECT

FILES = sorted(
    path
    for folder in ("operators", "sensors")
    for path in (PROJECT / "plugins" / "evergreen" / folder).glob("[!_]*.py")
)


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_one_operator_and_its_name(path: Any) -> None:
    (operator,) = classes(path)
    kind = "Operator" if path.parent.name == "operators" else "Sensor"
    assert operator.name == "".join(word.capitalize() for word in path.stem.split("_")) + kind
    assert kind == "Sensor" or len(path.stem.split("_")) >= 2, "a verb and a noun"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_operator_is_built_by_the_one_constructor(path: Any) -> None:
    (operator,) = classes(path)
    of_no_model = path.stem == "clean_up"
    assert ast.unparse(operator.bases[0]) in (
        ["BaseOperator"] if of_no_model else ["ModelTask", "VersionInTest", "ApprovalTask"]
    )
    for own in [node for node in operator.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]:
        (only,) = own.body
        assert ast.unparse(only).startswith("super().__init__("), "it may only fix arguments of Airflow's own"


def test_inputs_are_template_fields_and_make_dependencies() -> None:
    with DAG("sample", schedule=None):
        first = ValidateSnapshotOperator(task_id="first", model="flights", snapshot="{{ ds }}")
        second = TrainCandidateOperator(task_id="second", model="flights", snapshot=first.output)
    assert first.template_fields == ("snapshot",)
    assert second.template_fields == ("snapshot", "build")
    assert second.build == ""
    assert second.upstream_task_ids == {"first"}


def test_an_operator_without_a_needed_argument_says_which() -> None:
    with pytest.raises(TypeError, match=r"ValidateSnapshotOperator lacks required arguments: snapshot"):
        ValidateSnapshotOperator(task_id="validate", model="flights")


def test_an_outlet_is_the_models_own_asset() -> None:
    class AnnounceNothingOperator(ModelTask):
        outlet = "health"

    assert [asset.name for asset in AnnounceNothingOperator(task_id="announce", model="flights").outlets] == [
        "flights/health"
    ]


def test_why_a_task_was_skipped_is_in_its_log() -> None:
    """The log view shows an exception's text only in a folded group."""
    verdict = {"answer": "hold", "reason": "AUC 0.71 is not better than 0.72"}
    operator = OfferCandidateOperator(task_id="offer_candidate", model="late", version="3", verdict=verdict)
    with patch.object(OfferCandidateOperator, "log") as log, pytest.raises(AirflowSkipException):
        operator.execute({})
    log.info.assert_called_once_with("skipped: %s", "version 3 is not offered: AUC 0.71 is not better than 0.72")


@pytest.mark.parametrize("path", sorted((PROJECT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_no_task_skips_without_the_function_that_logs_why(path: Path) -> None:
    raised = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
    skips = [node for node in raised if node.exc and "AirflowSkipException" in ast.unparse(node.exc)]
    assert len(skips) == (1 if path.name == "model_task.py" else 0)


def test_every_task_leads_to_its_models_page_and_a_rollouts_tasks_to_the_rollout(monkeypatch: Any) -> None:
    from types import SimpleNamespace

    from evergreen.links import RolloutLink
    from evergreen.operators.start_canary import StartCanaryOperator
    from evergreen.operators.take_snapshot import TakeSnapshotOperator
    from evergreen.operators.trigger_training import TriggerTrainingOperator

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team")
    key = SimpleNamespace(run_id="manual__2026-11-28T20:00:00+00:00")
    canary = StartCanaryOperator(task_id="a", model="rides", version="2")
    links = {link.name: link.get_link(canary, ti_key=key) for link in canary.operator_extra_links}
    assert links == {
        "Model": "/team/evergreen/ui/models/rides",
        "Rollout": "/team/evergreen/ui/models/rides/rollouts/manual__2026-11-28T20%3A00%3A00%2B00%3A00",
    }
    snapshot = TakeSnapshotOperator(task_id="b", model="rides")
    assert [link.name for link in snapshot.operator_extra_links] == ["Model"]
    training = TriggerTrainingOperator(task_id="c", model="rides", degraded={})
    assert {"Model", "Triggered DAG"} == {link.name for link in training.operator_extra_links}
    assert not isinstance(snapshot.operator_extra_links, RolloutLink)
