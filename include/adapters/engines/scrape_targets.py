"""Which model servers there are, for Prometheus: one file for each model and environment, read by its file discovery.

Ports and containers come and go with every release; Prometheus sees a changed file at once. No file is half written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from include.adapters.engines.contract import RunningServer
from include.core.release.release import Environment


def targets_file(folder: Path, model: str, environment: Environment) -> Path:
    """Where the servers of one model in one environment are listed."""
    return folder / f"{model}.{environment}.json"


def write_targets(folder: Path, model: str, environment: Environment, servers: Mapping[str, RunningServer]) -> None:
    """List these servers, by version, with the labels that their own figures have."""
    path = targets_file(folder, model, environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [
        {"targets": [server.address], "labels": {"model": model, "version": version, "environment": environment}}
        for version, server in sorted(servers.items())
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(temporary, path)
