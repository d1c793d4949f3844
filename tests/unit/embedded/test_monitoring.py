"""What Prometheus and Alertmanager are told, as their own programs judge it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from include.core.errors import PlatformError
from include.embedded.compose import MONITORING, configure_monitoring, write_env
from include.embedded.monitoring import RULES, alertmanager_config, configure_prometheus, web_config
from include.embedded.platform import make_secrets
from include.settings import PROJECT, Settings

MAIL = {"ALERT_EMAIL_TO": "a@example.org", "ALERT_EMAIL_FROM": "b@example.org", "ALERT_SMTP_HOST": "127.0.0.1:25"}
SLACK = {"ALERT_SLACK_URL": "http://127.0.0.1:1/slack"}
HOOK = {"ALERT_WEBHOOK_URL": "http://127.0.0.1:1/hook"}
RETRAIN = {
    "ALERT_RETRAIN": "true",
    "ALERT_RETRAIN_URL": "http://127.0.0.1:1/evergreen/alerts",
    "ALERT_RETRAIN_PASSWORD": "secret",
}


def checked(program: str, *arguments: str | Path) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def config_of(**options: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(alertmanager_config(options))
    return content


@pytest.fixture
def here(tmp_path: Path) -> Any:
    found = Settings(home=tmp_path / "home", prometheus="sh")  # any program: it is not started here
    for folder in (found.secrets, found.run):
        folder.mkdir(parents=True)
    make_secrets(found)
    return found


@pytest.mark.needs("promtool")
def test_prometheus_takes_its_configuration_its_rules_and_its_password(here: Any) -> None:
    configure_prometheus(here)
    checked("promtool", "check", "config", here.run / "prometheus.yml")
    checked("promtool", "check", "web-config", here.run / "prometheus-web.yml")


def links(folder: Path) -> set[str]:
    """The runbooks that the rules in this folder link to."""
    groups = [group for path in folder.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}


NAMES = {path.name for path in (PROJECT / "docs" / "runbooks").glob("*.md")}


def test_alerts_link_to_runbooks_by_absolute_addresses(here: Any) -> None:
    """A path of the repository is dead in a mail or a chat."""
    configure_prometheus(here)
    assert links(here.run / "rules") == {f"http://127.0.0.1:8080/evergreen/runbooks/{name}" for name in NAMES}


def test_a_setting_says_where_the_runbooks_are(here: Any) -> None:
    configure_prometheus(replace(here, runbooks_url="https://git.example.test/blob/main/a#b: c/"))
    assert links(here.run / "rules") == {f"https://git.example.test/blob/main/a#b: c/{name}" for name in NAMES}


def test_in_containers_they_are_at_the_address_of_the_web_ui(for_compose: Path) -> None:
    assert links(for_compose / "prometheus" / "rules") == {
        f"https://airflow.example.test/evergreen/runbooks/{name}" for name in NAMES
    }


def test_apart_from_their_links_the_rules_are_those_of_the_repository(here: Any) -> None:
    configure_prometheus(here)
    for path in RULES.glob("*.yml"):
        own, written = path.read_text().splitlines(), (here.run / "rules" / path.name).read_text().splitlines()
        assert [a for a, b in zip(own, written, strict=True) if a != b] == [a for a in own if "runbook_url:" in a]


def test_every_job_says_who_asks(here: Any) -> None:
    configure_prometheus(here)
    for job in yaml.safe_load((here.run / "prometheus.yml").read_text())["scrape_configs"]:
        assert "authorization" in job or "basic_auth" in job, job["job_name"]


def test_no_secret_stands_in_what_prometheus_is_told(here: Any) -> None:
    configure_prometheus(here)
    for name in ("prometheus.yml", "prometheus-web.yml"):
        path = here.run / name
        assert path.stat().st_mode & 0o077 == 0
        for secret in ("prometheus_password", "prediction_token"):
            assert here.secret(secret) not in path.read_text()


def test_a_program_that_is_not_there_is_named_with_the_remedy(here: Any) -> None:
    with pytest.raises(
        PlatformError, match=r"EVERGREEN_PROMETHEUS='no-such-program' is not an executable on PATH\. Install it"
    ):
        configure_prometheus(replace(here, prometheus="no-such-program"))


def test_without_the_setting_nothing_is_written(here: Any) -> None:
    configure_prometheus(replace(here, prometheus=""))
    assert list(here.run.iterdir()) == []


@pytest.mark.needs("amtool")
@pytest.mark.parametrize(
    "options", [{}, HOOK, SLACK, MAIL, RETRAIN, {**HOOK, **SLACK, **MAIL, **RETRAIN}],
    ids=["nobody", "webhook", "slack", "mail", "retraining", "all"],
)  # fmt: skip
def test_alertmanager_takes_every_choice_of_receivers(options: Any, tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager_config(options), encoding="utf-8")
    checked("amtool", "check-config", path)


@pytest.mark.needs("amtool")
@pytest.mark.parametrize(
    "labels, receivers",
    [
        (["alertname=ModelQualityDegraded", "model=flights", "retrain=true"], "retraining,people"),
        (["alertname=TargetDown"], "people"),
    ],
)
def test_an_alert_reaches_people_and_a_retraining_only_if_it_asks_for_one(
    labels: Any, receivers: str, tmp_path: Path
) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager_config({**HOOK, **RETRAIN}), encoding="utf-8")
    arguments = ["config", "routes", "test", f"--config.file={path}", f"--verify.receivers={receivers}", *labels]
    checked("amtool", *arguments)


def test_without_receivers_alerts_are_only_shown() -> None:
    assert config_of()["receivers"] == [{"name": "people"}]


def test_mail_that_lacks_its_server_is_refused_with_the_names_to_set() -> None:
    with pytest.raises(PlatformError, match="ALERT_EMAIL_TO also needs ALERT_SMTP_HOST and ALERT_EMAIL_FROM"):
        alertmanager_config({"ALERT_EMAIL_TO": "a@example.org"})


def test_the_password_of_the_pages_is_kept_as_a_hash_only() -> None:
    assert "the-password" not in web_config("the-password")
    assert yaml.safe_load(web_config("x"))["basic_auth_users"]["admin"].startswith("$2")


@pytest.fixture
def for_compose(tmp_path: Path) -> Path:
    """What airflow-init writes for the containers."""
    file = tmp_path / "env"
    write_env(file)
    values = {name: value or "" for name, value in dotenv_values(file).items()}
    configure_monitoring(Settings(home=tmp_path), {**values, "AIRFLOW__API__BASE_URL": "https://airflow.example.test"})
    return tmp_path / "monitoring"


@pytest.mark.needs("promtool", "amtool")
def test_the_programs_take_what_airflow_init_writes_for_the_containers(for_compose: Path, tmp_path: Path) -> None:
    """promtool wants the files that are named to be there: here at their places outside of the containers."""
    config = (for_compose / "prometheus" / "prometheus.yml").read_text()
    config = config.replace(f"{MONITORING}-targets", str(tmp_path / "targets"))
    config = config.replace(MONITORING, str(for_compose / "prometheus"))
    (tmp_path / "prometheus.yml").write_text(config, encoding="utf-8")
    checked("promtool", "check", "config", tmp_path / "prometheus.yml")
    for name in ("prometheus", "alertmanager"):
        checked("promtool", "check", "web-config", for_compose / name / "web.yml")
    checked("amtool", "check-config", for_compose / "alertmanager" / "alertmanager.yml")


def test_only_the_group_of_the_containers_may_read_it(for_compose: Path) -> None:
    for path in for_compose.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
