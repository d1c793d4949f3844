"""Two models as users bring them: their specifications change, and their clients are not ours.

A version keeps the specification that it was made with, however model.yaml changes afterwards. Trained, compared,
served and rolled back for real.
"""

# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from include.core.errors import GateError
from include.core.run_params import TrainingParams
from include.core.verdict import Verdict
from include.stages import deployment, rollback, training, verification
from include.stages.installation import open_installation
from include.stages.reconciler import reconcile, reconcile_all
from include.stages.shadow import replay_requests
from tests.integration.brought_model import CANARY, CODE, COMPARED, FEATURES, NOW, Brought, features_of, model, place  # noqa: F401
from tests.integration.engine_contract import build_of
from tests.support.serving import Serving, roll_out
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


FOREIGN_CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as http

url, token, name = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
client = http.InferenceServerClient(url)
assert client.is_server_live(headers=headers)
assert client.is_server_ready(headers=headers)
assert client.is_model_ready(name, headers=headers)
assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
metadata = client.get_model_metadata(name, headers=headers)
given = json.load(sys.stdin)


def infer(columns, binary, outputs=None, **options):
    inputs = []
    for each in metadata["inputs"]:
        kind = object if each["datatype"] == "BYTES" else http.triton_to_np_dtype(each["datatype"])
        data = np.array(columns[each["name"]], dtype=kind)
        inputs.append(http.InferInput(each["name"], list(data.shape), each["datatype"]))
        inputs[-1].set_data_from_numpy(data, binary_data=binary)
    answer = client.infer(name, inputs, headers=dict(headers), outputs=outputs, **options)
    return answer.as_numpy("prediction").tolist()


whole = [http.InferRequestedOutput("prediction", binary_data=True)]
print(json.dumps({
    "json": infer(given["whole"], False),
    "binary": infer(given["whole"], True, outputs=whole, request_id="mine"),
    "gzip": infer(given["whole"], True, request_compression_algorithm="gzip"),
    "missing": infer(given["missing"], True),
}))
"""


def test_a_foreign_client_finds_the_model_and_gets_its_predictions(
    place: Serving, model: Brought, tmp_path: Path
) -> None:
    """NVIDIA's client of the same protocol, in an environment of its own; it sends binary data if it may."""
    requirements = "scikit-learn==1.9.1\ntritonclient[http]==2.73.0\n"
    _, build = build_of(place, {"model.py": CODE, "requirements.txt": requirements})
    here = open_installation()
    python = here.settings.builds / "template" / build / "environment" / "bin" / "python"
    rows = model.frame.iloc[[7, 8, 9]].assign(at="2013-05-17T08:00:00")[[*FEATURES, "id", "at"]]
    gaps = rows.assign(distance=[np.nan, 2.0, np.nan], zone=["00501", "", "north"])
    arguments = f"127.0.0.1:{here.settings.gateway_port}", here.settings.secret("prediction_token"), model.spec.name
    done = subprocess.run(
        [python, "-c", FOREIGN_CLIENT, *arguments],
        input=json.dumps({"whole": rows.to_dict("list"), "missing": gaps.to_dict("list")}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    expected = model.expected("1", model.spec, tmp_path).loc[rows["id"]].tolist()
    for way in ("json", "binary", "gzip"):
        assert answered[way] == pytest.approx(expected), way
    gaps["zone"] = gaps["zone"].replace("", None)
    model.arrives(gaps.assign(at=model.frame["at"].iloc[[7, 8, 9]], late=0, fare=0.0))
    missing = model.expected("1", model.spec, tmp_path / "gaps").loc[rows["id"]].tolist()
    assert answered["missing"] == pytest.approx(missing)
    model.arrives(model.frame)


@pytest.mark.parametrize(
    ("model", "change", "reason"),
    [
        ("trips", "gone from the data", "the data no longer has the features of version 1: hour"),
        ("trips", "another target", "predicts something else"),
        ("fares", "no longer a number", "could not predict the new data"),
    ],
    indirect=["model"],
)
def test_a_champion_that_can_not_predict_is_said_to_be_incomparable(model: Brought, change: str, reason: str) -> None:
    if change == "gone from the data":
        model.arrives(model.frame.drop(columns="hour"))
        today = model.changed(features=features_of("hour"))
    elif change == "no longer a number":
        model.arrives(model.frame.assign(hour="noon"))
        today = model.changed(features=features_of(hour="category"))
    else:
        renamed = model.frame.rename(columns={model.spec.target: "goal"})
        model.arrives(renamed)
        today = model.changed(target="goal", truth={"column": "goal"})

    made, verdict, _ = model.train(today)
    assert (made["champion"], verdict.answer) == (None, "fail")
    assert reason in verdict.reason
    assert "promotion.threshold" in verdict.reason

    worst = 0.5 if today.task == "binary_classification" else 100.0
    by_threshold = today.model_copy(update={"promotion": today.promotion.model_copy(update={"threshold": worst})})
    verdict = training.compare(by_threshold, made)
    assert verdict.passed
    assert reason in verdict.reason
    model.arrives(model.frame)
    figures = json.loads((Path(made["folder"]) / "metrics.json").read_text(encoding="utf-8"))
    assert reason in figures["verdict"]["reason"]


def test_an_older_partition_may_lack_a_feature_of_which_all_values_may_be_missing(model: Brought) -> None:
    may_lack = {"name": "snow", "type": "number", "missing_at_most": 1.0}
    today = model.changed(features=[*features_of(), may_lack])
    snapshot = training.freeze_data(open_installation(), today, TrainingParams(build=model.build.build_id), NOW)
    assert training.validate(open_installation(), today, snapshot.hash)[0].passed
    assert pd.read_parquet(snapshot.paths[0])["snow"].isna().all()


def test_a_champion_is_compared_and_served_with_its_own_features(model: Brought, tmp_path: Path) -> None:
    """A feature is added, one is removed, one is read as another type, and feature code comes in."""
    today = model.changed(
        features=features_of("hour", rain="number", zone="category", distance="category"),
    )
    model.arrives(model.frame.assign(distance=model.frame["distance"].round().astype(str)))
    made, verdict, version = model.train(today)
    assert (made["champion"], verdict.answer) == ("1", "pass"), verdict
    holdout = pd.read_parquet(Path(made["folder"]) / "holdout.parquet").set_index("id")
    assert "rain" in holdout
    own = model.expected("1", today, tmp_path)
    pd.testing.assert_series_equal(holdout["champion"], own.loc[holdout.index], check_names=False)

    model.release(today, version)
    model.answers(version, ["rain", "zone", "distance"])
    engine = open_installation().engine
    engine.stop(model.spec.name, "production", "1")
    reconcile(open_installation(), today, "production")
    model.answers("1", list(FEATURES))
    rolled_back = rollback.roll_back(open_installation(), today, "by hand")
    assert rolled_back.champion == "1"
    model.answers("1", list(FEATURES))


def test_a_feature_is_added_one_removed_and_one_retyped_without_a_failed_request(model: Brought) -> None:
    """The documented way (docs/changing-features.md), each step under traffic of clients that never ask again."""
    here, until = open_installation(), datetime.now(UTC).date() + timedelta(days=1)
    model.arrives(model.frame)
    first = here.store.release(model.spec.name, "production").champion
    inputs = list(FEATURES)

    def served(traffic: Traffic, version: str | None) -> None:
        """The version answers what the clients send now."""
        before = traffic.versions[str(version)]
        wait_for(lambda: traffic.failures or traffic.versions[str(version)] > before + 10, 60, f"answers of {version}")

    with model.traffic(inputs) as traffic:
        adding = model.changed(features=features_of(rain="number"), optional_inputs={"rain": until})
        _, _, second = model.train(adding)
        roll_out(adding, second, "add a feature")
        served(traffic, second)
        inputs.append("rain")
        served(traffic, second)
        rollback.roll_back(here, adding, "back")
        served(traffic, first)
        rollback.roll_back(here, adding, "forth")
        served(traffic, second)

        removing = model.changed(
            features=features_of("hour", rain="number", distance="category"),
            optional_inputs={"rain": until, "hour": until, "distance": until},
        )
        model.arrives(model.frame.assign(distance=model.frame["distance"].round().astype(str)))
        _, _, third = model.train(removing)
        roll_out(removing, third, "remove a feature")
        served(traffic, third)
        inputs.remove("hour")
        inputs[inputs.index("distance")] = "distance as text"
        served(traffic, third)
        rollback.roll_back(here, removing, "back again")
        served(traffic, second)
    assert traffic.failures == []
    assert {first, second, third} <= set(traffic.versions)
    assert sum(traffic.versions.values()) > 200


QUIET = {
    "shadow": {"requests": 60, "enough_without_traffic": True},
    "canary": CANARY | {"step_timeout_minutes": 0.03, "prediction_shift_at_most": 0.3},
}


def test_a_model_without_traffic_is_released_by_the_replay_of_its_logged_requests(model: Brought) -> None:
    here = open_installation()
    model.arrives(model.frame)
    today = model.changed(deployment=QUIET, training={"holdout_days": 9})
    before = here.store.release(model.spec.name, "production").champion
    model.ask_alone(40)
    logged = len(list((here.settings.prediction_log / model.spec.name).glob("*.jsonl")))
    _, _, version = model.train(today)
    deployment.deploy_to_test(here, today, version, "quiet")
    verdict = replay_requests(here, today, version)
    assert (verdict.answer, verdict.signals["failed_requests"]) == ("pass", 0), verdict
    assert len(list((here.settings.prediction_log / model.spec.name).glob("*.jsonl"))) == logged, "nothing is logged"

    def watched(shadowed: bool, run: str) -> Verdict:
        """The last verdict on a canary that no request reaches."""
        deployment.start_canary(here, today, version, run, shadowed=shadowed)

        def ended() -> Verdict | None:
            verdict, finished = deployment.watch_canary(here, today, run)
            return verdict if finished or verdict.answer == "fail" else None

        return cast(Verdict, wait_for(ended, 30, "the canary"))

    assert "fewer than 30 answered requests" in watched(False, "without a replay").reason
    deployment.settle(here, today, "without a replay")
    assert here.store.release(model.spec.name, "production").champion == before
    verdict = watched(True, "quiet")
    assert (verdict.answer, "the replay of logged requests passed instead" in verdict.reason) == ("pass", True)
    deployment.promote(here, today, version, "quiet")
    deployment.clear_test(here, today, "quiet")
    model.answers(version, list(FEATURES))


@pytest.mark.parametrize("model", ["fares"], indirect=True)
def test_a_version_that_predicts_otherwise_fails_the_replay(model: Brought) -> None:
    here, today = open_installation(), model.changed(estimator="model:far_off", deployment=QUIET)
    model.arrives(model.frame)
    model.ask_alone(40)
    _, _, version = model.train(today)
    deployment.deploy_to_test(here, today, version, "far off")
    verdict = replay_requests(here, today, version)
    deployment.clear_test(here, today, "far off")
    assert (verdict.answer, "differ from production's by 1.00" in verdict.reason) == ("fail", True), verdict


@pytest.mark.parametrize("model", ["fares"], indirect=True)
def test_a_canary_that_predicts_one_value_is_rolled_back_without_any_replay_before(model: Brought) -> None:
    here, today = open_installation(), model.changed(estimator="model:far_off", deployment={"canary": COMPARED})
    model.arrives(model.frame)
    _, _, version = model.train(today)
    with model.traffic(list(FEATURES)) as traffic, pytest.raises(GateError, match="the same value for all replayed"):
        roll_out(today, version, "constant")
    assert here.engine.servers(today.name, "test") == {}, "the comparison has cleared the test environment"
    deployment.settle(here, today, "constant")
    assert traffic.failures == []


@pytest.mark.parametrize("model", ["fares"], indirect=True)
def test_a_version_that_can_not_do_without_an_optional_input_is_refused_in_test(model: Brought) -> None:
    """Else the canary would answer 500 to every client that does not send it yet."""
    here, until = open_installation(), datetime.now(UTC).date() + timedelta(days=1)
    today = model.changed(estimator="model:needs_everything", optional_inputs={"distance": until})
    model.arrives(model.frame)
    _, _, version = model.train(today)
    deployment.deploy_to_test(here, today, version, "run")
    try:
        with pytest.raises(
            GateError, match=r"not finite.*without the optional inputs distance: let the estimator accept"
        ):
            verification.verify(here, today, version)
        over = model.changed(estimator="model:needs_everything", optional_inputs={"distance": "2020-01-01"})
        assert verification.verify(here, over, version).passed
    finally:
        deployment.clear_test(here, today, "run")


@pytest.fixture
def up_again(model: Brought, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What ``make up`` does for this model and for another one, which was never there; returns the problem lines."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    file = tmp_path / "models" / model.spec.name / "model.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(json.loads(model.spec.model_dump_json(by_alias=True))), encoding="utf-8")

    def own_problems() -> list[str]:
        return [line for line in reconcile_all(open_installation()) if line.startswith(f"{model.spec.name} (")]

    return own_problems


def test_a_damaged_release_and_a_damaged_server_file_heal(model: Brought, up_again: Callable[[], list[str]]) -> None:
    here, name = open_installation(), model.spec.name
    release = here.store.release(name, "production")
    version = str(release.champion)
    with here.store.engine.begin() as connection:
        values = {"name": name, "damaged": '{"model": "'}
        connection.execute(sa.text("UPDATE evergreen_releases SET release = :damaged WHERE model = :name"), values)
    assert here.store.release(name, "production") == release, "from the history of releases"
    assert up_again() == []

    file = here.settings.run / "servers" / f"{name}.production.{version}.json"
    file.write_text('{"model": {', encoding="utf-8")
    assert up_again() == []
    own = here.registry.spec(model.spec, version)
    model.answers(version, own.feature_names)


def test_a_model_that_the_registry_has_lost_is_named_and_trains_on(
    model: Brought, up_again: Callable[[], list[str]]
) -> None:
    here, name = open_installation(), model.spec.name
    version = str(here.store.release(name, "production").champion)
    here.registry.client.delete_registered_model(name)
    (problem,) = up_again()
    assert f"the registry has no version {version} (known: none)" in problem
    assert "restore the registry (mlflow/ in EVERGREEN_HOME) from a backup, or train and deploy" in problem

    model.arrives(model.frame)
    _, verdict, new = model.train(model.spec)
    assert (verdict.answer, f"version {version} is in production, but no longer in the registry" in verdict.reason) == (
        "fail",
        True,
    )
    assert int(new) > int(version), "servers, logs and local copies still name the old one"
    model.release(model.spec, new)
    assert up_again() == []
    model.answers(new, list(FEATURES))
