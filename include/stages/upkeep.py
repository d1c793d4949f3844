"""Keeps what serves as desired between deployments: finds what differs and restarts servers that do not respond.

One :class:`Upkeep` is asked every few seconds, so each round is cheap: it reads the releases, asks each server whether
it is ready, and reads the gateway's routes. What differs is left to the reconciler.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from include.adapters.engines.contract import RunningServer
from include.adapters.spec_file import load_spec
from include.core.errors import EvergreenError
from include.core.release.release import Environment
from include.core.release.server_figures import ServerFigures
from include.core.release.traffic import traffic
from include.core.spec import ModelSpec
from include.stages.installation import Installation
from include.stages.reconciler import mend_routes
from include.stages.verification import client_of

log = logging.getLogger(__name__)

SILENT_ROUNDS = 4
"""A server that was ready and then did not respond in this many rounds in a row is restarted."""
STARTING_ROUNDS = 30
"""The same for one that has not been ready yet."""

TRAFFIC_SECONDS = 60.0
"""The requests to production are counted this often."""

Server = tuple[str, Environment, str]


@dataclass
class Upkeep:
    """Remembers how often in a row each server did not respond."""

    installation: Installation
    silent: dict[Server, int] = field(default_factory=dict)
    was_ready: set[Server] = field(default_factory=set)
    counted: dict[str, tuple[float, Mapping[str, ServerFigures]]] = field(default_factory=dict)
    """Model → when the counters of its production servers were read last (monotonic), and what they said."""

    def round(self) -> list[str]:
        """Look at everything once; returns what must be reconciled, as ``<model> (<environment>)``.

        A model whose release or specification can't be read is logged, and holds up no other.
        """
        different = []
        for model, environment in self.installation.store.released():
            try:
                spec = load_spec(self.installation.settings.models / model / "model.yaml")
                self.installation.engine.restore_files(spec, environment)
                servers = self.installation.engine.servers(model, environment)
                self._restart_silent(model, environment, servers)
                if mend_routes(self.installation, spec, environment):
                    different.append(f"{model} ({environment})")
                if environment == "production":
                    self._count_traffic(spec, servers)
            except EvergreenError as error:
                log.warning("%s (%s): %s", model, environment, error)
        return different

    def _count_traffic(self, spec: ModelSpec, servers: Mapping[str, RunningServer]) -> None:
        now, before = time.monotonic(), self.counted.get(spec.name)
        if before and now - before[0] < TRAFFIC_SECONDS:
            return
        ready = {version: server for version, server in servers.items() if server.state == "ready"}
        read = {version: client_of(self.installation, spec, server).figures() for version, server in ready.items()}
        if before:
            lately = traffic(before[1], read, now - before[0], time.time())
            self.installation.store.record_traffic(spec.name, lately)
        self.counted[spec.name] = (now, read)

    def _restart_silent(self, model: str, environment: Environment, servers: Mapping[str, RunningServer]) -> None:
        for version, server in servers.items():
            key: Server = (model, environment, version)
            if server.state == "ready":
                self.was_ready.add(key)
            if server.state != "starting":
                self.silent.pop(key, None)
                continue
            self.silent[key] = self.silent.get(key, 0) + 1
            if self.silent[key] >= (SILENT_ROUNDS if key in self.was_ready else STARTING_ROUNDS):
                log.warning("%s %s: the server of version %s does not respond; restarted", *key)
                self.installation.engine.restart(model, environment, version)
                self.silent.pop(key)
                self.was_ready.discard(key)
