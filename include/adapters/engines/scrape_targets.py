"""Which model servers there are, for Prometheus: one file for each model and environment, read by its file discovery.

Ports and containers come and go with every release; Prometheus sees a changed file at once. No file is half written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from include.adapters.engines.contract import RunningServer
from include.adapters.files import SHARED, write_atomically
from include.core.release.release import Environment


def targets_file(folder: Path, model: str, environment: Environment) -> Path:
    """Where in ``folder`` the servers of one model in one environment are listed."""
    return folder / f"{model}.{environment}.json"


def write_targets(folder: Path, model: str, environment: Environment, servers: Mapping[str, RunningServer]) -> None:
    """List these servers, by version, with the labels that their own figures have."""
    content = [
        {"targets": [server.address], "labels": {"model": model, "version": version, "environment": environment}}
        for version, server in sorted(servers.items())
    ]
    # In compose.yaml Prometheus is another user.
    write_atomically(targets_file(folder, model, environment), json.dumps(content, indent=1).encode(), SHARED)
