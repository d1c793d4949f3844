"""Renews what the trigger forms suggest, whenever a stage has recorded something to choose from."""

from __future__ import annotations

import logging
from collections.abc import Callable

from include.adapters.choices_file import read_choices, write_choices
from include.core.choices import (
    Part,
    RegisteredVersion,
    build_choices,
    data_choices,
    release_choices,
    value_of,
    version_choices,
    window_choices,
)
from include.core.release.rollback import earlier_releases
from include.stages.installation import Installation

log = logging.getLogger(__name__)


def renew_choices(installation: Installation, model: str, *parts: Part) -> None:
    """Read these parts again from the store and the registry. Logs a failure: suggestions never fail a task."""
    try:
        texts = {part: _RENEWED[part](installation, model) for part in parts}
        write_choices(installation.settings.choices, model, texts)
    except Exception as error:
        log.warning("%s: the suggestions of its trigger forms were not renewed: %s", model, error)


def add_data_windows(installation: Installation, model: str, windows: list[str]) -> None:
    """Suggest these windows of training data too. Logs a failure, as :func:`renew_choices` does."""
    try:
        folder = installation.settings.choices
        known = {value_of(text) for text in read_choices(folder, model).data if len(text) == len(windows[-1])}
        write_choices(folder, model, {"data": data_choices(known | set(windows))})
    except Exception as error:
        log.warning("%s: the suggestions of its trigger forms were not renewed: %s", model, error)


def _versions(installation: Installation, model: str) -> tuple[str, ...]:
    return version_choices(
        RegisteredVersion(str(each.version), each.tags.get("verdict", ""), (each.creation_timestamp or 0) / 1000)
        for each in installation.registry.versions(model)
    )


def _releases(installation: Installation, model: str) -> tuple[str, ...]:
    return release_choices(earlier_releases(installation.store.release_history(model)))


def _builds(installation: Installation, model: str) -> tuple[str, ...]:
    return build_choices(installation.store.builds(model))


def _windows(installation: Installation, model: str) -> tuple[str, ...]:
    return window_choices(installation.store.health(model))


_RENEWED: dict[Part, Callable[[Installation, str], tuple[str, ...]]] = {
    "versions": _versions,
    "releases": _releases,
    "builds": _builds,
    "windows": _windows,
}
ALL_PARTS: tuple[Part, ...] = tuple(_RENEWED)
"""The parts that can be read again; windows of training data are added as they are trained on."""
