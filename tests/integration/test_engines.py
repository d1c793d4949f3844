"""The contract that every engine keeps: builds are made once, what runs is contained, what serves goes on serving."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from demo.report import score_version
from include.adapters.data.snapshots import take_snapshot
from include.adapters.engines.choice import open_engine
from include.adapters.registry import Registry
from include.core.build import Build, Lineage
from include.core.errors import ArtifactError, GateError, TrainingError
from include.core.release.rollout import Rollout
from include.core.spec import Feature, ModelSpec
from include.stages import ci as checks
from include.stages import training as candidate
from include.stages.installation import open_installation
from tests.integration import own_code
from tests.integration.engine_contract import build_of, contract_place, rows, server
from tests.support.engines import ENGINES, server_pid
from tests.support.serving import Serving
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

GREEDY = "hog = []\nwhile True:\n    hog.append(bytearray(b'x') * 20_000_000)\n"
ENDLESS = "import time\ntime.sleep(600)\n"


@pytest.fixture(scope="module", params=ENGINES)
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An installation with this engine, three trained versions of a small model, and its repository."""
    yield from contract_place(request.param, request)


def test_a_build_is_made_once(place: Serving) -> None:
    commit = checks.check_out_commit(open_installation(), place.template)
    first, again = (checks.build_environment(open_installation(), place.template, commit) for _ in range(2))
    assert (again.build_id, again.environment, again.cached) == (first.build_id, first.environment, True)


@pytest.mark.parametrize(
    "check, files, answer",
    [
        ("lint", {}, "pass"),
        ("lint", {"model.py": "undefined_name\n"}, "fail"),
        ("test", {}, "pass"),
        ("test", {"tests/test_model.py": "def test_sums():\n    assert 1 + 1 == 3, 'sums are off'\n"}, "fail"),
        ("check_contract", {}, "pass"),
        ("check_contract", {"model.py": "def estimator():\n    return 'no model'\n"}, "fail"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_a_check_answers_and_keeps_its_report(place: Serving, check: str, files: Any, answer: str) -> None:
    report = checks.CHECKS[check](open_installation(), *build_of(place, files))
    assert report["answer"] == answer, report
    assert Path(report["file"]).is_file()
    assert report["isolation"] in ("landlock+mounts", "landlock", "container")


def test_a_job_trains_and_leaves_its_files_and_its_log(place: Serving) -> None:
    folder = place.bundles[0]
    assert (folder / "model.skops").is_file()
    assert "training rows" in (folder.parent / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "code, limits, words",
    [
        (GREEDY, {"memory_mb": 512}, "training.memory_mb"),
        (ENDLESS, {"time_limit_minutes": 0.1}, "training.time_limit_minutes"),
    ],
    ids=["memory", "time"],
)
def test_a_training_that_needs_too_much_says_which_limit_to_raise(
    place: Serving, code: Any, limits: Any, words: str
) -> None:
    inside = "".join(f"    {line}\n" for line in code.splitlines())
    spec, build_id = build_of(place, {"model.py": f"def estimator():\n{inside}"}, **limits)
    build = Build(spec.name, build_id, "c" * 40, "", "passed")
    with pytest.raises(TrainingError, match=words):
        candidate.train(
            open_installation(), spec, build, take_snapshot(open_installation().settings, spec, None), words, {}
        )


def test_a_commits_tests_see_no_keys_no_files_and_no_network(place: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "planted-key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spying = f"""
import os
import socket
from pathlib import Path

import pytest


def test_environment():
    assert "planted-key" not in str(os.environ)
    assert not [name for name in os.environ if "AIRFLOW" in name or "EVERGREEN" in name]


def test_parent():
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert b"planted-key" not in file.read_bytes()
        except OSError:
            pass


def test_files():
    with pytest.raises(OSError):
        Path({str(open_installation().settings.secrets / "prediction_token")!r}).read_text()


def test_its_own_verdict():
    with pytest.raises(OSError):
        (Path.cwd().parent / "reports" / "pytest.xml").write_text("passed")


@pytest.mark.parametrize("address", [("127.0.0.1", {listener.getsockname()[1]}), ("192.0.2.1", 80)])
def test_network(address):
    with pytest.raises(OSError):
        socket.create_connection(address, 3)


def test_docker_socket():
    with pytest.raises(OSError):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("/var/run/docker.sock")
"""
        report = checks.CHECKS["test"](open_installation(), *build_of(place, {"tests/test_model.py": spying}))
    assert report["answer"] == "pass", Path(report["file"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", own_code.MODELS)
def test_a_model_with_classes_or_functions_of_its_own_goes_all_the_way_into_a_server(place: Serving, name: Any) -> None:
    """Checked, trained, beaten by nothing in its own build and in the next, and asked over HTTP."""
    spec = own_code.spec_of(name, place.repository)
    lake = open_installation().settings.lake / name
    lake.mkdir(exist_ok=True)
    own_code.rows(name, "2013-05").to_parquet(lake / "2013-05.parquet", index=False)
    first = own_build(place, spec)
    report = checks.CHECKS["check_contract"](open_installation(), spec, first.build_id)
    assert report["answer"] == "pass", report
    bundle = trained(spec, first, "first")
    open_installation().registry.register(
        spec.name, bundle, candidate="1", metrics={}, parameters={}, tags={}, description=""
    )
    store = open_installation().store
    nothing = store.release(spec.name, "production")
    store.swap_release(
        nothing, nothing.begin_canary("1", 100, Rollout("test", "1", lease=0), "test").promote("1", "test")
    )
    recorded = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    for build in (first, own_build(place, spec)):
        holdout = pd.read_parquet(trained(spec, build, f"again {build.build_id}").parent / "holdout.parquet")
        assert np.allclose(holdout["champion"], holdout["prediction"])
    open_installation().engine.start(spec, "production", "1", "production@1")
    try:
        known = {"id": "x", "at": "2013-05-01T08:00:00"}
        predicted = server(spec).predict(spec, [{**row, **known} for row in recorded["inputs"]], "golden")
        assert predicted == pytest.approx(recorded["predictions"])
    finally:
        open_installation().engine.stop(spec.name, "production", "1")


def test_a_version_with_feature_code_is_scored_for_the_demos_report(place: Serving) -> None:
    """The report gave the runtime a build's id for its folder, in which the model's feature code is imported."""
    spec = place.new_model().model_copy(update={"feature_code": "model:prepare"})
    home = open_installation().settings.home
    scores = score_version(spec, "3", [home / "lake" / "small" / "2013-05.parquet"], home / "scores")
    assert 0.6 < scores["2013-05"] <= 1


def own_build(place: Serving, spec: ModelSpec) -> Build:
    """The build of a new commit of the models in own_code."""
    commit = place.git.commit({**own_code.FILES, "count": str(time.time_ns())})
    prepared = checks.build_environment(open_installation(), spec, commit)
    return Build(spec.name, prepared.build_id, commit, prepared.environment, "passed")


def trained(spec: ModelSpec, build: Build, run: str) -> Path:
    """The bundle of a candidate."""
    snapshot = take_snapshot(open_installation().settings, spec, None)
    made = candidate.train(open_installation(), spec, build, snapshot, run, {})
    candidate.compare(spec, made)
    return candidate.complete_bundle(
        spec, Path(made["folder"]), snapshot, Lineage(model=spec.name, build=build.build_id)
    )


def test_a_model_that_asks_for_the_network_gets_it(place: Serving) -> None:
    """Of containers, a route to anywhere; 192.0.2.1 answers nobody, and nothing is sent to it."""
    address = "192.0.2.1" if open_installation().settings.engine == "docker" else "127.0.0.1"
    asking = f"""
import socket


def test_network():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("{address}", 9))
"""
    for network, answer in ((True, "pass"), (False, "fail")):
        report = checks.CHECKS["test"](
            open_installation(), *build_of(place, {"tests/test_model.py": asking}, network=network)
        )
        assert report["answer"] == answer, report


def test_a_commit_that_writes_without_end_is_stopped(place: Serving) -> None:
    writing = """
def test_writing(request):
    folder = request.config.getoption("xmlpath").rpartition("/")[0]
    with open(folder + "/much", "wb", buffering=0) as file:
        for _ in range(1024):
            file.write(bytes(2**20))
"""
    report = checks.CHECKS["test"](open_installation(), *build_of(place, {"tests/test_model.py": writing}))
    assert report["answer"] == "fail"
    assert "File too large" in report["reason"], report


def test_a_server_predicts_what_training_recorded(place: Serving, served: ModelSpec) -> None:
    recorded = json.loads((place.bundles[0] / "golden.json").read_text(encoding="utf-8"))
    known = {"id": "x", "at": "2013-05-01T08:00:00"}
    predicted = server(served).predict(served, [{**row, **known} for row in recorded["inputs"]], "golden")
    assert predicted == pytest.approx(recorded["predictions"])
    assert (place.bundles[0] / "model.onnx").is_file(), "the training compiled it, so that is what predicts"


def test_a_request_is_one_threads_work(place: Serving, served: ModelSpec) -> None:
    """Otherwise each tree of a forest waits for a team of threads, which takes seconds where processors are busy."""
    variables = Path(f"/proc/{server_pid(served.name, '1')}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=1" in variables


def test_threads_of_a_job_sleep_while_they_wait_and_are_no_more_than_its_processors(place: Serving) -> None:
    """Threads that spin slow a fit down beside other work."""
    spec, build_id = build_of(place, {}, cpus=1.5)
    folder = open_installation().settings.home / "threads"
    folder.mkdir()
    code = "import os; print(os.environ['OMP_WAIT_POLICY'], os.environ['OMP_NUM_THREADS'])"
    done = open_installation().engine.run(
        spec, build_id, ["-c", code], writable=folder, log=open_installation().settings.home / "threads.log"
    )
    assert done.output_tail == "PASSIVE 1\n"


def test_a_running_server_learns_which_inputs_are_optional(place: Serving, served: ModelSpec) -> None:
    """Before clients change what they send; a server that is restarted would refuse requests meanwhile."""
    known = served.model_copy(update={"features": columns_of(served, "distance")})
    process = server_pid(served.name, "1")
    with pytest.raises(GateError, match=r"missing input\(s\): hour"):
        server(served).predict(known, rows(), "too few")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    today = served.model_copy(update={"optional_inputs": {"hour": tomorrow}})
    open_installation().engine.set_optional_inputs(today, "production")
    assert len(server(served).predict(known, rows(), "enough")) == 1
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: server_pid(served.name, "1") not in (0, process), 30, "the server's next process")
    assert len(server(served).predict(known, rows(), "after a restart")) == 1
    open_installation().engine.set_optional_inputs(served, "production")
    with pytest.raises(GateError, match=r"missing input\(s\): hour"):
        server(served).predict(known, rows(), "too few again")


def columns_of(spec: ModelSpec, *names: str) -> list[Feature]:
    return [feature for feature in spec.features if feature.name in names]


def test_another_engine_finds_the_servers_again(place: Serving, served: ModelSpec) -> None:
    first, second = (
        open_engine(open_installation().settings, Registry(open_installation().settings)) for _ in range(2)
    )
    assert first.servers(served.name, "production") == second.servers(served.name, "production")
    assert second.servers(served.name, "test") == {}
    second.stop(served.name, "production", "1")
    assert first.servers(served.name, "production") == {}
    second.stop(served.name, "production", "1")  # harmless


def test_a_server_that_is_killed_comes_back_with_every_answer_in_the_log(place: Serving, served: ModelSpec) -> None:
    server(served).predict(served, rows(), "before")
    before = server_pid(served.name, "1")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: server_pid(served.name, "1") not in (0, before), 30, "the server's next process")
    server(served).predict(served, rows(), "after")
    open_installation().engine.fetch_predictions(served.name)
    open_installation().engine.fetch_predictions(served.name)  # twice is the same
    segments = (open_installation().settings.prediction_log / served.name).glob("*.jsonl")
    lines = [line for segment in segments for line in segment.read_text(encoding="utf-8").splitlines()]
    assert sorted(json.loads(line)["request_id"] for line in lines) == ["after", "before"]


def test_a_server_that_is_stopped_ends_by_itself(place: Serving, served: ModelSpec) -> None:
    started = time.monotonic()
    open_installation().engine.stop(served.name, "production", "1")
    assert time.monotonic() - started < 10, "it was killed after its time to drain instead"


def test_a_broken_server_says_why(place: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = place.new_model()
    path = open_installation().registry.fetch(spec.name, "1") / "model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    monkeypatch.setattr(Registry, "verify", lambda *_: None)
    open_installation().engine.start(spec, "production", "1", "production@1")
    try:
        wait_for(
            lambda: open_installation().engine.servers(spec.name, "production")["1"].state == "broken",
            60,
            "the end of it",
        )
        assert "sha256" in open_installation().engine.log_tail(spec.name, "production", "1")
    finally:
        open_installation().engine.stop(spec.name, "production", "1")


def test_a_file_of_the_bundle_that_was_changed_is_named_before_anything_starts(place: Serving) -> None:
    spec = place.new_model()
    path = open_installation().registry.fetch(spec.name, "1") / "metrics.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=r"metrics.json has sha256 .* delete .* to copy it again"):
        open_installation().engine.start(spec, "production", "1", "production@1")
    assert open_installation().engine.servers(spec.name, "production") == {}


def test_a_wrong_engine_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_ENGINE", "podman")
    with pytest.raises(SystemExit, match="EVERGREEN_ENGINE='podman'.*process or docker"):
        open_installation()
