"""The environment of the embedded platform's processes: Airflow's settings, in one place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from include.settings import PROJECT, Settings

INSTANCE = "EVERGREEN_INSTANCE"
"""Identifies the installation in the environment of each of its processes, so that 'down' can find them."""
INHERITED = (
    *("HOME", "PATH", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
INHERITED_PREFIXES = ("EVERGREEN_", "UV_", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "AWS_", "GOOGLE_")

PATIENCE = {
    # A request that takes longer would be sent again, and a task's second start ends its own try.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    # About ten minutes: each attempt waits between 1 and 10 s.
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "120",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
    # The scheduler must not give up a task that can't report, nor its token expire meanwhile (default: 5 and 10 min).
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "900",
    "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "3600",
    # Seconds until the tasks of a scheduler that was killed are taken over (default: up to 300).
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
}
"""With these settings, running tasks survive ten minutes without the api-server, and a killed scheduler; compose.yaml
has the same."""


def airflow_environment(settings: Settings) -> dict[str, str]:
    """The environment of every process of the platform; it inherits only INHERITED and INHERITED_PREFIXES."""
    home = settings.home
    inherited = {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    airflow = f"http://127.0.0.1:{settings.airflow_port}"
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{inherited.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
        "PYTHONUNBUFFERED": "1",
        "EVERGREEN_HOME": str(home),
        "EVERGREEN_ENGINE": settings.engine,
        INSTANCE: str(home),
        # Airflow changes its process titles; without this, that overwrites the environment that other processes see.
        "SPT_NOENV": "1",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        # As glob patterns, Airflow 3.3.2 reads them with a deprecated class, and each task's log has the warning: its
        # task runner does so whatever this setting says.
        "AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX": "regexp",
        "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "6",
        "AIRFLOW__CORE__FERNET_KEY": settings.secret("fernet_key"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.secrets / "airflow_passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        # Seconds to wait for the write lock; SQLite's default of 5 is too short for a slow disk.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow' / 'airflow.db'}?timeout=20",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        # The callback of a failed run, which notifies people, counts as parsing; on a busy machine, its first question
        # to Airflow took more than a minute, and the default of 50 s ended it.
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        # Airflow 3.3.2 may notice the end of a failed or skipped task up to this many seconds late (default 5).
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        **PATIENCE,
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "include.embedded.airflow_logging.LOGGING_CONFIG",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": airflow,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": settings.secret("api_secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": settings.secret("jwt_secret"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": str(os.cpu_count() or 1),
        # Idle threads sleep; if they spun, they would slow down all processes, including their own.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def enter_airflow(settings: Settings) -> None:
    """Let this process ask Airflow for connections; without this environment, Airflow would create another home."""
    os.environ.update(airflow_environment(settings))
    del os.environ[INSTANCE]  # it only marks processes that the platform starts
