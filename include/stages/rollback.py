"""Puts an earlier release back into production immediately, without test or canary: it has served before."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from include.core.errors import EvergreenError
from include.core.release.release import RecordedRelease, Release
from include.core.release.rollback import check_target, earlier_releases, has_rolled_back
from include.core.spec import ModelSpec
from include.stages.choices import renew_choices
from include.stages.installation import Installation
from include.stages.reconciler import reconcile

log = logging.getLogger(__name__)


def check_rollback(installation: Installation, spec: ModelSpec, run: str, to: str = "") -> None:
    """Raise RunRefusedError if :func:`roll_back` could not roll back, or not to the version ``to``."""
    now, history = _production(installation, spec)
    if not has_rolled_back(history, run):
        now.roll_back(run, _target(installation, now, history, to))


def roll_back(installation: Installation, spec: ModelSpec, run: str, to: str = "") -> Release:
    """Manual rollback to the version ``to``, which must have been champion earlier; returns the release.

    Without ``to``: end a rollout in progress, or else put the standby release back into production. A run rolls back
    once, however often it is retried, and whatever was deployed in between.
    """
    now, history = _production(installation, spec)
    if has_rolled_back(history, run):
        log.info("%s: this run has already rolled back", spec.name)
    else:
        target = _target(installation, now, history, to)
        if target:
            now = _load(installation, spec, now, target, run)
        after, rollout = now.roll_back(run, target), now.rollout
        now = installation.store.swap_release(now, after) if after != now else now
        if rollout:
            installation.registry.withdraw(spec.name, rollout.candidate)
    reconcile(installation, spec, "production")
    renew_choices(installation, spec.name, "releases")
    return now


def _production(installation: Installation, spec: ModelSpec) -> tuple[Release, Sequence[RecordedRelease]]:
    store = installation.store
    return store.release(spec.name, "production"), store.release_history(spec.name, "production")


def _target(installation: Installation, now: Release, history: Sequence[RecordedRelease], to: str) -> str:
    """The version to roll back to; RunRefusedError with the possible ones if it is none of them."""
    if not to:
        return ""
    earlier = [release.version for release in earlier_releases(history)]
    if not now.loaded.issuperset(earlier):  # a rollback to what is loaded must not depend on the registry
        registered = {str(version.version) for version in installation.registry.versions(now.model)}
        earlier = [version for version in earlier if version in registered or version in now.loaded]
    return check_target(to, now, earlier)


def _load(installation: Installation, spec: ModelSpec, now: Release, version: str, run: str) -> Release:
    """Start the version's server beside the current release; if that fails, nothing else changes."""
    loaded = now.load(version, f"{version} is loaded for the rollback of {run}")
    if loaded == now:
        return now
    installation.store.swap_release(now, loaded)
    try:
        reconcile(installation, spec, "production")
    except Exception:
        with contextlib.suppress(EvergreenError):  # such as a conflict: who changed the release decides what is loaded
            note = f"{version} could not be loaded for the rollback of {run}"
            installation.store.swap_release(loaded, loaded.unload(version, note))
            reconcile(installation, spec, "production")
        raise
    return loaded
