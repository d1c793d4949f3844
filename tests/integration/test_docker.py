"""What only the engine ``docker`` promises: how containers are kept in, what is in an image, what is never left."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from include.adapters.engines.docker.job import sweep
from include.adapters.registry import Registry
from include.core.spec import ModelSpec
from include.stages import ci as checks
from include.stages.installation import open_installation
from tests.integration.docker_objects import image_of, job_volumes, jobs, jobs_that_said, layers, log_of, new_folder
from tests.integration.engine_contract import build_of, contract_place
from tests.support.engines import container, docker_host
from tests.support.serving import MODEL_CODE, Serving
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.needs("docker")]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The installation of the contract tests, with the engine docker."""
    yield from contract_place("docker", request)


def test_the_serving_container_can_do_nothing_but_serve(served: ModelSpec) -> None:
    attributes = container(served.name, "1").attrs
    host, config = attributes["HostConfig"], attributes["Config"]
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert (host["SecurityOpt"], host["ReadonlyRootfs"]) == (["no-new-privileges"], True)
    assert config["User"].split(":")[0].isdigit() and not config["User"].startswith("0")
    assert host["Memory"] == host["MemorySwap"] == served.deployment.memory_mb * 2**20
    assert host["PidsLimit"] == served.deployment.processes
    assert (host["NanoCpus"] > 0, host["RestartPolicy"]["Name"]) == (True, "always")
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert not host["Binds"] or not [bind for bind in host["Binds"] if bind.startswith("/") and ":" in bind]
    published = [place["HostIp"] for places in host["PortBindings"].values() for place in places]
    assert published == ["127.0.0.1"]
    assert not [entry for entry in config["Env"] if "EVERGREEN" in entry or "TOKEN" in entry]


def test_what_the_kernel_says_of_the_serving_process_is_the_same(served: ModelSpec) -> None:
    looking = (
        "import os, json\n"
        "status = dict(line.split(':', 1) for line in open('/proc/1/status').read().splitlines())\n"
        "def tried(path):\n"
        "    try:\n        open(path, 'w'); return True\n    except OSError: return False\n"
        "paths = ['/x', '/etc/x', '/evergreen/x', '/evergreen/artifact/model.skops', '/evergreen/code/model.py']\n"
        "print(json.dumps({'caps': status['CapEff'].strip(), 'new': status['NoNewPrivs'].strip(), 'uid': os.getuid(),"
        " 'written': [path for path in paths if tried(path)]}))"
    )
    said = container(served.name, "1").exec_run(["/evergreen/environment/bin/python", "-c", looking]).output
    assert isinstance(said, bytes) and json.loads(said) == {"caps": "0" * 16, "new": "1", "uid": 10001, "written": []}


def test_a_server_has_a_health_check_that_passes(served: ModelSpec) -> None:
    test = container(served.name, "1").attrs["Config"]["Healthcheck"]["Test"]
    done = container(served.name, "1").exec_run(test[1:])
    assert done.exit_code == 0, done.output


def test_servers_see_neither_each_other_nor_the_world(served: ModelSpec) -> None:
    (network,) = container(served.name, "1").attrs["NetworkSettings"]["Networks"]
    options = docker_host().client.networks.get(network).attrs["Options"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_a_serving_model_that_needs_too_much_is_ended_and_comes_back(
    place: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = "\n\ndef prepare(frame):\n    hog = [bytearray(b'x') * 20_000_000 for _ in range(100)]\n    return frame\n"
    spec = place.new_model()
    limited = spec.deployment.model_copy(update={"memory_mb": 512})
    spec = spec.model_copy(update={"feature_code": "greedy:prepare", "deployment": limited})
    _, build_id = build_of(place, {"greedy.py": greedy})
    bundle = open_installation().registry.fetch(spec.name, "1")
    monkeypatch.setattr(Registry, "verify", lambda *_: None)  # the lineage is given another build
    monkeypatch.setattr(Registry, "compiled", lambda *_: None)  # a compiled form would run no feature code
    lineage = json.loads((bundle / "lineage.json").read_text(encoding="utf-8"))
    (bundle / "lineage.json").write_text(json.dumps({**lineage, "build": build_id}), encoding="utf-8")
    engine = open_installation().engine
    engine.start(spec, "production", "1", "production@1")
    try:
        # Warming up is where this model fails first: it never becomes ready, and the reason is at the end of its log.
        wait_for(lambda: container(spec.name, "1").attrs["State"]["OOMKilled"], 60, "the end of it")
        wait_for(lambda: "deployment.memory_mb" in engine.log_tail(spec.name, "production", "1"), 30, "the reason")
        wait_for(lambda: engine.servers(spec.name, "production")["1"].state == "broken", 60, "the verdict")
    finally:
        engine.stop(spec.name, "production", "1")


def test_a_build_says_where_it_comes_from(place: Serving) -> None:
    spec, build_id = build_of(place, {})
    found = docker_host().client.images.get(image_of(spec.name, build_id)).labels
    assert found["org.opencontainers.image.source"] == place.repository
    assert found["org.opencontainers.image.revision"].startswith(build_id[:12])
    assert found["evergreen.model"] == spec.name
    assert found["evergreen.build"] == build_id
    bill = json.loads(
        (open_installation().settings.builds / spec.name / build_id / "sbom.cdx.json").read_text(encoding="utf-8")
    )
    assert bill["bomFormat"] == "CycloneDX"
    assert "pkg:pypi/scikit-learn@1.9.1" in {component["purl"] for component in bill["components"]}


def test_a_change_of_code_changes_the_last_layer_alone(place: Serving) -> None:
    spec, first = build_of(place, {"model.py": MODEL_CODE + "\nVALUE = 1\n"})
    started = time.monotonic()
    _, second = build_of(place, {"model.py": MODEL_CODE + "\nVALUE = 2\n"})
    print(f"a change of code: {time.monotonic() - started:.1f} s")
    one, two = layers(image_of(spec.name, first)), layers(image_of(spec.name, second))
    assert one[:-1] == two[:-1]
    assert one[-1] != two[-1]


def test_a_release_adds_one_small_layer_to_its_build(place: Serving, served: ModelSpec) -> None:
    image = container(served.name, "1").attrs["Image"]
    lineage = open_installation().registry.lineage(served.name, "1")
    build = layers(image_of(served.name, lineage.build))
    assert layers(image)[:-1] == build
    release = docker_host().client.images.get(image)
    assert (release.labels["evergreen.run"], release.labels["evergreen.snapshot"]) == ("one", lineage.snapshot)
    added = sum(step["Size"] for step in release.history() if any(w in step["CreatedBy"] for w in ("artifact", "ADD")))
    assert added < 5_000_000
    assert container(served.name, "1").labels["evergreen.image"] == image, "an image is used by id, never by a tag"


def test_test_and_production_run_the_same_image(served: ModelSpec) -> None:
    open_installation().engine.start(served, "test", "1", "test@1")
    try:
        images = {container(served.name, "1", name).attrs["Image"] for name in ("test", "production")}
        assert len(images) == 1
    finally:
        open_installation().engine.stop(served.name, "test", "1")


def test_an_image_has_no_compiler_no_cache_and_no_secret_of_its_making(place: Serving) -> None:
    spec, build_id = build_of(place, {})
    looking = "ls -d /setup ~root/.cache; command -v gcc cc make pip uv; env"
    said = docker_host().client.containers.run(
        image_of(spec.name, build_id), ["sh", "-c", f"{looking}; true"], user="0", remove=True, network_mode="none"
    )
    text = said.decode()
    assert not [word for word in ("gcc", "/cc", "/make", "/pip", "/uv", "/setup", "/.cache") if word in text], text


def test_a_commit_that_starts_processes_without_end_is_contained(place: Serving) -> None:
    bomb = """
import subprocess
import sys

import pytest


def test_processes():
    children = []
    with pytest.raises(OSError):
        for _ in range(500):
            children.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]))
    assert len(children) < 256
"""
    spec, build_id = build_of(place, {"tests/test_model.py": bomb})
    report = checks.CHECKS["test"](open_installation(), spec, build_id)
    assert report["answer"] == "pass", Path(report["file"]).read_text(encoding="utf-8")
    assert jobs() == []


def test_a_commit_can_not_fill_the_scratch_folder(place: Serving) -> None:
    writing = """
import errno

import pytest


def test_writing():
    with pytest.raises(OSError) as raised:
        with open("/tmp/much", "wb", buffering=0) as file:
            for _ in range(1024):
                assert file.write(bytes(2**20)) == 2**20
        raise AssertionError("all of it could be written")
    assert raised.value.errno == errno.ENOSPC
"""
    report = checks.CHECKS["test"](open_installation(), *build_of(place, {"tests/test_model.py": writing}))
    assert report["answer"] == "pass", report


def test_output_comes_while_the_command_runs(place: Serving) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("talking")
    heard: list[float] = []
    talking = "import time\nprint('one', flush=True)\ntime.sleep(3)\nprint('two', flush=True)"

    def listen() -> None:
        wait_for(lambda: "one" in log_of(folder).read_text() if log_of(folder).exists() else False, 60, "output")
        heard.append(time.monotonic())

    listener = Thread(target=listen)
    listener.start()
    done = open_installation().engine.run(spec, build_id, ["-c", talking], writable=folder, log=log_of(folder))
    listener.join()
    assert time.monotonic() - heard[0] > 2
    assert done.output_tail == "one\ntwo\n" == log_of(folder).read_text(encoding="utf-8")


def _work(spec: ModelSpec, build_id: Any, folder: Path) -> None:
    open_installation().engine.run(
        spec, build_id, ["-c", "import time; time.sleep(600)"], writable=folder, log=log_of(folder), time_limit=600
    )


@pytest.fixture
def outside_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CTX_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def as_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow runs a task, in each of its tries."""
    for name, value in {"DAG_ID": "forest.training", "DAG_RUN_ID": "manual__1", "TASK_ID": "train"}.items():
        monkeypatch.setenv(f"AIRFLOW_CTX_{name}", value)


def test_the_next_try_of_a_killed_task_goes_on_with_its_container(
    place: Serving, as_a_task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("resumed")
    working = (
        "import pathlib, time, uuid\nme = uuid.uuid4().hex\nprint('begun', me, flush=True)\ntime.sleep(8)\n"
        f"pathlib.Path('{folder}/result').write_text(me)\nprint('done', flush=True)"
    )
    arguments = (spec, build_id, ["-c", working])
    victim = multiprocessing.get_context("spawn").Process(target=_run, args=(arguments, folder))
    victim.start()
    wait_for(lambda: jobs_that_said(b"begun"), 60, "the job")
    victim.kill()
    victim.join()
    assert sweep(docker_host()) == [], "the next try is to find it"
    (left,) = jobs_that_said(b"begun")
    me = left.logs().split()[1].decode()
    with caplog.at_level(logging.INFO, logger="include.adapters.engines.docker.job"):
        done = _run(arguments, folder)
    assert (done.code, done.output_tail) == (0, f"begun {me}\ndone\n")
    assert (folder / "result").read_text(encoding="utf-8") == me
    assert log_of(folder).read_text(encoding="utf-8") == done.output_tail
    assert "which an earlier try of this task started" in caplog.text
    assert jobs() == []


def test_a_try_that_would_start_something_else_removes_what_the_earlier_one_left(
    place: Serving, as_a_task: Any
) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("changed")
    victim = multiprocessing.get_context("spawn").Process(target=_work, args=(spec, build_id, folder))
    victim.start()
    wait_for(lambda: [job for job in jobs() if job.status == "running"], 60, "the job")
    victim.kill()
    victim.join()
    (folder / "input").write_text("not what it was", encoding="utf-8")
    done = _run((spec, build_id, ["-c", "print('other')"]), folder)
    assert done.output_tail == "other\n"
    assert jobs() == []


def _run(arguments: Any, folder: Path) -> Any:
    return open_installation().engine.run(*arguments, writable=folder, log=log_of(folder))


def test_what_a_killed_task_left_is_removed_by_the_next(place: Serving, outside_airflow: Any) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("killed")
    volumes = job_volumes()
    victim = multiprocessing.get_context("spawn").Process(target=_work, args=(spec, build_id, folder))
    victim.start()
    wait_for(lambda: [job for job in jobs() if job.status == "running"], 60, "the job")
    assert sweep(docker_host()) == [], "a job whose task lives must not be removed"
    victim.kill()
    victim.join()
    assert len(sweep(docker_host())) == 1
    assert jobs() == []
    assert job_volumes() <= volumes


def test_a_cancelled_task_removes_its_container(place: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.adapters.engines.docker import job as docker_job

    def cancelled(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(docker_job, "_await_end", cancelled)
    spec, build_id = build_of(place, {})
    folder = new_folder("cancelled")
    with pytest.raises(KeyboardInterrupt):
        _work(spec, build_id, folder)
    assert jobs() == []


def test_links_and_paths_that_lead_out_do_not_come_out(place: Serving) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("tricky")
    tricks = "import os; os.symlink('/etc/passwd', 'link'); os.mkfifo('fifo'); open('fine', 'w').write('fine')"
    done = open_installation().engine.run(
        spec, build_id, ["-c", f"import os; os.chdir({str(folder)!r}); {tricks}"], writable=folder, log=log_of(folder)
    )
    assert done.code == 0, done.output_tail
    assert sorted(path.name for path in folder.iterdir()) == ["fine"]


def test_a_job_runs_on_a_remote_host_over_tls(place: Serving, remote: Any) -> None:
    spec, build_id = build_of(place, {})
    folder = new_folder("remote")
    (folder / "in").write_text("there and back", encoding="utf-8")
    copying = f"import shutil; shutil.copy('{folder}/in', '{folder}/out'); print('copied')"
    done = open_installation().engine.run(spec, build_id, ["-c", copying], writable=folder, log=log_of(folder))
    assert (done.code, done.output_tail) == (0, "copied\n")
    assert (folder / "out").read_text(encoding="utf-8") == "there and back"
    assert remote, "it did not go over the remote connection"
