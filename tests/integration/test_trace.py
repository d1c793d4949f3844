"""A trace on a real deployment: from the id that a client got to the commit and the data, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from include.adapters.data.snapshots import take_snapshot
from include.adapters.store import Store
from include.core.errors import AmbiguousIdError, UnknownIdError
from include.core.health.record import Incident
from include.core.spec import ModelSpec
from include.core.trace import Key, Trace
from include.core.verdict import Verdict
from include.embedded import trace as command
from include.stages import deployment, monitoring, training
from include.stages.installation import open_installation
from include.stages.trace import trace
from tests.integration.engine_contract import contract_place, rows, server
from tests.support.engines import ENGINES
from tests.support.serving import Serving, release_first

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Traced:
    """Two models that serve, and the ids of requests that they answered."""

    spec: ModelSpec
    """Its version 4 was trained for an incident."""
    other: ModelSpec
    ids: dict[str, str]
    """Name → the server's id."""
    snapshot: str
    commit: str
    environment: str
    build: str
    partitions: dict[str, str]
    """Window → hash."""
    incident: str

    def trace(self, wanted: str, **more: Any) -> Trace:
        """Among both models."""
        return trace(open_installation(), [self.spec, self.other], wanted, **more)


@pytest.fixture(scope="module", params=ENGINES)
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from contract_place(request.param, request)


@pytest.fixture(scope="module")
def traced(place: Serving) -> Iterator[Traced]:
    here, spec, other = open_installation(), place.new_model(), release_first(place)
    incident = Incident(f"{spec.name}-2013-04", "2013-04", Verdict("fail", "worse than on its holdout"))
    here.store.record_incident(spec.name, incident)
    build = replace(place.build, model=spec.name, run_id="ci-run", report={"lint": {"answer": "pass", "reason": ""}})
    here.store.record_build(build)
    snapshot = take_snapshot(here.settings, spec, None)
    made: training.Candidate = {
        "folder": str(training.candidate_folder(here.settings, "template", "one")),
        "champion": None,
        "build": build.build_id,
        "commit": build.commit,
        "holdout_from": "",
        "holdout_until": "",
    }
    version = training.register(
        here, spec, made, snapshot.hash, Verdict("pass", "better"),
        run_id=f"incident__{incident.key}", reason="degraded", incident=incident.key, parameters={},
    )  # fmt: skip
    assert version == "4"
    for one, number in ((spec, version), (other, "1")):
        server(one, number) if one is other else deployment.start_canary(here, one, number, "deploy-run")
    deployment.promote(here, spec, version, "deploy-run")
    ids = {
        "own": ask(spec, None),
        "order": ask(spec, "order-1"),
        "others": ask(other, "order-1"),
        "reused": ask(spec, "again", key="a"),
        "reused for another": ask(spec, "again", key="b"),
        "retried": ask(spec, "retry"),
        "retry": ask(spec, "retry"),
    }
    monitoring.gather_predictions(here, spec)
    monitoring.measure_windows(here, spec, ["2013-05"], None, "monitoring-run")
    ids["new"] = ask(spec, "new-1")
    yield Traced(
        spec=spec,
        other=other,
        ids=ids,
        snapshot=snapshot.hash,
        commit=build.commit,
        environment=build.environment,
        build=build.build_id,
        partitions={window: Path(path).stem for window, path in snapshot.partitions.items()},
        incident=incident.key,
    )
    place.retire(spec)
    place.retire(other)


def ask(spec: ModelSpec, client_id: str | None, key: str = "x") -> str:
    """Send a request of one row through the gateway; returns the server's id."""
    from include.adapters.serving.inference_request import inference_inputs

    settings = open_installation().settings
    body = {"inputs": inference_inputs(spec, [{**rows()[0], "id": key}]), **({"id": client_id} if client_id else {})}
    response = requests.post(
        f"http://127.0.0.1:{settings.gateway_port}/v2/models/{spec.name}/infer",
        json=body,
        headers={"Authorization": f"Bearer {settings.secret('prediction_token')}"},
        timeout=30,
    )
    assert response.status_code == 200, response.text
    own_id = response.headers["x-request-id"]
    assert response.json()["id"] == (client_id or own_id), "the client's id stays its own"
    return own_id


def follow(found: Trace, *relations: str) -> Key:
    """The node that these arrows lead to from the trace's first node; each must be a node of the trace."""
    nodes, key = {node.key: node for node in found.nodes}, found.starts[0]
    for relation in relations:
        (key,) = [edge.to for edge in nodes[key].edges if edge.relation == relation]
        assert key in nodes, f"{relation} leads out of the trace to {key}"
    return key


@pytest.mark.parametrize(
    "name, wanted", [("order", "order-1"), ("order", ""), ("own", ""), ("new", "new-1"), ("new", "")]
)
def test_the_id_that_a_client_got_leads_to_the_commit_and_to_the_data(traced: Traced, name: str, wanted: str) -> None:
    """By the client's id and by the server's, gathered and not gathered yet."""
    found = traced.trace(wanted or traced.ids[name], model=traced.spec.name if wanted == "order-1" else "")
    prediction, model = found.nodes[0], traced.spec.name
    assert found.starts == (Key("prediction", model, traced.ids[name]),)
    assert prediction.facts["gathered"] == (name != "new")
    assert follow(found, "predicted by") == Key("version", model, "4")
    assert follow(found, "predicted by", "trained by").id == f"incident__{traced.incident}"
    assert follow(found, "predicted by", "trained by", "read").id == traced.snapshot
    assert follow(found, "predicted by", "trained by", "because of", "confirmed by").id == "2013-04"
    assert follow(found, "predicted by", "trained in", "of") == Key("commit", model, traced.commit)
    assert follow(found, "counted in") == Key("window", model, "2013-05")
    (release,) = [node for node in found.of_kind("release") if node.key == follow(found, "served in")]
    assert (release.facts["weights"], release.facts["champion"]) == ({"4": 100}, "4")
    assert {node.facts["window"]: node.facts["sha256"] for node in found.of_kind("partition")} == traced.partitions
    (build,) = found.of_kind("build")
    assert (build.facts["checks"], build.facts["ci run"]) == (("lint: pass",), "ci-run")
    window = next(node for node in found.of_kind("window") if node.id == "2013-05")
    assert (window.facts["predictions"], window.facts["monitoring run"]) == (5, "monitoring-run")
    assert found.notes == ()


def test_the_release_is_the_one_in_effect_when_it_answered_not_when_its_server_started(traced: Traced) -> None:
    found = traced.trace(traced.ids["own"])
    served, started = follow(found, "served in"), follow(found, "server started in")
    assert (served.id, started.id) == ("production@2", "production@1")


@pytest.mark.parametrize(
    "wanted",
    [
        lambda traced: traced.commit,
        lambda traced: traced.commit[:7],
        lambda traced: traced.build,
        lambda traced: traced.environment,
        lambda traced: traced.environment[: traced.environment.find(":") + 13],
        lambda traced: traced.snapshot[:12],
        lambda traced: f"{traced.spec.name}:4",
        lambda traced: f"{traced.spec.name}/4",
        lambda traced: f"incident__{traced.incident}",
        lambda traced: traced.incident,
        lambda traced: "ci-run",
    ],
)
def test_from_its_cause_back_to_the_predictions_that_it_made(traced: Traced, wanted: Any) -> None:
    """The build and the snapshot belong to the other model too."""
    shared = wanted(traced).startswith((traced.snapshot[:7], traced.build))
    found = traced.trace(wanted(traced), model=traced.spec.name if shared else "")
    (version,) = [one for one in found.of_kind("version") if (one.model, one.id) == (traced.spec.name, "4")]
    assert version.facts["predictions"] == {"2013-05": 5, "requests not gathered yet": 1}, "a retry counts once"
    assert (version.facts["promoted"], version.facts["promoted in"]) == (True, "production@2")
    assert {node.id for node in found.of_kind("release")} == {"production@1", "production@2"}
    assert {node.id for node in found.of_kind("commit")} == {traced.commit}


@pytest.mark.parametrize("wanted", ["deploy-run", "production@2", "monitoring-run", "2013-05"])
def test_runs_releases_and_windows_lead_to_the_version(traced: Traced, wanted: str) -> None:
    found = traced.trace(wanted, model=traced.spec.name)
    assert "4" in [node.id for node in found.of_kind("version")]
    assert traced.commit in [node.id for node in found.of_kind("commit")]


def test_an_incident_whose_training_left_no_version_says_so(traced: Traced) -> None:
    incident = Incident(f"{traced.other.name}-2013-06", "2013-06", Verdict("fail", "worse"))
    open_installation().store.record_incident(traced.other.name, incident)
    found = traced.trace(incident.key)
    (run,) = found.of_kind("training")
    assert "none" in str(run.facts["version"])
    assert found.of_kind("version") == ()


def test_a_retry_is_one_prediction_with_its_repeat(traced: Traced) -> None:
    found = traced.trace("retry")
    assert [key.id for key in found.starts] == [traced.ids["retry"], traced.ids["retried"]]
    assert found.of_kind("prediction")[0].facts["repeats"] == (traced.ids["retried"],)


def test_an_id_that_a_client_used_for_two_predictions_lists_both(traced: Traced) -> None:
    with pytest.raises(AmbiguousIdError) as refused:
        traced.trace("again")
    assert traced.ids["reused"] in str(refused.value)
    assert traced.ids["reused for another"] in str(refused.value)
    assert traced.trace(traced.ids["reused"]).of_kind("prediction")[0].facts["keys"] == ("a",)


def test_an_id_that_clients_of_two_models_used_lists_both_and_the_model_decides(traced: Traced) -> None:
    with pytest.raises(AmbiguousIdError) as refused:
        traced.trace("order-1")
    assert f"{traced.spec.name}: prediction {traced.ids['order']}" in str(refused.value)
    assert f"{traced.other.name}: prediction {traced.ids['others']}" in str(refused.value)
    assert traced.trace("order-1", model=traced.other.name).starts[0].id == traced.ids["others"]
    assert traced.trace(traced.ids["others"]).starts[0].model == traced.other.name


@pytest.mark.parametrize("kind, names", [(None, "requests"), ("commit", "kind commit")])
def test_an_unknown_id_says_what_was_searched(traced: Traced, kind: Any, names: str) -> None:
    with pytest.raises(UnknownIdError, match=f"{traced.spec.name}, {traced.other.name}.*{names}"):
        traced.trace("never-seen", kind=kind)
    with pytest.raises(UnknownIdError, match="known: "):
        traced.trace("order-1", model="absent")


def test_predictions_of_servers_before_this_release_are_traced_too(traced: Traced) -> None:
    log = open_installation().settings.prediction_log / traced.spec.name
    line = json.loads(next(log.glob("4-*.jsonl")).read_text().splitlines()[0])
    del line["server_request_id"]
    (log / "4-1-1-1.jsonl").write_text(json.dumps({**line, "request_id": "before"}) + "\n")
    try:
        found = traced.trace("before")
        assert found.starts[0].id == "before"
        assert follow(found, "predicted by", "trained in", "of").id == traced.commit
    finally:
        (log / "4-1-1-1.jsonl").unlink()


def test_the_command_prints_the_chain_or_why_there_is_none(
    traced: Traced, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for spec in (traced.spec, traced.other):
        file = tmp_path / spec.name / "model.yaml"
        file.parent.mkdir()
        file.write_text(yaml.safe_dump(json.loads(spec.model_dump_json(by_alias=True))))
    settings = replace(open_installation().settings, models=tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = command.main(settings, arguments)
        out, err = capsys.readouterr()
        return code, out, err

    code, out, _ = run(traced.ids["order"])
    assert code == 0
    for words in (
        f"prediction {traced.ids['order']}",
        "client's id: order-1",
        f"commit {traced.commit}",
        *traced.partitions.values(),
    ):
        assert words in out
    code, out, _ = run("order-1", "--model", traced.spec.name, "--json")
    assert (code, json.loads(out)["nodes"][0]["id"]) == (0, traced.ids["order"])
    code, out, err = run("never-seen")
    assert (code, out) == (2, "")
    assert "never-seen" in err
    assert run("order-1")[0] == 3


def test_without_the_registry_it_says_that_versions_were_not_searched(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def unreachable(_: str) -> Any:
        raise MlflowException("no connection")

    monkeypatch.setattr(open_installation().registry, "versions", unreachable)
    found = traced.trace(traced.ids["own"])
    assert "No versions" in " ".join(found.notes)
    with pytest.raises(UnknownIdError, match="No versions"):
        traced.trace("never-seen")


def test_tracing_leaves_the_positions_of_the_log_as_they_are(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a trace only reads")

    for name in ("set_log_position", "record_health", "swap_release", "record_build"):
        monkeypatch.setattr(Store, name, refuse)
    before = open_installation().store.log_positions(traced.spec.name)
    traced.trace("new-1")
    assert open_installation().store.log_positions(traced.spec.name) == before
