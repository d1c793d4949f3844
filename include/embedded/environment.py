"""The environment of the embedded platform's processes: Airflow's settings, in one place."""

from __future__ import annotations

import json
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
INHERITED_PREFIXES = ("EVERGREEN_", "UV_", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__", "AWS_", "GOOGLE_")

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
PARSING = {
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
        [{"name": "dags-folder", "classpath": "evergreen.models_bundle.ModelsBundle", "kwargs": {}}]
    ),
    # How often the bundle looks whether a parse is due, and how often Airflow parses a file that nothing asks for.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    # The bundle requests the same files twice this long after each other, or later.
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "10",
}
"""Dag files are parsed when what they read has changed (docs/decisions/0047-parse-on-change.md); compose.yaml has the
same."""
CELERY = {
    "AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": "include.embedded.celery_config.CELERY_CONFIG",
    # A task that can't be sent is sent again in the scheduler's next round, which is held up for so many seconds; for
    # a quarter of an hour.
    "AIRFLOW__CELERY__OPERATION_TIMEOUT": "3.0",
    "AIRFLOW__CELERY__TASK_PUBLISH_MAX_RETRIES": "300",
    # Messages of a worker that died are sent again only after the longest run; its tasks are given back before that
    # (celery_config), and a second start of the same try is refused.
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    # No bundle here has versions to clean up; the process that would is left behind by a worker that is killed.
    "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL": "0",
}
"""How scheduler and workers use the broker; compose.yaml has the same."""
_FIXED = "Evergreen's platform sets it; remove it"
OWNED = {
    "AIRFLOW__CORE__EXECUTOR": "set EVERGREEN_PLATFORM=celery for CeleryExecutor, or local for LocalExecutor",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "set EVERGREEN_PLATFORM=celery and EVERGREEN_DATABASE_URL",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": "set EVERGREEN_PLATFORM=celery and EVERGREEN_DATABASE_URL",
    "AIRFLOW__CELERY__BROKER_URL": "set EVERGREEN_PLATFORM=celery and EVERGREEN_BROKER_URL",
    "AIRFLOW__CELERY__RESULT_BACKEND": "set EVERGREEN_PLATFORM=celery and EVERGREEN_DATABASE_URL",
    "AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": _FIXED,
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "set EVERGREEN_WORKERS",
    "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "set EVERGREEN_WORKERS, whose queues are 'default' and 'training'",
    "AIRFLOW__CORE__DAGS_FOLDER": _FIXED,
    "AIRFLOW__CORE__PLUGINS_FOLDER": _FIXED,
    "AIRFLOW__CORE__AUTH_MANAGER": _FIXED,
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": _FIXED,
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": _FIXED,
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "set EVERGREEN_AIRFLOW_PORT",
    "AIRFLOW__CORE__FERNET_KEY": "write it to secrets/fernet_key in EVERGREEN_HOME",
    "AIRFLOW__API__HOST": "put a reverse proxy in front of the web UI",
    "AIRFLOW__API__PORT": "set EVERGREEN_AIRFLOW_PORT",
    "AIRFLOW__API__BASE_URL": "set EVERGREEN_AIRFLOW_PORT",
    "AIRFLOW__API__SECRET_KEY": "write it to secrets/api_secret_key in EVERGREEN_HOME",
    "AIRFLOW__API_AUTH__JWT_SECRET": "write it to secrets/jwt_secret in EVERGREEN_HOME",
}
"""Settings of Airflow that only Evergreen sets, and what to set instead; all others are passed on."""


def airflow_environment(settings: Settings) -> dict[str, str]:
    """The environment of every process of the platform; it inherits only INHERITED and INHERITED_PREFIXES."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or (name.startswith(INHERITED_PREFIXES) and not owned(name))
    }
    chosen = {name: value for name, value in inherited.items() if name.startswith("AIRFLOW__")}
    return {**inherited, **_own(settings, inherited), **chosen}


def owned(name: str) -> str:
    """What to set instead of this variable if only Evergreen sets it, in any of the forms that Airflow reads."""
    return OWNED.get(name.removesuffix("_CMD").removesuffix("_SECRET"), "") or OWNED.get(name, "")


def refused_variables(settings: Settings) -> list[str]:
    """One message for each variable of Airflow that Evergreen can't honour."""
    ours = airflow_environment(settings)
    return [
        f"{name} can't be set on this platform: {owned(name)}."
        for name, value in sorted(os.environ.items())
        if owned(name) and ours.get(name) != value
    ]


def _own(settings: Settings, inherited: dict[str, str]) -> dict[str, str]:
    """What the platform sets by itself."""
    home = settings.home
    airflow = f"http://127.0.0.1:{settings.airflow_port}"
    return {
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
        **_execution(settings),
        "AIRFLOW__CORE__FERNET_KEY": settings.secret("fernet_key"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.secrets / "airflow_passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": settings.airflow_database,
        # A compromise (docs/decisions/0045-idle-platform.md): each wait between tasks has half of it on average, and
        # each round of an idle scheduler takes some 15 ms of a processor. Default: 1.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        **PARSING,
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        # The callback of a failed run, which notifies people, counts as parsing; on a busy machine, its first question
        # to Airflow took more than a minute, and the default of 50 s ended it.
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        # Reading a file with the Dags of a thousand models takes longer than the default of 30 s: there would be none.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "240",
        # Airflow 3.3.2 may notice the end of a failed or skipped task up to this many seconds late (default 5).
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        **PATIENCE,
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "include.embedded.airflow_logging.LOGGING_CONFIG",
        # While an event waits for a paused Dag, the scheduler says so in each of its rounds (50 MB a day), and the Dag
        # processor says two things of each Dag that it stores: that would push everything else out of their logs.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
            "airflow.models.dag=WARNING airflow.serialization.definitions.dag=WARNING"
        ),
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


def _execution(settings: Settings) -> dict[str, str]:
    """What runs tasks, and how many at once."""
    if settings.platform == "local":
        return {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__CORE__PARALLELISM": "6"}
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": settings.broker_url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{settings.airflow_database}",
        **CELERY,
    }


def enter_airflow(settings: Settings) -> None:
    """Let this process ask Airflow for connections; without this environment, Airflow would create another home."""
    os.environ.update(airflow_environment(settings))
    del os.environ[INSTANCE]  # it only marks processes that the platform starts
