"""The model registry: MLflow runs, model versions and their aliases, and local copies of their artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlflow.entities import RunStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from include.core.errors import ArtifactError, EvergreenError
from include.settings import settings

CANDIDATE_TAG = "evergreen.candidate"
FILES_TAG = "evergreen.files"
"""JSON on a version: each file of its bundle → sha256. Versions from before it have ``sha256``, of the model alone."""


@lru_cache(maxsize=2)
def _client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def client() -> MlflowClient:
    """A client of the installation's MLflow."""
    return _client(settings().mlflow)


def register(
    model: str,
    bundle: Path,
    *,
    candidate: str,
    metrics: Mapping[str, float],
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Log the bundle as an MLflow run and make it the model's next version; returns the version.

    ``candidate`` identifies it (the DAG run that made it): registering the same one again, after a crash, finishes
    what is missing and never makes a second version.
    """
    mlflow = client()
    experiment = _experiment(mlflow, model)
    run = _run_of(mlflow, experiment, candidate)
    if run is None or run.info.status != "FINISHED":
        if run is None:
            run = mlflow.create_run(experiment, run_name=candidate, tags={CANDIDATE_TAG: candidate})
        run_id = run.info.run_id
        for name, tag in tags.items():
            mlflow.set_tag(run_id, name, tag)
        for name, value in parameters.items():
            mlflow.log_param(run_id, name, value)
        for name, metric in metrics.items():
            mlflow.log_metric(run_id, name, metric)
        mlflow.log_artifacts(run_id, str(bundle))
        mlflow.set_terminated(run_id, status=RunStatus.to_string(RunStatus.FINISHED))
        run = mlflow.get_run(run_id)
    for version in versions(model):
        if version.run_id == run.info.run_id:
            return str(version.version)
    try:
        mlflow.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    files = {path.name: file_hash(path) for path in sorted(bundle.iterdir())}
    all_tags = {**tags, CANDIDATE_TAG: candidate, "sha256": files["model.skops"], FILES_TAG: json.dumps(files)}
    version = mlflow.create_model_version(
        model, source=run.info.artifact_uri, run_id=run.info.run_id, tags=all_tags, description=description
    )
    return str(version.version)


def versions(model: str) -> list[ModelVersion]:
    """All versions, newest first."""
    found = client().search_model_versions(f"name = '{model}'")
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def version(model: str, number: str) -> ModelVersion:
    """One version; raises EvergreenError with the known ones when there is none."""
    try:
        return client().get_model_version(model, number)
    except MlflowException as error:
        known = ", ".join(str(v.version) for v in versions(model)) or "none"
        raise EvergreenError(f"{model}: there is no version {number} (known: {known}). Name one of these.") from error


def alias(model: str, name: str) -> str | None:
    """The version that an alias stands on, or None when nothing has that alias."""
    try:
        return str(client().get_model_version_by_alias(model, name).version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def set_alias(model: str, name: str, number: str) -> None:
    """Move an alias. There is no compare-and-swap here: only the reconciler moves ``champion``."""
    client().set_registered_model_alias(model, name, number)


def tag_version(model: str, number: str, name: str, value: str) -> None:
    client().set_model_version_tag(model, number, name, value)


def fetch(model: str, number: str) -> Path:
    """The local folder with the version's bundle, copied from the registry's artifacts when it isn't there yet.

    Raises ArtifactError when a file is not the one that was registered: gates and monitoring go by them.
    """
    folder = settings().artifacts / model / str(number)
    registered = version(model, str(number))
    if not (folder / "model.skops").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{number}."))
        try:
            client().download_artifacts(str(registered.run_id), "", str(staging))
            os.replace(staging, folder)
        except OSError:
            if not (folder / "model.skops").exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    verify(model, str(number), folder)
    return folder


def verify(model: str, number: str, folder: Path) -> None:
    """Hold the files in ``folder`` against the hashes that were recorded at registration.

    Of a version from before all were recorded, only model.skops is held against its own.
    """
    tags = version(model, number).tags
    recorded = {**json.loads(tags.get(FILES_TAG, "{}")), "model.skops": tags.get("sha256")}
    remedy = f"It was changed or damaged: delete {folder} to copy it again, or deploy another version."
    for name, registered in recorded.items():
        found = file_hash(folder / name) if (folder / name).is_file() else "missing"
        if found != registered:
            raise ArtifactError(
                f"{model} version {number}: {name} has sha256 {found[:12]}…, registered was {str(registered)[:12]}…. "
                f"{remedy}"
            )
    added = sorted({path.name for path in folder.glob("*.json")} - set(recorded)) if FILES_TAG in tags else []
    if added:
        raise ArtifactError(f"{model} version {number}: {', '.join(added)} was not registered with it. {remedy}")


def lineage(model: str, number: str) -> dict[str, Any]:
    """Where a version comes from: build, commit, snapshot, run, reason, trained_until."""
    return dict(json.loads((fetch(model, number) / "lineage.json").read_text(encoding="utf-8")))


def file_hash(path: Path) -> str:
    """sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _experiment(mlflow: MlflowClient, model: str) -> str:
    found = mlflow.get_experiment_by_name(model)
    if found is not None:
        return str(found.experiment_id)
    try:
        # Without a location, a client on SQLite would put artifacts below its own working directory.
        return str(mlflow.create_experiment(model, artifact_location=f"{settings().artifact_root}/{model}"))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return _experiment(mlflow, model)  # another process made it meanwhile


def _run_of(mlflow: MlflowClient, experiment: str, candidate: str) -> Any:
    found = mlflow.search_runs([experiment], f"tags.`{CANDIDATE_TAG}` = '{candidate}'", max_results=1)
    return found[0] if found else None
