"""``python -m include.embedded.compose env|init``: prepares what compose.yaml needs apart from containers.

``env`` (``make compose-env``) writes the secrets to .env.compose. ``init`` runs in the container airflow-init each time
the platform starts: databases, settings, administrator, and the gateway's configuration. Both are idempotent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from include.adapters.files import write_private
from include.embedded.gateway_config import gateway_config, hashed, with_model_routes
from include.embedded.monitoring import ScrapeEndpoints, alert_rules, alertmanager_config, prometheus_config, web_config
from include.embedded.platform import SECRETS, new_secret
from include.settings import PROJECT, Settings

ENV_FILE = PROJECT / ".env.compose"
DATABASE_URLS = (
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "CELERY_RESULT_URL",
    "EVERGREEN_MLFLOW_URL",
    "EVERGREEN_STORE_URL",
)
COMPOSE_SECRETS = (
    *SECRETS,
    *("postgres_password", "airflow_db_password", "celery_db_password", "mlflow_db_password", "evergreen_db_password"),
    *("redis_password", "grafana_password", "alertmanager_password", "alert_retrain_password"),
)
OPTIONS = (
    *("ALERT_WEBHOOK_URL", "ALERT_SLACK_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM"),
    *("ALERT_SMTP_HOST", "ALERT_SMTP_USER", "ALERT_SMTP_PASSWORD", "ALERT_RETRAIN"),
    "EVERGREEN_RUNBOOKS_URL",
)
"""Who receives alerts, whether they may start a retraining, where they link to; empty until filled in by hand."""
PERMISSIONS = (("can_create", "DAG Runs"), ("can_edit", "DAGs"))
"""The only permissions of the Airflow user ``alertmanager``: to start runs."""
FOLDERS = ("lake", "repositories", "secrets", "tmp", "mlflow/artifacts", "run/gateway")
MONITORING = "/etc/evergreen"
"""Where the containers of Prometheus and Alertmanager mount their configuration."""


def write_env(path: Path = ENV_FILE, socket: Path = Path("/var/run/docker.sock")) -> list[str]:
    """Add the missing variables and return their names; existing values are kept. Only the owner may read the file."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Secrets of compose.yaml. Never commit this file.\n"
    wanted = {name.upper(): new_secret(name) for name in COMPOSE_SECRETS}
    if socket.exists():
        wanted["DOCKER_GID"] = str(socket.stat().st_gid)
    known = dotenv_values(path) if path.exists() else {}
    missing = {name: value for name, value in wanted.items() if not known.get(name)}
    missing |= {name: "" for name in OPTIONS if name not in known}
    separator = "" if text.endswith("\n") else "\n"
    write_private(path, text + separator + "".join(f"{name}={value}\n" for name, value in missing.items()))
    return list(missing)


def initialize(settings: Settings) -> None:
    """Create or update the databases, Airflow's settings and users, and the configurations of the services."""
    from include.adapters.store import Store
    from include.embedded import airflow_settings, mlflow_database

    os.umask(0o077)
    make_databases(os.environ["POSTGRES_URL"], [os.environ[name] for name in DATABASE_URLS])
    airflow_settings.main()
    make_users(os.environ["ADMIN_PASSWORD"], os.environ["ALERT_RETRAIN_PASSWORD"])
    mlflow_database.upgrade(settings.mlflow)
    Store(settings.store).create_tables()
    configure_gateway(settings, os.environ["PREDICTION_TOKEN"], os.environ["MLFLOW_PASSWORD"])
    configure_monitoring(settings, os.environ)


def make_databases(admin_url: str, urls: Sequence[str]) -> None:
    """Create a role and a database for each URL, and set the role's password to the URL's."""
    import psycopg2
    from psycopg2.sql import SQL, Identifier, Literal
    from sqlalchemy.engine import make_url

    with contextlib.closing(psycopg2.connect(admin_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for url in map(make_url, urls):
            role, database = Identifier(url.username or ""), Identifier(url.database or "")
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [url.username])
            verb = SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, Literal(url.password)))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [url.database])
            if not cursor.fetchone():
                cursor.execute(SQL("CREATE DATABASE {} OWNER {}").format(database, role))
            cursor.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))


def make_users(admin_password: str, alerts_password: str) -> None:
    """Create Airflow's administrator, unless there is one: a password that was changed in the web UI is kept.

    Also create the user ``alertmanager`` with this password; it may start runs and nothing else.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        users = builder.sm
        if users.find_user("admin") is None:
            users.add_user("admin", "Evergreen", "Admin", "admin@localhost", users.find_role("Admin"), admin_password)
        role = users.add_role("Alerts")
        for action, resource in PERMISSIONS:
            users.add_permission_to_role(role, users.create_permission(action, resource))
        alerts = users.find_user("alertmanager")
        if alerts is None:
            users.add_user("alertmanager", "Evergreen", "Alerts", "alerts@localhost", role, alerts_password)
        else:
            users.reset_password(alerts.id, alerts_password)


def configure_gateway(settings: Settings, token: str, mlflow_password: str) -> None:
    """Write the prediction token and Caddy's initial configuration; routes of models that already serve are kept."""
    for folder in FOLDERS:
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    write_private(settings.secrets / "prediction_token", token)
    file = settings.run / "caddy.json"
    config = gateway_config(settings, hashed(mlflow_password), host="", mlflow="mlflow:5000")
    if file.exists():
        config = with_model_routes(config, json.loads(file.read_text(encoding="utf-8")))
    write_private(file, json.dumps(config, indent=1))


def configure_monitoring(settings: Settings, values: Mapping[str, str]) -> None:
    """Write the configuration and secrets of Prometheus and Alertmanager: one folder each, readable by their group."""
    options = {**values, "ALERT_RETRAIN_URL": "http://airflow-api-server:8080/evergreen/alerts"}
    endpoints = ScrapeEndpoints(
        airflow="airflow-api-server:8080",
        gateway="gateway:8000",
        prometheus="127.0.0.1:9090",
        targets=f"{MONITORING}-targets/*.json",
        rules=f"{MONITORING}/rules/*.yml",
        token_file=f"{MONITORING}/token",
        password_file=f"{MONITORING}/password",
        alertmanager="alertmanager:9093",
        alertmanager_password_file=f"{MONITORING}/alertmanager_password",
    )
    files = {
        "prometheus/prometheus.yml": prometheus_config(endpoints),
        "prometheus/web.yml": web_config(values["PROMETHEUS_PASSWORD"]),
        "prometheus/token": values["PREDICTION_TOKEN"],
        "prometheus/password": values["PROMETHEUS_PASSWORD"],
        "prometheus/alertmanager_password": values["ALERTMANAGER_PASSWORD"],
        "alertmanager/alertmanager.yml": alertmanager_config(options),
        "alertmanager/web.yml": web_config(values["ALERTMANAGER_PASSWORD"]),
    }
    rules = alert_rules(settings, values.get("AIRFLOW__API__BASE_URL") or "http://127.0.0.1:8080")
    files |= {f"prometheus/rules/{name}": content for name, content in rules.items()}
    for name, content in files.items():
        path = settings.home / "monitoring" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o750)
        write_private(path, content)
        path.chmod(0o640)
    settings.targets.mkdir(exist_ok=True)
    settings.targets.chmod(0o750)


def reconcile() -> None:
    """Reconcile all models; exits with the problems, if there are any."""
    from include.stages.installation import open_installation
    from include.stages.reconciler import reconcile_all

    problems = reconcile_all(open_installation())
    if problems:
        sys.exit("\n".join(problems))


def main(arguments: Sequence[str]) -> None:
    """``env`` adds what is missing to .env.compose; ``init`` prepares what the services need.

    ``reconcile`` starts and routes what the releases say; exit code 1 if that was not possible for a model.
    """
    parser = argparse.ArgumentParser(prog="python -m include.embedded.compose", description=__doc__)
    parser.add_argument("command", choices=["env", "init", "reconcile"])
    command = parser.parse_args(arguments).command
    if command == "init":
        return initialize(Settings.from_environment())
    if command == "reconcile":
        return reconcile()
    added = write_env()
    print(f"{ENV_FILE.name}: {'added ' + ', '.join(added) if added else 'complete'}")
    print(f"start the platform: docker compose --env-file {ENV_FILE.name} up --build --detach")
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
