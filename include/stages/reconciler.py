"""Makes servers, gateway routes and the registry's alias match the desired state.

Nothing else changes what serves. It is idempotent: rerun it after a crash and it completes; if everything already
matches, it does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from filelock import FileLock, Timeout

from include.adapters.engines.contract import Engine
from include.adapters.engines.scrape_targets import targets_file, write_targets
from include.adapters.spec_file import load_spec
from include.core.errors import EvergreenError, GateError, NotRegisteredError, PlatformError
from include.core.release.release import Action, Environment, Observed, Release, plan
from include.core.spec import ModelSpec
from include.stages.choices import ALL_PARTS, renew_choices
from include.stages.installation import Installation

log = logging.getLogger(__name__)

READY_SECONDS = 120.0
PASSES = 4


def observe(
    installation: Installation, spec: ModelSpec, environment: Environment, *, registry: bool = True
) -> Observed:
    """The observed state, with or without the registry's alias."""
    servers = installation.engine.servers(spec.name, environment)
    states = {version: server.state for version, server in servers.items()}
    if environment == "test":
        return Observed(states)
    versions = {server.address: version for version, server in servers.items()}
    routed = installation.gateway.weights(spec.name)
    weights = {versions.get(address, f"unknown {address}"): share for address, share in routed.items()}
    return Observed(states, weights, installation.registry.alias(spec.name, "champion") if registry else None)


def mend_routes(installation: Installation, spec: ModelSpec, environment: Environment) -> bool:
    """Restore routes at once; returns whether more than routes differs from the desired state.

    For a check that is made often: does not ask the registry, whose client takes seconds to import, waits for no
    server, and does nothing while another process is reconciling.
    """
    with contextlib.suppress(Timeout), _alone(installation, spec, environment, wait=0):
        stored = installation.store.release(spec.name, environment)
        actions = plan(replace(stored, champion=None), observe(installation, spec, environment, registry=False))
        verbs = {action.verb for action in actions}
        if verbs == {"route"}:
            log.warning("%s %s: %s", spec.name, environment, actions[0])
            _act(installation, actions[0], spec, stored)
        return bool(verbs - {"route", "await_ready"})
    return False


def reconcile(installation: Installation, spec: ModelSpec, environment: Environment) -> list[Action]:
    """Bring one model's environment to its desired state; returns the actions taken.

    Plans again until nothing is left to do: an action may change what the next one needs, such as a server that is
    replaced on another port. Raises GateError when a server does not become ready; the previous servers keep serving.
    PlatformError if the desired state is not reached.
    """
    taken: list[Action] = []
    refused: list[Action] = []
    targets = installation.settings.targets
    with _alone(installation, spec, environment):
        installation.engine.set_optional_inputs(spec, environment)
        try:
            for _ in range(PASSES):
                desired = installation.store.release(spec.name, environment)
                actions = [a for a in plan(desired, observe(installation, spec, environment)) if a not in refused]
                if not actions:
                    return taken
                for action in actions:
                    log.info("%s %s: %s", spec.name, environment, action)
                    taken.append(action)
                    if not _act(installation, action, spec, desired):
                        refused.append(action)
        finally:
            if taken or not targets_file(targets, spec.name, environment).exists():
                servers = installation.engine.servers(spec.name, environment)
                write_targets(targets, spec.name, environment, servers)
    raise PlatformError(
        f"{spec.name}: the {environment} environment did not reach its desired state in {PASSES} passes; what is left: "
        + "; ".join(map(str, actions))
    )


def restart_servers(installation: Installation, spec: ModelSpec) -> list[str]:
    """Replace the model's servers in production by fresh ones, one after another; returns their versions.

    They run the same versions with today's limits of model.yaml. The live one is the last: requests wait for it at the
    gateway. Raises PlatformError if nothing is deployed or a rollout is in progress, and GateError when a server does
    not become ready.
    """
    release = installation.store.release(spec.name, "production")
    if release.rollout or not release.loaded:
        state = f"run {release.rollout.run} is deploying" if release.rollout else "nothing is deployed"
        raise PlatformError(f"{spec.name}: {state}, so no server is restarted. Deploy a version, and wait for its run.")
    versions = sorted(release.loaded, key=lambda version: (version in release.weights, version))
    with _alone(installation, spec, "production"):
        for version in versions:
            _act(installation, Action("start", version), spec, release)
            _await_ready(installation.engine, spec, "production", version)
            if version in release.weights:
                _route(installation, spec.name, release.weights, release)
    reconcile(installation, spec, "production")
    return versions


@contextlib.contextmanager
def _alone(installation: Installation, spec: ModelSpec, environment: Environment, wait: float = -1) -> Iterator[None]:
    """Reconcile one environment in one process at a time; filelock.Timeout after ``wait`` seconds (default: never)."""
    installation.settings.run.mkdir(parents=True, exist_ok=True)
    with FileLock(installation.settings.run / f"reconcile-{spec.name}-{environment}.lock", timeout=wait):
        yield


def reconcile_all(installation: Installation) -> list[str]:
    """Reconcile every model and environment, after the platform was started; returns the errors.

    If one of them fails, the others are still reconciled.
    """
    problems = []
    for model, environment in installation.store.released():
        try:
            spec = load_spec(installation.settings.models / model / "model.yaml")
            reconcile(installation, spec, environment)
            renew_choices(installation, model, *ALL_PARTS)
        except EvergreenError as error:
            problems.append(f"{model} ({environment}): {error}")
        except Exception as error:
            log.exception("%s (%s) could not be reconciled", model, environment)
            problems.append(
                f"{model} ({environment}): {type(error).__name__}: {error}. It keeps what it had; deploy a version."
            )
    return problems


def _act(installation: Installation, action: Action, spec: ModelSpec, desired: Release) -> bool:
    """Take one action; False if it was not possible and must not be tried again."""
    environment, version = desired.environment, action.version or ""
    if action.verb == "start":
        own = installation.registry.spec(spec, version)
        installation.engine.start(own, environment, version, f"{environment}@{desired.revision}")
    elif action.verb == "await_ready":
        _await_ready(installation.engine, spec, environment, version)
    elif action.verb == "route":
        _route(installation, spec.name, action.weights, desired)
    elif action.verb == "set_champion":
        try:
            installation.registry.set_champion(spec.name, version)
        except NotRegisteredError as error:
            if not desired.rollout:
                raise
            # The registry was lost; the version that is being rolled out is the way out.
            log.warning("%s: %s", spec.name, error)
            return False
    elif action.verb == "stop":
        installation.engine.stop(spec.name, environment, version)
    return True


def _route(installation: Installation, model: str, weights: Mapping[str, int], desired: Release) -> None:
    gateway = installation.gateway
    if not weights:
        gateway.remove(model)
        return
    addresses = {
        version: server.address for version, server in installation.engine.servers(model, "production").items()
    }
    live = desired.champion or ""
    if live not in weights:  # the very first release has no champion yet
        live = next(iter(weights))
    canary = next((version for version in weights if version != live), None)
    if canary is None:
        gateway.split(model, addresses[live])
    else:
        gateway.split(model, addresses[live], addresses[canary], weights[canary])


def _await_ready(engine: Engine, spec: ModelSpec, environment: Environment, version: str) -> None:
    def state() -> str:
        server = engine.servers(spec.name, environment).get(version)
        return server.state if server else "broken"

    if _until(lambda: state() in ("ready", "broken"), READY_SECONDS) and state() == "ready":
        return
    raise GateError(
        f"{spec.name} version {version} did not become ready in the {environment} environment. Its log tail:\n"
        + engine.log_tail(spec.name, environment, version)
    )


def _until(condition: Callable[[], bool], seconds: float, interval: float = 0.1) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
