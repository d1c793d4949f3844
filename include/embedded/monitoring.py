"""Configuration of Prometheus and Alertmanager, for the embedded platform and for compose.yaml.

The embedded platform starts Prometheus only if ``EVERGREEN_PROMETHEUS`` names its executable; the rest works without.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml

from include.adapters.files import write_private
from include.core.errors import PlatformError
from include.core.json_types import JsonObject
from include.embedded.gateway_config import hashed
from include.settings import PROJECT, Settings

RULES = PROJECT / "include" / "observability" / "rules"
USER = "admin"
"""The user name for Prometheus' and Alertmanager's own pages."""


@dataclass(frozen=True)
class ScrapeEndpoints:
    """The addresses that Prometheus scrapes, and the files with its credentials, targets and rules."""

    airflow: str
    gateway: str
    prometheus: str
    targets: str
    rules: str
    token_file: str
    password_file: str
    seconds: int = 15
    alertmanager: str = ""
    alertmanager_password_file: str = ""


def prometheus_config(endpoints: ScrapeEndpoints) -> str:
    """Prometheus' configuration: four scrape jobs with their credentials, and the alert rules."""
    token = {"credentials_file": endpoints.token_file}
    config: JsonObject = {
        "global": {"scrape_interval": f"{endpoints.seconds}s", "evaluation_interval": f"{endpoints.seconds}s"},
        "rule_files": [endpoints.rules],
        "scrape_configs": [
            {
                "job_name": "prometheus",
                "basic_auth": {"username": USER, "password_file": endpoints.password_file},
                "static_configs": [{"targets": [endpoints.prometheus]}],
            },
            {
                "job_name": "evergreen",
                "metrics_path": "/evergreen/metrics",
                "honor_labels": True,
                "authorization": token,
                "static_configs": [{"targets": [endpoints.airflow]}],
            },
            {"job_name": "gateway", "authorization": token, "static_configs": [{"targets": [endpoints.gateway]}]},
            {
                "job_name": "models",
                "honor_labels": True,
                "authorization": token,
                "file_sd_configs": [{"files": [endpoints.targets], "refresh_interval": "1m"}],
            },
        ],
    }
    if endpoints.alertmanager:
        login = {"username": USER, "password_file": endpoints.alertmanager_password_file}
        manager = {"basic_auth": login, "static_configs": [{"targets": [endpoints.alertmanager]}]}
        config["alerting"] = {"alertmanagers": [manager]}
    return yaml.safe_dump(config, sort_keys=False)


def alert_rules(settings: Settings, airflow_url: str) -> dict[str, str]:
    """File name → alert rules, whose links to runbooks work from a mail or a chat.

    They begin with ``EVERGREEN_RUNBOOKS_URL``, by default the pages that the web UI at ``airflow_url`` serves.
    """
    base = (settings.runbooks_url or f"{airflow_url.rstrip('/')}/evergreen/runbooks").rstrip("/")
    return {path.name: _with_links(path.read_text(encoding="utf-8"), base) for path in sorted(RULES.glob("*.yml"))}


def _with_links(rules: str, base: str) -> str:
    link = re.compile(r"(?m)^( *runbook_url: )docs/runbooks/(\w+\.md)$")
    return link.sub(lambda found: found[1] + json.dumps(f"{base}/{found[2]}"), rules)


def web_config(password: str) -> str:
    """The web configuration that makes Prometheus and Alertmanager require a password on every route."""
    return yaml.safe_dump({"basic_auth_users": {USER: hashed(password)}})


def alertmanager_config(options: Mapping[str, str]) -> str:
    """Alertmanager's configuration from the ``ALERT_*`` lines of .env.compose; only receivers named there are notified.

    With ``ALERT_RETRAIN=true``, an alert with the label ``retrain`` also starts ``<model>.retraining``, as an Airflow
    user with that permission. Raises PlatformError when ALERT_EMAIL_TO is set without what it needs.
    """
    text = (
        "{{ range .Alerts }}{{ .Annotations.summary }}. {{ .Annotations.description }}\n"
        "{{ .Annotations.runbook_url }} {{ .Annotations.run_url }}\n{{ end }}"
    )
    people: JsonObject = {"name": "people"}
    config: JsonObject = {"global": {}}
    if options.get("ALERT_WEBHOOK_URL"):
        people["webhook_configs"] = [{"url": options["ALERT_WEBHOOK_URL"]}]
    if options.get("ALERT_SLACK_URL"):
        slack = {"api_url": options["ALERT_SLACK_URL"], "send_resolved": True, "text": text}
        people["slack_configs"] = [{**slack, "title": "{{ .Status }}: {{ .CommonLabels.alertname }}"}]
    if options.get("ALERT_EMAIL_TO"):
        config["global"] = _mail(options)
        people["email_configs"] = [{"to": options["ALERT_EMAIL_TO"], "send_resolved": True, "text": text}]
    routes: list[JsonObject] = [{"receiver": "people"}]
    receivers = [people]
    if options.get("ALERT_RETRAIN", "").lower() == "true":
        retrain = {"receiver": "retraining", "matchers": ['retrain="true"'], "group_wait": "0s", "continue": True}
        routes.insert(0, retrain)
        user = options.get("ALERT_RETRAIN_USER") or "alertmanager"
        login = {"username": user, "password": options["ALERT_RETRAIN_PASSWORD"]}
        hook = {"url": options["ALERT_RETRAIN_URL"], "send_resolved": False, "http_config": {"basic_auth": login}}
        receivers.append({"name": "retraining", "webhook_configs": [hook]})
    config["route"] = {"receiver": "people", "group_by": ["alertname", "model"], "routes": routes}
    return yaml.safe_dump({**config, "receivers": receivers}, sort_keys=False)


def _mail(options: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in ("ALERT_SMTP_HOST", "ALERT_EMAIL_FROM") if not options.get(name)]
    if missing:
        raise PlatformError(f"ALERT_EMAIL_TO also needs {' and '.join(missing)}. Set them in .env.compose.")
    mail = {"smtp_smarthost": options["ALERT_SMTP_HOST"], "smtp_from": options["ALERT_EMAIL_FROM"]}
    if options.get("ALERT_SMTP_USER"):
        mail |= {"smtp_auth_username": options["ALERT_SMTP_USER"]}
        mail |= {"smtp_auth_password": options.get("ALERT_SMTP_PASSWORD", "")}
    return mail


def prometheus_command(settings: Settings) -> str:
    """The command line with which supervisord starts Prometheus."""
    options = {
        "config.file": settings.run / "prometheus.yml",
        "web.config.file": settings.run / "prometheus-web.yml",
        "web.listen-address": f"127.0.0.1:{settings.prometheus_port}",
        "storage.tsdb.path": settings.home / "prometheus",
        "storage.tsdb.retention.time": "90d",
        "log.level": "warn",
    }
    program = shutil.which(settings.prometheus) or settings.prometheus
    return shlex.join([program, *(f"--{name}={value}" for name, value in options.items())])


def configure_prometheus(settings: Settings) -> None:
    """Write the configuration of the embedded platform's Prometheus, if it has one.

    Raises PlatformError when ``EVERGREEN_PROMETHEUS`` does not name an executable.
    """
    if not settings.prometheus:
        return
    if shutil.which(settings.prometheus) is None:
        raise PlatformError(
            f"EVERGREEN_PROMETHEUS={settings.prometheus!r} is not an executable on PATH. Install it (on Debian: apt "
            "install --no-install-recommends prometheus), set its full path, or unset the variable."
        )
    settings.targets.mkdir(parents=True, exist_ok=True)
    folder = settings.run / "rules"
    folder.mkdir(exist_ok=True)
    for name, rules in alert_rules(settings, f"http://127.0.0.1:{settings.airflow_port}").items():
        write_private(folder / name, rules)
    endpoints = ScrapeEndpoints(
        airflow=f"127.0.0.1:{settings.airflow_port}",
        gateway=f"127.0.0.1:{settings.gateway_port}",
        prometheus=f"127.0.0.1:{settings.prometheus_port}",
        targets=str(settings.targets / "*.json"),
        rules=str(folder / "*.yml"),
        token_file=str(settings.secrets / "prediction_token"),
        password_file=str(settings.secrets / "prometheus_password"),
        seconds=5,  # a year passes in minutes in the demo
    )
    write_private(settings.run / "prometheus.yml", prometheus_config(endpoints))
    write_private(settings.run / "prometheus-web.yml", web_config(settings.secret("prometheus_password")))


def prometheus_problem(settings: Settings) -> str | None:
    """The problem of the embedded platform's Prometheus, or None when it is healthy."""
    login = base64.b64encode(f"{USER}:{settings.secret('prometheus_password')}".encode()).decode()
    url = f"http://127.0.0.1:{settings.prometheus_port}/-/ready"
    try:
        with urlopen(Request(url, headers={"Authorization": f"Basic {login}"}), timeout=3):
            return None
    except (OSError, URLError) as error:
        return f"does not answer ({error})"
