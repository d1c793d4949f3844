"""Keeps what serves as desired between deployments: finds what differs and restarts servers that do not respond.

One :class:`Upkeep` is asked every few seconds, so each round is cheap: it reads the releases, asks each server whether
it is ready, and reads the gateway's routes. What differs is left to the reconciler.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from include.adapters.spec_file import load_spec
from include.core.errors import EvergreenError
from include.core.release.release import Environment
from include.core.spec import ModelSpec
from include.stages.installation import Installation
from include.stages.reconciler import mend_routes

log = logging.getLogger(__name__)

SILENT_ROUNDS = 4
"""A server that was ready and then did not respond in this many rounds in a row is restarted."""
STARTING_ROUNDS = 30
"""The same for one that has not been ready yet."""

Server = tuple[str, Environment, str]


@dataclass
class Upkeep:
    """Remembers how often in a row each server did not respond."""

    installation: Installation
    silent: dict[Server, int] = field(default_factory=dict)
    was_ready: set[Server] = field(default_factory=set)

    def round(self) -> list[str]:
        """Look at everything once; returns what must be reconciled, as ``<model> (<environment>)``.

        A model whose release or specification can't be read is logged, and holds up no other.
        """
        different = []
        for model, environment in self.installation.store.released():
            try:
                spec = load_spec(self.installation.settings.models / model / "model.yaml")
                self._restart_silent(spec, environment)
                if mend_routes(self.installation, spec, environment):
                    different.append(f"{model} ({environment})")
            except EvergreenError as error:
                log.warning("%s (%s): %s", model, environment, error)
        return different

    def _restart_silent(self, spec: ModelSpec, environment: Environment) -> None:
        engine = self.installation.engine
        for version, server in engine.servers(spec.name, environment).items():
            key: Server = (spec.name, environment, version)
            if server.state == "ready":
                self.was_ready.add(key)
            if server.state != "starting":
                self.silent.pop(key, None)
                continue
            self.silent[key] = self.silent.get(key, 0) + 1
            if self.silent[key] >= (SILENT_ROUNDS if key in self.was_ready else STARTING_ROUNDS):
                log.warning("%s %s: the server of version %s does not respond; restarted", *key)
                engine.restart(spec.name, environment, version)
                self.silent.pop(key)
                self.was_ready.discard(key)
