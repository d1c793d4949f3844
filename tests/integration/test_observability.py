"""Prometheus, Alertmanager and dashboards on a really running platform, with a server, traffic and measured health.

The model ``late`` degrades for real, so that its alert fires, reaches Alertmanager, and starts its retraining once.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests

from include.embedded.monitoring import ScrapeEndpoints, alertmanager_config, prometheus_config, web_config
from include.stages.installation import open_installation
from tests.conftest import PROJECT
from tests.integration.model_bundle import TOKEN, Server, make_bundle, start_server
from tests.integration.monitored_model import MonitoredModel
from tests.support.airflow_runs import task_process
from tests.support.health_rows import incident
from tests.support.ports import free_port
from tests.support.running_platform import Platform
from tests.support.small_model import request
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.needs("prometheus", "alertmanager"),
]

DASHBOARDS = PROJECT / "include" / "observability" / "grafana" / "dashboards"
JOBS = {"prometheus", "evergreen", "gateway", "models"}
CREDENTIALS = {"Authorization": f"Bearer {TOKEN}"}


def queries() -> list[Any]:
    """Every query of every dashboard: its panels, the marks on it, and its choices."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for panel in content["panels"]:
            for number, target in enumerate(panel["targets"]):
                found.append(pytest.param(target["expr"], id=f"{content['title']}: {panel['title']} {number}"))
        for mark in content["annotations"].get("list", []):
            found.append(pytest.param(mark["expr"], id=f"{content['title']}: {mark['name']}"))
    return found


@dataclass
class Observed:
    """A platform with one model whose server answers, and the Alertmanager beside it."""

    platform: Platform
    server: Server
    monitored: MonitoredModel
    alertmanager_url: str = ""
    login: tuple[str, str] = field(default=("", ""), repr=False)

    def ask(self, path: str, **parameters: str) -> Any:
        answer = requests.get(
            f"{self.platform.prometheus_url}/api/v1/{path}", params=parameters, auth=self.login, timeout=10
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def values(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def predict(self, distance: float | None = 100.0) -> requests.Response:
        """One request through the gateway."""
        url = f"{self.platform.gateway_url}/v2/models/late/infer"
        body = request(1, distance={"data": [distance]})
        return requests.post(url, json=body, headers=CREDENTIALS, timeout=10)

    @contextlib.contextmanager
    def without_prometheus(self) -> Iterator[None]:
        """Prometheus is stopped, and started again at the end."""
        config = str(self.platform.settings.run / "supervisord.conf")
        control = [str(Path(sys.executable).parent / "supervisorctl"), "-c", config]
        subprocess.run([*control, "stop", "prometheus"], check=True, timeout=60)
        try:
            with pytest.raises(requests.ConnectionError):
                requests.get(self.platform.prometheus_url, timeout=10)
            yield
        finally:
            subprocess.run([*control, "start", "prometheus"], check=True, timeout=60)

    def runs(self, story: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.platform.ask("GET", f"dags/late.{story}/dagRuns")["dag_runs"]
        return found


@pytest.fixture(scope="module")
def observed(platform: Platform, monitored_on_platform: MonitoredModel) -> Iterator[Observed]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(model_server(platform.settings.home))
        found = Observed(
            platform, server, monitored_on_platform, login=("admin", platform.settings.secret("prometheus_password"))
        )
        found.alertmanager_url = stack.enter_context(alertmanager(found, platform.settings.home))
        run = platform.trigger("late.retraining")
        platform.wait("late.retraining", run, 120)  # skips: there is no health yet
        degrade(monitored_on_platform)
        found.predict(None)  # the first of a kind: it counts from nothing, which no rate sees
        yield found


@contextlib.contextmanager
def model_server(home: Path) -> Iterator[Server]:
    """A real server, behind the platform's gateway, and in the list that Prometheus reads."""
    from include.adapters.engines.contract import RunningServer
    from include.adapters.engines.scrape_targets import write_targets

    folder = home / "server"
    folder.mkdir()
    config = make_bundle(folder)
    config["model"]["name"] = "late"
    with start_server(folder, config, version="1") as server:
        address = server.url.removeprefix("http://")
        open_installation().gateway.split("late", address)
        write_targets(
            open_installation().settings.targets, "late", "production", {"1": RunningServer("1", address, "ready")}
        )
        yield server


def degrade(monitored: MonitoredModel) -> None:
    """One good month, two bad ones, and an incident of long ago."""
    monitored.keep_reference()
    monitored.month("2013-03")
    monitored.month("2013-04", noise=2.0)
    monitored.month("2013-05", noise=2.0)
    monitored.store.record_incident("late", incident("2012-01"))


@contextlib.contextmanager
def alertmanager(observed: Observed, home: Path) -> Iterator[str]:
    """A real Alertmanager whose only receiver is Evergreen; Prometheus is told of it."""
    here, folder, port = observed.platform.settings, home / "alertmanager", free_port()
    folder.mkdir()
    options = {
        "ALERT_RETRAIN": "true",
        "ALERT_RETRAIN_URL": f"{observed.platform.airflow_url}/evergreen/alerts",
        "ALERT_RETRAIN_USER": "admin",
        "ALERT_RETRAIN_PASSWORD": here.secret("admin_password"),
    }
    (folder / "config.yml").write_text(alertmanager_config(options), encoding="utf-8")
    (folder / "web.yml").write_text(web_config(observed.login[1]), encoding="utf-8")
    command = [
        *("prometheus-alertmanager", f"--config.file={folder / 'config.yml'}", f"--storage.path={folder}"),
        *(f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={folder / 'web.yml'}"),
        "--cluster.listen-address=",
    ]
    where = ScrapeEndpoints(
        airflow=f"127.0.0.1:{here.airflow_port}",
        gateway=f"127.0.0.1:{here.gateway_port}",
        prometheus=f"127.0.0.1:{here.prometheus_port}",
        targets=str(here.targets / "*.json"),
        rules=str(here.run / "rules" / "*.yml"),
        token_file=str(here.secrets / "prediction_token"),
        password_file=str(here.secrets / "prometheus_password"),
        seconds=5,
        alertmanager=f"127.0.0.1:{port}",
        alertmanager_password_file=str(here.secrets / "prometheus_password"),
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        (here.run / "prometheus.yml").write_text(prometheus_config(where), encoding="utf-8")
        reload_prometheus(here.run / "prometheus.yml")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def reload_prometheus(config: Path) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"--config.file={config}" in process.cmdline():
                process.send_signal(1)  # SIGHUP: read the configuration again


def test_every_job_is_up(observed: Observed) -> None:
    def up() -> bool:
        targets = observed.ask("targets", state="active")["activeTargets"]
        assert not [t for t in targets if "401" in t["lastError"]], targets
        return {t["labels"]["job"] for t in targets if t["health"] == "up"} == JOBS

    wait_for(up, 60, "Prometheus to have asked everybody")


def test_prometheus_knows_what_serves_what_was_asked_and_how_each_window_was(observed: Observed) -> None:
    observed.predict()

    def known() -> bool:
        live = {one["metric"]["version"] for one in observed.values('evergreen_live_version_info{model="late"}')}
        served = {
            one["metric"]["version"] for one in observed.values('up{job="models", environment="production"} == 1')
        }
        windows = {one["metric"]["window"] for one in observed.values("evergreen_health_window_quality")}
        asked = observed.values('sum(evergreen_requests_total{model="late", code="200"}) > 0')
        return live == served == {"1"} and {"2013-03", "2013-04", "2013-05"} <= windows and bool(asked)

    wait_for(known, 60, "Prometheus to know the model")


@pytest.mark.parametrize("expression", queries())
def test_a_panels_query_returns_data(observed: Observed, expression: Any) -> None:
    def data() -> bool:
        observed.predict()
        observed.predict(None)
        return any(sample["value"][1] != "NaN" for sample in observed.values(expression.replace("$model", "late")))

    wait_for(data, 60, f"data of {expression}")


def test_a_dashboards_choices_are_the_models(observed: Observed) -> None:
    found = observed.ask("label/model/values", **{"match[]": "evergreen_drop_allowed"})
    assert found == ["cabs", "fares", "flights", "late", "rides", "tides"]


@pytest.mark.parametrize("path", ["/", "/graph", "/metrics", "/api/v1/targets", "/-/ready", "/api/v1/status/config"])
def test_nobody_enters_prometheus_or_alertmanager_without_the_password(observed: Observed, path: str) -> None:
    for url in (observed.platform.prometheus_url, observed.alertmanager_url):
        assert requests.get(url + path, timeout=10).status_code == 401
        assert requests.get(url + path, auth=("admin", "wrong"), timeout=10).status_code == 401


def test_evergreens_routes_ask_who_is_there(observed: Observed) -> None:
    url = f"{observed.platform.airflow_url}/evergreen"
    assert requests.get(f"{url}/metrics", timeout=30).status_code == 401
    assert requests.get(f"{url}/metrics", headers={"Authorization": "Bearer wrong"}, timeout=30).status_code == 401
    assert requests.post(f"{url}/alerts", json={"alerts": []}, timeout=30).status_code == 401
    wrong = requests.post(f"{url}/alerts", json={"alerts": []}, auth=("admin", "wrong"), timeout=30)
    assert wrong.status_code == 401
    token = requests.post(f"{url}/alerts", json={"alerts": []}, headers=CREDENTIALS, timeout=30)
    assert token.status_code == 401, "who may read figures may not start runs"


def test_the_alert_fires_links_its_run_and_starts_one_training_through_the_incident(observed: Observed) -> None:
    def fired() -> list[dict[str, Any]]:
        return [a for a in observed.ask("alerts")["alerts"] if a["labels"]["alertname"] == "ModelQualityDegraded"]

    wait_for(lambda: fired() and fired()[0]["state"] == "firing", 150, "the alert")
    assert fired()[0]["labels"]["model"] == "late"
    runbook = fired()[0]["annotations"]["runbook_url"]
    assert runbook == f"{observed.platform.airflow_url}/evergreen/runbooks/ModelQualityDegraded.md"
    logged_in = {"Authorization": f"Bearer {observed.platform.token()}"}
    assert requests.get(runbook, headers=logged_in, timeout=30).text.startswith("# ModelQualityDegraded")
    assert requests.get(runbook, timeout=30).status_code == 401
    by_alert = wait_for(lambda: [r for r in observed.runs("retraining") if "alert__" in r["dag_run_id"]], 60, "its run")
    assert len(by_alert) == 1
    assert "ModelQualityDegraded" in by_alert[0]["note"]
    assert observed.platform.wait("late.retraining", by_alert[0]["dag_run_id"], 180) == "success"
    assert "incident__late-2013-05" in [run["dag_run_id"] for run in observed.runs("training")]


def test_the_same_alert_told_again_and_a_later_one_start_no_second_training(observed: Observed) -> None:
    platform = observed.platform
    url = f"{platform.airflow_url}/evergreen/alerts"
    login = ("admin", platform.settings.secret("admin_password"))

    def tell(**changes: Any) -> dict[str, str]:
        alert = {"status": "firing", "labels": {"alertname": "ModelQualityDegraded", "model": "late"}}
        alert |= {"annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "f1", **changes}
        answer = requests.post(url, json={"version": "4", "alerts": [alert]}, auth=login, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    ((key, first),) = tell().items()
    assert (first, tell()[key]) == ("started", "already exists")
    assert tell(status="resolved") == {}
    assert tell(labels={"alertname": "X", "model": "../late"}) == {}, "only models that there are"
    dag, _, run = key.partition(" ")
    assert platform.wait(dag, run, 180) == "success"
    trainings = [r["dag_run_id"] for r in observed.runs("training") if r["dag_run_id"].startswith("incident__")]
    assert trainings == ["incident__late-2013-05"]
    states = platform.ask("GET", f"dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances")["task_instances"]
    assert {t["task_id"]: t["state"] for t in states}["trigger_training"] == "skipped"


def test_a_retraining_that_is_killed_is_finished_by_its_retry_and_starts_one_training(observed: Observed) -> None:
    platform, dag = observed.platform, "late.retraining"
    for window in ("2013-06", "2013-07"):
        observed.monitored.month(window, noise=2.0)

    def tasks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = platform.ask("GET", f"dags/{dag}/dagRuns/{quote(run)}/taskInstances")[
            "task_instances"
        ]
        return found

    with contextlib.closing(sqlite3.connect(platform.settings.home / "evergreen.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")  # while this lasts, no incident can be recorded: the task is in the middle
        run = platform.trigger(dag)
        wait_for(lambda: task_process(tasks(), "trigger_training"), 120, "the task that opens the incident").kill()
    assert platform.wait(dag, run, 240) == "success"
    (killed,) = [task for task in tasks() if task["task_id"] == "trigger_training"]
    assert (killed["state"], killed["try_number"]) == ("success", 2)
    trainings = [r["dag_run_id"] for r in observed.runs("training") if r["dag_run_id"].startswith("incident__")]
    assert sorted(trainings) == ["incident__late-2013-05", "incident__late-2013-07"]


def test_while_prometheus_is_down_nothing_is_lost_and_nothing_waits_for_it(observed: Observed) -> None:
    platform, server = observed.platform, observed.server
    window, counted, logged = "2013-08", 'evergreen_requests_total{code="200"}', len(server.logged())
    with observed.without_prometheus():
        assert [observed.predict().status_code for _ in range(20)] == [200] * 20
        assert len(server.logged()) == logged + 20, "every answer is in the log"
        observed.monitored.month(window)
        run = platform.trigger("late.retraining")
        assert platform.wait("late.retraining", run, 120) == "success"
        health = observed.monitored.health(window)
        assert (health.status, health.predictions, health.rows) == ("complete", 300, 300)
        page = requests.get(f"{platform.airflow_url}/evergreen/metrics", headers=CREDENTIALS, timeout=30)
        assert f'evergreen_health_window_quality{{model="late",window="{window}"}}' in page.text

    def caught_up() -> bool:
        with contextlib.suppress(requests.ConnectionError):  # it starts
            measured = observed.values(f'evergreen_health_window_quality{{window="{window}"}}')
            requests_seen = observed.values('evergreen_requests_total{model="late",code="200"}')
            return bool(measured) and [float(s["value"][1]) for s in requests_seen] == [server.count(counted)]
        return False

    wait_for(caught_up, 60, "Prometheus to know what happened while it was down")
