"""Making a candidate: freeze and check data, train in the build's environment, compare, keep everything with it.

The candidate's folder is named for the DAG run, so that a run that is retried after a crash starts it afresh and
never leaves two.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from include.adapters.data.snapshots import Snapshot, load_snapshot, read_snapshot, take_snapshot
from include.adapters.data.sources import window_exists
from include.adapters.engines.jobs import run_job
from include.adapters.engines.runtime_config import ArtifactBlock, ScoreJob, TrainJob, model_block
from include.adapters.files import write_atomically
from include.core.build import Build, Lineage, TrainingReport
from include.core.drift.profile import build_profile
from include.core.errors import DataError, RunRefusedError
from include.core.json_types import JsonObject
from include.core.quality import evaluation
from include.core.quality.estimation import build_estimator
from include.core.quality.figures import Quality, quality_from_dict
from include.core.quality.promotion import holdout_start, judge_promotion
from include.core.run_params import TrainingParams, check_incident, check_window, choose_build
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.settings import Settings
from include.stages.installation import Installation

TRAINED = ("holdout.parquet", "training.json", "model.skops", "model.json")
"""What a training leaves."""
SCORED = "scored.parquet"
"""What scoring a version leaves."""
BUNDLE = ("model.skops", "model.json", "metrics.json", "profile.json", "estimator.json", "golden.json", "lineage.json")


class Candidate(TypedDict):
    """A trained candidate, as one task hands it to the next."""

    folder: str
    champion: str | None
    """Version whose predictions of the same rows are in the holdout; None without one."""
    build: str
    commit: str
    holdout_from: str
    holdout_until: str


def freeze_data(installation: Installation, spec: ModelSpec, params: TrainingParams, now: datetime) -> Snapshot:
    """The snapshot that a run trains on: the newest windows up to ``params.window``, or the newest there are.

    Before anything is read, raises RunRefusedError for a window without data or that has not ended at ``now`` (naive
    UTC), for a build that can't be trained with, and for an incident that isn't there.
    """
    store, window, grain = installation.store, params.window, spec.monitoring.window
    if window:
        check_window(window, grain, now)
    check_incident(params.incident, [incident.key for incident in store.incidents(spec.name)])
    choose_build(params.build, store.builds(spec.name))
    if window and not window_exists(installation.settings.home, spec.data.source, window, grain):
        raise RunRefusedError(
            f"parameter 'window': {spec.name} has no training data of {window}. "
            "Load it, name another window, or clear the field for the newest there is."
        )
    return take_snapshot(installation.settings, spec, window or None)


def validate(installation: Installation, spec: ModelSpec, snapshot_hash: str) -> tuple[Verdict, Path]:
    """The verdict on a snapshot by what the spec expects of its columns, and the file with all failures."""
    from include.adapters.data.expectations import check_snapshot  # Great Expectations: seconds of import

    snapshot = load_snapshot(installation.settings.lake, spec.name, snapshot_hash)
    verdict = check_snapshot(spec, snapshot, read_snapshot(snapshot))
    report = installation.settings.reports / spec.name / f"data-{snapshot.hash[:12]}.json"
    write_atomically(report, json.dumps(verdict.as_dict(), indent=1, default=str).encode())
    return verdict, report


def train_candidate(
    installation: Installation,
    spec: ModelSpec,
    build_id: str,
    snapshot_hash: str,
    run_id: str,
    parameters: Mapping[str, object],
) -> Candidate:
    """:func:`train` with a build (empty: the newest one that passed) and a snapshot, by their names."""
    build = choose_build(build_id, installation.store.builds(spec.name))
    snapshot = load_snapshot(installation.settings.lake, spec.name, snapshot_hash)
    return train(installation, spec, build, snapshot, run_id, parameters)


def candidate_folder(settings: Settings, model: str, run_id: str) -> Path:
    """Where the candidate of a DAG run is made."""
    return settings.home / "candidates" / model / hashlib.sha256(run_id.encode()).hexdigest()[:16]


def train(
    installation: Installation,
    spec: ModelSpec,
    build: Build,
    snapshot: Snapshot,
    run_id: str,
    parameters: Mapping[str, object],
) -> Candidate:
    """Train on all but the newest days of the snapshot and predict those, with the champion too if there is one.

    The candidate's folder then holds the artifact, ``training.json`` and ``holdout.parquet`` with the columns
    ``prediction`` and, if there is one, ``champion``.
    """
    folder = candidate_folder(installation.settings, spec.name, run_id)
    shutil.rmtree(folder, ignore_errors=True)
    champion = installation.store.release(spec.name, "production").champion
    before = installation.registry.lineage(spec.name, champion) if champion else None
    trained_until = datetime.fromisoformat(before.trained_until) if before else None
    newest = _newest_time(snapshot, spec.data.event_time)
    train_until = holdout_start(newest, spec.training.holdout_days, None)
    holdout_from = holdout_start(newest, spec.training.holdout_days, trained_until)
    if holdout_from > newest:
        raise DataError(
            f"{spec.name}: version {champion} was trained on data until {trained_until}, so nothing up to {newest} is "
            "new to it. Train up to a newer window, or raise training.holdout_days."
        )
    holdout_until = newest + pd.Timedelta(microseconds=1)
    job: TrainJob = {
        "model": model_block(spec, installation.engine.code(spec, build.build_id), parameters),
        "data": snapshot.paths,
        "train_until": train_until.isoformat(),
        "holdout_from": holdout_from.isoformat(),
        "holdout_until": holdout_until.isoformat(),
        "out": "",
        "champion": None,
    }
    readable = [Path(path) for path in snapshot.paths]
    same_build = before is not None and before.build == build.build_id
    if champion and same_build:
        artifact = _artifact_of(installation, spec, champion)
        job["champion"] = artifact
        readable.append(Path(artifact["artifact"]))
    run_job(installation.engine, spec, build.build_id, "train", job, folder, leaves=TRAINED, readable=readable)
    if champion and not same_build:
        scored = score(installation, spec, champion, snapshot.paths, folder, since=holdout_from, until=holdout_until)
        holdout = pd.read_parquet(folder / "holdout.parquet")
        theirs = scored.rename(columns={"prediction": "champion"})
        joined = holdout.merge(theirs, on=spec.data.key, how="left", validate="1:1")
        joined.to_parquet(folder / "holdout.parquet", index=False)
    return {
        "folder": str(folder),
        "champion": champion,
        "build": build.build_id,
        "commit": build.commit,
        "holdout_from": job["holdout_from"],
        "holdout_until": job["holdout_until"],
    }


def score(
    installation: Installation,
    spec: ModelSpec,
    version: str,
    data: Sequence[str],
    folder: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pd.DataFrame:
    """A version's predictions of the rows of ``data`` from ``since`` on and before ``until``: key and ``prediction``.

    Made in the environment of the version's own build; ``folder`` gets the job's file, log and result.
    """
    build_id = installation.registry.lineage(spec.name, version).build
    artifact = _artifact_of(installation, spec, version)
    job: ScoreJob = {
        "model": model_block(spec, installation.engine.code(spec, build_id)),
        **artifact,
        "data": list(data),
        "from": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "out": SCORED,
    }
    readable = [Path(path) for path in (artifact["artifact"], *data)]
    run_job(installation.engine, spec, build_id, "score", job, folder, leaves=[SCORED], readable=readable)
    return pd.read_parquet(folder / SCORED, columns=[spec.data.key, "prediction"])


def compare(spec: ModelSpec, folder: Path, champion: str | None) -> Verdict:
    """The promotion verdict, from the holdout's predictions; writes ``metrics.json`` beside them."""
    holdout = pd.read_parquet(folder / "holdout.parquet")
    mine = evaluation.evaluate(holdout, spec, seed=0)
    theirs = comparison = None
    if champion:
        theirs = evaluation.evaluate(holdout, spec, prediction="champion", seed=0)
        comparison = evaluation.compare(holdout, spec, candidate="prediction", champion="champion", seed=0)
    verdict = judge_promotion(spec, mine, theirs, comparison.overall if comparison else None)
    figures = {
        **mine.as_dict(),
        "champion": theirs.as_dict() if theirs else None,
        "difference": comparison.as_dict() if comparison else None,
        "verdict": verdict.as_dict(),
    }
    write_atomically(folder / "metrics.json", json.dumps(figures, indent=1).encode())
    return verdict


def complete_bundle(spec: ModelSpec, folder: Path, snapshot: Snapshot, lineage: Lineage) -> Path:
    """Add reference profile, estimator, golden examples and lineage, and gather what belongs to it in ``bundle/``."""
    holdout = pd.read_parquet(folder / "holdout.parquet")
    training: TrainingReport = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    reference = pd.concat([pd.read_parquet(path) for path in snapshot.paths], ignore_index=True)
    reference = reference[reference[spec.data.event_time] <= pd.Timestamp(training["trained_until"])]
    golden = holdout.sample(min(spec.deployment.golden_examples, len(holdout)), random_state=0)
    inputs = golden[spec.feature_names].astype(object).where(golden[spec.feature_names].notna(), None)
    contents = {
        "profile.json": build_profile(reference, spec, holdout["prediction"].to_numpy()),
        "estimator.json": build_estimator(holdout, spec),
        "golden.json": {"inputs": inputs.to_dict("records"), "predictions": golden["prediction"].tolist()},
        "lineage.json": replace(lineage, trained_until=training["trained_until"], training=training).as_dict(),
    }
    for name, values in contents.items():
        write_atomically(folder / name, json.dumps(values, indent=1, default=_plain_number).encode())
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    for name in BUNDLE:
        shutil.copy2(folder / name, bundle / name)
    return bundle


def register(
    installation: Installation,
    spec: ModelSpec,
    candidate: Candidate,
    snapshot_hash: str,
    verdict: Verdict,
    *,
    run_id: str,
    reason: str,
    incident: str = "",
    parameters: Mapping[str, object],
) -> str:
    """Keep the candidate in the registry, promoted or not, as the model's next version; it becomes ``challenger``.

    Registering the candidate of the same run again gives the same version. Returns the version.
    """
    folder = Path(candidate["folder"])
    snapshot = load_snapshot(installation.settings.lake, spec.name, snapshot_hash)
    lineage = Lineage(
        model=spec.name,
        build=candidate["build"],
        commit=candidate["commit"],
        snapshot=snapshot.hash,
        window=snapshot.window,
        windows=tuple(snapshot.partitions),
        run_id=run_id,
        reason=reason,
        incident=incident or None,
    )
    bundle = complete_bundle(spec, folder, snapshot, lineage)
    figures: JsonObject = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    version = installation.registry.register(
        spec.name,
        bundle,
        candidate=run_id,
        metrics=_metric_values(quality_from_dict(figures["quality"])),
        parameters={**spec.training.parameters, **parameters, "rows": snapshot.rows},
        tags=lineage.tags() | {"verdict": verdict.answer, "verdict_reason": verdict.reason},
        description=f"{reason}: {verdict.reason}",
    )
    installation.registry.set_alias(spec.name, "challenger", version)
    return version


def _metric_values(quality: Quality) -> dict[str, float]:
    """Metric name → value, with the ends of its interval as ``<name>_low`` and ``<name>_high``."""
    values = {}
    for name, figure in quality.items():
        for key, value in ((name, figure.value), (f"{name}_low", figure.low), (f"{name}_high", figure.high)):
            if value is not None:
                values[key] = float(value)
    return values


def _artifact_of(installation: Installation, spec: ModelSpec, version: str) -> ArtifactBlock:
    folder = installation.registry.fetch(spec.name, version)
    return {"artifact": str(folder), "sha256": installation.registry.sha256(spec.name, version)}


def _newest_time(snapshot: Snapshot, column: str) -> datetime:
    newest = pd.read_parquet(snapshot.paths[-1], columns=[column])[column].max()
    return pd.Timestamp(newest).to_pydatetime()


def _plain_number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
