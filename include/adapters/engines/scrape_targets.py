"""Lists the model servers for Prometheus' file discovery: one file per model and environment.

Ports and containers change with every release; Prometheus notices a changed file immediately. Writes are atomic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from include.adapters.engines.contract import RunningServer
from include.adapters.files import SHARED, write_atomically
from include.core.release.release import Environment


def targets_file(folder: Path, model: str, environment: Environment) -> Path:
    """The file in ``folder`` that lists the servers of one model in one environment."""
    return folder / f"{model}.{environment}.json"


def write_targets(folder: Path, model: str, environment: Environment, servers: Mapping[str, RunningServer]) -> None:
    """List these servers, by version, with the labels of their own metrics."""
    content = [
        {"targets": [server.address], "labels": {"model": model, "version": version, "environment": environment}}
        for version, server in sorted(servers.items())
    ]
    # In compose.yaml, Prometheus runs as another user.
    write_atomically(targets_file(folder, model, environment), json.dumps(content, indent=1).encode(), SHARED)
