"""The model registry: MLflow runs, model versions and their aliases, and local copies of their artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from include.adapters.mlflow_run import CLASSIC_VIEW, RunContent, TrainingData, fill_run
from include.core.build import Lineage
from include.core.errors import ArtifactError, NotRegisteredError, PlatformError
from include.core.spec import ModelSpec, spec_of_version
from include.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CANDIDATE_TAG = "evergreen.candidate"
SPEC_FILE = "spec.json"
"""The specification that a version was made with, in its bundle; written by the platform, not by the training."""
LINEAGE_TAG = "evergreen.lineage"
"""JSON on a version: its lineage without the training's report, so that tracing reads no bundles."""
FILES_TAG = "evergreen.files"
"""JSON on a version: each file of its bundle → SHA-256. Older versions only have ``sha256``, for the model file."""
COMPILED_FILE = "model.onnx"
"""The compiled model in a version's bundle, if it has one; then it is what serves."""


@dataclass(frozen=True)
class About:
    """What the registry says of a model, whatever the version."""

    owner: str
    description: str


class Registry:
    """The installation's registry. MLflow, whose import takes seconds, is only imported on first use."""

    def __init__(self, settings: Settings):
        self._settings = settings

    @cached_property
    def client(self) -> MlflowClient:
        """A client of the installation's MLflow."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # also for commands outside Airflow's environment
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow.tracking import MlflowClient

        uri = self._settings.mlflow
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def register(
        self,
        model: str,
        bundle: Path,
        *,
        candidate: str,
        metrics: Mapping[str, float],
        parameters: Mapping[str, object],
        tags: Mapping[str, str],
        description: str,
        data: TrainingData | None = None,
        about: About | None = None,
    ) -> str:
        """Log the bundle as an MLflow run and register it as the model's next version; returns the version.

        ``candidate`` identifies it (the Dag run that made it): registering the same candidate again after a crash
        completes the registration and never creates a second version. ``tags`` and ``description`` are those of run
        and version.
        """
        run = self._run_of(model, candidate)
        if run is None or run.info.status != "FINISHED":
            if run is None:
                run = self.client.create_run(
                    self._experiment(model), run_name=candidate, tags={CANDIDATE_TAG: candidate}
                )
            shown = {**tags, **_system_tags(model, tags, description, about)}
            fill_run(self.client, run.info.run_id, RunContent(metrics, parameters, shown, data), bundle)
            self.client.set_terminated(run.info.run_id, status="FINISHED")
            run = self.client.get_run(run.info.run_id)
        for version in self.versions(model):
            if version.run_id == run.info.run_id:
                return str(version.version)
        self._create_model(model)
        if about:
            self.client.update_registered_model(model, about.description)
            self.client.set_registered_model_tag(model, "owner", about.owner)
        self._skip_used_numbers(model, str(run.info.artifact_uri))
        paths = sorted(path for path in bundle.rglob("*") if path.is_file())
        files = {path.relative_to(bundle).as_posix(): file_hash(path) for path in paths}
        all_tags = {**tags, "sha256": files["model.skops"], FILES_TAG: json.dumps(files)}
        if "lineage.json" in files:
            lineage = json.loads((bundle / "lineage.json").read_text(encoding="utf-8"))
            all_tags[LINEAGE_TAG] = json.dumps({name: value for name, value in lineage.items() if name != "training"})
        version = self.client.create_model_version(
            model, source=run.info.artifact_uri, run_id=run.info.run_id, tags=all_tags, description=description
        )
        return str(version.version)

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions, newest first."""
        versions = self.client.search_model_versions(f"name = '{model}'")
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def version(self, model: str, number: str) -> ModelVersion:
        """One version; raises NotRegisteredError with the known versions if it does not exist.

        Raises PlatformError if the registry does not say whether it does: that must never look like a lost version.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(model, number)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise PlatformError(f"{model}: the registry can't be asked for version {number}: {error}") from error
            known = ", ".join(str(v.version) for v in self.versions(model)) or "none"
            raise NotRegisteredError(
                f"{model}: the registry has no version {number} (known: {known}). Choose one of these; if it was lost, "
                "restore the registry (mlflow/ in EVERGREEN_HOME) from a backup, or train and deploy a new version."
            ) from error

    def alias(self, model: str, name: str) -> str | None:
        """The version to which an alias points, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(model, name).version)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def set_alias(self, model: str, name: str, number: str) -> None:
        """Move an alias. This is not a compare-and-swap, so only the reconciler moves ``champion``."""
        self.version(model, number)
        self.client.set_registered_model_alias(model, name, number)

    def set_champion(self, model: str, number: str) -> None:
        """Move the alias ``champion``. Its version is then no longer the ``challenger``."""
        self.version(model, number)
        self.withdraw(model, number)
        self.set_alias(model, "champion", number)

    def offer(self, model: str, number: str | None) -> None:
        """Make a version that is offered for deployment the ``challenger``; None: no version is offered.

        The alias is also removed from a version that should not have it: earlier releases of Evergreen gave it to each
        version, and left it to champions.
        """
        champion = self.alias(model, "champion")
        if number and number != champion:
            self.set_alias(model, "challenger", number)
            return
        holder = self.alias(model, "challenger")
        if holder and (holder == champion or self.version(model, holder).tags.get("verdict") != "pass"):
            self.withdraw(model, holder)

    def withdraw(self, model: str, number: str) -> None:
        """Remove the alias ``challenger`` from this version, if it has it."""
        if self.alias(model, "challenger") == number:
            self.client.delete_registered_model_alias(model, "challenger")

    def tag_version(self, model: str, number: str, name: str, value: str) -> None:
        """Set one tag of a version."""
        self.client.set_model_version_tag(model, number, name, value)

    def fetch(self, model: str, number: str) -> Path:
        """The local folder with the version's bundle, downloaded from the registry if needed.

        Raises ArtifactError if a file differs from the registered one, since gates and monitoring rely on them.
        """
        folder = self._settings.artifacts / model / str(number)
        registered = self.version(model, str(number))
        if not (folder / "model.skops").exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{number}."))
            try:
                self.client.download_artifacts(str(registered.run_id), "", str(staging))
                os.replace(staging, folder)
            except OSError:
                if not (folder / "model.skops").exists():  # otherwise another process was faster
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        self.verify(model, str(number), folder)
        return folder

    def verify(self, model: str, number: str, folder: Path) -> None:
        """Compare the files in ``folder`` with the hashes recorded at registration.

        For versions without hashes of all files, only model.skops is compared; they have no specification.
        """
        tags = self.version(model, number).tags
        recorded = {**json.loads(tags.get(FILES_TAG, "{}")), "model.skops": tags.get("sha256")}
        remedy = f"It was changed or damaged: delete {folder} to copy it again, or deploy another version."
        for name, registered in recorded.items():
            actual = file_hash(folder / name) if (folder / name).is_file() else "missing"
            if actual != registered:
                raise ArtifactError(
                    f"{model} version {number}: {name} has sha256 {actual[:12]}…, expected "
                    f"{str(registered)[:12]}…. {remedy}"
                )
        present = {path.name for path in (*folder.glob("*.json"), *folder.glob(COMPILED_FILE))}
        # A specification says what may be loaded, so it is never taken from a version that was registered without one.
        added = sorted((present if FILES_TAG in tags else present & {SPEC_FILE}) - set(recorded))
        if added:
            raise ArtifactError(
                f"{model} version {number}: {', '.join(added)} was not registered with this version. {remedy}"
            )

    def sha256(self, model: str, number: str) -> str:
        """The hash that was registered for the version's model.skops."""
        return str(self.version(model, number).tags["sha256"])

    def compiled(self, model: str, number: str) -> str | None:
        """The hash that was registered for the version's model.onnx; None if it has none."""
        digest = json.loads(self.version(model, number).tags.get(FILES_TAG, "{}")).get(COMPILED_FILE)
        return None if digest is None else str(digest)

    def lineage(self, model: str, number: str) -> Lineage:
        """Where a version comes from."""
        file = self.fetch(model, number) / "lineage.json"
        return Lineage.from_dict(json.loads(file.read_text(encoding="utf-8")))

    def spec(self, today: ModelSpec, number: str) -> ModelSpec:
        """The specification that applies to a version: what it was made with, operated as ``today`` says.

        Earlier releases of Evergreen only recorded the features, the task and the feature code (``model.json``).
        """
        folder = self.fetch(today.name, number)
        if (folder / SPEC_FILE).exists():
            return spec_of_version(today, json.loads((folder / SPEC_FILE).read_text(encoding="utf-8")))
        file = folder / "model.json"
        described = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return spec_of_version(
            today, {name: described[name] for name in ("task", "features", "feature_code") if name in described}
        )

    def _create_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _skip_used_numbers(self, model: str, source: str) -> None:
        """After a loss of the registry, number versions from where it was: servers and logs still name the old ones.

        What stands for the skipped numbers belongs to no run, so that after a crash none is taken for the candidate.
        """
        copies = [path.name for path in (self._settings.artifacts / model).glob("*")]
        used = max((int(name) for name in copies if name.isdigit()), default=0)
        newest = max((int(version.version) for version in self.versions(model)), default=0)
        while newest < used:
            skipped = self.client.create_model_version(model, source=source)
            newest = int(skipped.version)
            self.client.delete_model_version(model, skipped.version)

    def _experiment(self, model: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(model)
        if experiment is not None:
            for name, value in CLASSIC_VIEW.items():
                if name not in experiment.tags:  # made by an earlier release of Evergreen
                    self.client.set_experiment_tag(experiment.experiment_id, name, value)
            return str(experiment.experiment_id)
        location = f"{self._settings.artifact_root}/{model}"
        try:
            # Without a location, a client on SQLite would put artifacts in its own working directory.
            return str(self.client.create_experiment(model, artifact_location=location, tags=CLASSIC_VIEW))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment(model)  # another process created it in the meantime

    def _run_of(self, model: str, candidate: str) -> Run | None:
        query = f"tags.`{CANDIDATE_TAG}` = '{candidate}'"
        runs = self.client.search_runs([self._experiment(model)], query, max_results=1)
        return runs[0] if runs else None


def _system_tags(model: str, tags: Mapping[str, str], description: str, about: About | None) -> dict[str, str]:
    """Tags that MLflow shows in places of their own: description, source and user of a run."""
    shown = {
        "mlflow.note.content": description,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"{model}.training",
        "mlflow.source.git.commit": tags.get("commit", ""),
        "mlflow.user": about.owner if about else "",
    }
    return {name: text for name, text in shown.items() if text}


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
