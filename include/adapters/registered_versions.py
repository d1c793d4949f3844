"""The registered versions of a model as records, from the tags that a training leaves in the registry."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.adapters.registry import LINEAGE_TAG, Registry
from include.core.build import Lineage
from include.core.errors import PlatformError
from include.core.trace_nodes import VersionRecord

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def version_records(registry: Registry, model: str) -> list[VersionRecord]:
    """All registered versions, newest first, without reading their bundles; PlatformError without the registry."""
    from mlflow.exceptions import MlflowException  # its import takes seconds

    try:
        return [_version(version) for version in registry.versions(model)]
    except MlflowException as error:
        raise PlatformError(f"{model}: the registry can't be read: {error}") from error


def _lineage(model: str, tags: Mapping[str, str]) -> Lineage:
    """From one tag, or from the tags of a version that an earlier release registered."""
    if LINEAGE_TAG in tags:
        return Lineage.from_dict(json.loads(tags[LINEAGE_TAG]))
    try:
        windows = tuple(str(window) for window in ast.literal_eval(tags.get("windows", "[]")))
    except (ValueError, SyntaxError, TypeError):
        windows = ()
    return Lineage(
        model=model,
        build=tags.get("build", ""),
        commit=tags.get("commit", ""),
        snapshot=tags.get("snapshot", ""),
        window=tags.get("window", ""),
        windows=windows,
        run_id=tags.get("run_id", ""),
        reason=tags.get("reason", ""),
        incident=tags.get("incident"),
    )


def _version(registered: ModelVersion) -> VersionRecord:
    tags = dict(registered.tags)
    return VersionRecord(
        number=str(registered.version),
        lineage=_lineage(registered.name, tags),
        created=registered.creation_timestamp / 1000 if registered.creation_timestamp else None,
        verdict=tags.get("verdict", ""),
        verdict_reason=tags.get("verdict_reason", ""),
        sha256=tags.get("sha256", ""),
        registry_run=registered.run_id or "",
        images=tuple(sorted({image for name, image in tags.items() if name.startswith("image.")})),
    )
