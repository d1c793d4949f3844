"""Makes a candidate: freeze and validate data, train in the build's environment, compare, register it with its lineage.

The candidate's folder is named for the Dag run, so that a retry after a crash starts from scratch and never leaves two
candidates.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pandas as pd

from include.adapters.data.snapshots import Snapshot, load_snapshot, read_snapshot, take_snapshot
from include.adapters.data.sources import window_exists
from include.adapters.engines.job_results import read_training_report
from include.adapters.engines.jobs import run_job
from include.adapters.engines.runtime_config import TrainJob, model_block
from include.adapters.files import write_atomically
from include.adapters.registry import COMPILED_FILE, SPEC_FILE, About
from include.core.build import Build, Lineage
from include.core.candidate import CandidateRecord
from include.core.drift.profile import build_profile
from include.core.errors import DataError, RunRefusedError
from include.core.json_types import JsonObject
from include.core.quality import evaluation
from include.core.quality.estimation import build_estimator
from include.core.quality.figures import quality_from_dict
from include.core.quality.promotion import holdout_start, judge_promotion
from include.core.run_params import (
    TrainingParams,
    check_incident,
    check_parameters,
    check_window,
    choose_build,
    refuse_together,
)
from include.core.spec import ModelSpec, SpecChange, change_between
from include.core.typed_columns import kinds_of
from include.core.verdict import Verdict
from include.pages.model_card import description, registered_description
from include.settings import Settings
from include.stages import compiled, presentation
from include.stages.choices import add_data_windows, renew_choices
from include.stages.disk import refuse_when_full
from include.stages.holdout import check_trained_until, take_holdout
from include.stages.installation import Installation
from include.stages.one_training import only_training
from include.stages.scoring import Champion, IncomparableError, artifact_of, find_champion, score_champion

HOLDOUT, REPORT = "holdout.parquet", "training.json"
TRAINED = (HOLDOUT, REPORT, "model.skops", "model.json")
"""The files that a training writes."""
BUNDLE = (
    *("model.skops", "model.json", SPEC_FILE, "metrics.json", "profile.json", "estimator.json", "golden.json"),
    *("lineage.json", *presentation.FILES),
)


class Candidate(TypedDict):
    """A trained candidate, as passed from task to task."""

    folder: str
    champion: str | None
    """The version whose predictions for the same rows are in the holdout; None without a champion to compare with."""
    incomparable: NotRequired[str]
    """Why the version in production could not predict the holdout; missing if it could, or if there is none."""
    build: str
    commit: str
    holdout_from: str
    holdout_until: str


def freeze_data(installation: Installation, spec: ModelSpec, params: TrainingParams, now: datetime) -> Snapshot:
    """Take the snapshot that a run trains on: the newest windows, up to ``params.window`` if given.

    Before reading any data, raises RunRefusedError for a window without data or one that has not begun at ``now``
    (naive UTC), for a build that can't be used, for a parameter that its estimator function does not have, and for an
    unknown incident.
    """
    store, window, grain = installation.store, params.window, spec.monitoring.window
    refuse_when_full(installation.settings)
    refuse_together(
        lambda: check_window(window, grain, now) if window else None,
        lambda: check_incident(params.incident, [incident.key for incident in store.incidents(spec.name)]),
        lambda: _choose_build(installation, spec, params.build, params.parameters),
    )
    if window and not window_exists(installation.settings.home, spec.data.source, window, grain):
        raise RunRefusedError(
            f"parameter 'window': {spec.name} has no training data for {window}. "
            "Load it, choose another window, or clear the field for the newest window."
        )
    champion, _ = _champion_or_reason(installation, spec)
    also = kinds_of(champion.spec) if champion else {}
    snapshot = take_snapshot(installation.settings, spec, window or None, also=also)
    add_data_windows(installation, spec.name, list(snapshot.partitions))
    return snapshot


def _choose_build(
    installation: Installation, spec: ModelSpec, build_id: str, parameters: Mapping[str, object]
) -> Build:
    """The build to train with, if its estimator function has these parameters and those in model.yaml."""
    build = choose_build(build_id, installation.store.builds(spec.name))
    check_parameters(build.parameters, parameters, "parameter 'parameters'")
    check_parameters(build.parameters, spec.training.parameters, "training.parameters in model.yaml")
    return build


def _champion_or_reason(installation: Installation, spec: ModelSpec) -> tuple[Champion | None, str]:
    """The version in production, and why there is none to compare with although one serves."""
    try:
        return find_champion(installation, spec), ""
    except IncomparableError as error:
        return None, str(error)


def validate(installation: Installation, spec: ModelSpec, snapshot_hash: str) -> tuple[Verdict, Path]:
    """The verdict on a snapshot by the spec's expectations, and the report file with all failures."""
    from include.adapters.data.expectations import check_snapshot  # importing Great Expectations takes seconds

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
    """Call :func:`train` with a build (empty: the newest passed one) and a snapshot, given by their ids."""
    build = _choose_build(installation, spec, build_id, parameters)
    snapshot = load_snapshot(installation.settings.lake, spec.name, snapshot_hash)
    with only_training(installation.settings, spec.name):
        return train(installation, spec, build, snapshot, run_id, parameters)


def candidate_folder(settings: Settings, model: str, run_id: str) -> Path:
    """The folder of a Dag run's candidate."""
    return settings.candidates / model / hashlib.sha256(run_id.encode()).hexdigest()[:16]


def train(
    installation: Installation,
    spec: ModelSpec,
    build: Build,
    snapshot: Snapshot,
    run_id: str,
    parameters: Mapping[str, object],
) -> Candidate:
    """Train on all but the newest days of the snapshot and predict those; the champion, if any, predicts them too.

    The champion predicts from its own features (:func:`include.core.spec.spec_of_version`). The candidate's folder
    then holds the artifact, its compiled form if that may serve, ``training.json``, the specification, and
    ``holdout.parquet`` with the columns ``prediction`` (of what will serve) and, if there is a champion that could
    predict, ``champion``.
    """
    folder = candidate_folder(installation.settings, spec.name, run_id)
    shutil.rmtree(folder, ignore_errors=True)
    write_atomically(folder / SPEC_FILE, spec.model_dump_json(by_alias=True, indent=1).encode())
    champion, incomparable = _champion_or_reason(installation, spec)
    lineage = installation.registry.lineage(spec.name, champion.version) if champion else None
    trained_until = datetime.fromisoformat(lineage.trained_until) if lineage else None
    newest = _newest_time(snapshot, spec.data.event_time)
    train_until = holdout_start(newest, spec.training.holdout_days, None)
    holdout_from = holdout_start(newest, spec.training.holdout_days, trained_until)
    if holdout_from > newest:
        raise DataError(
            f"{spec.name}: the version in production was trained on data until {trained_until}, so no rows are unseen "
            f"up to {newest}. Train up to a newer window, or raise training.holdout_days."
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
        "compile_tolerance": compiled.tolerance(spec),
    }
    readable = [Path(path) for path in snapshot.paths]
    change = change_between(champion.spec, spec) if champion else SpecChange()
    together = lineage is not None and lineage.build == build.build_id and not change
    if champion and together:
        artifact = artifact_of(installation, spec, champion.version)
        job["champion"] = artifact
        readable.append(Path(artifact["artifact"]))
    run_job(
        installation.engine,
        spec,
        build.build_id,
        "train",
        job,
        folder,
        leaves=TRAINED,
        may_leave=[COMPILED_FILE],
        readable=readable,
    )
    check_trained_until(spec, snapshot, folder / REPORT, train_until)
    columns = [*(["prediction", "champion"] if together else ["prediction"]), *compiled.columns(folder)]
    take_holdout(spec, snapshot, folder / HOLDOUT, columns, holdout_from, holdout_until)
    compiled.settle(spec, folder / HOLDOUT, folder / REPORT)
    candidate: Candidate = {
        "folder": str(folder),
        "champion": champion.version if champion else None,
        "build": build.build_id,
        "commit": build.commit,
        "holdout_from": job["holdout_from"],
        "holdout_until": job["holdout_until"],
    }
    if champion and not together:
        try:
            score_champion(installation, spec, champion.version, change, snapshot, folder, holdout_from, holdout_until)
        except IncomparableError as error:
            candidate["champion"], incomparable = None, str(error)
    if incomparable:
        candidate["incomparable"] = incomparable
    return candidate


def compare(spec: ModelSpec, made: Candidate) -> Verdict:
    """The promotion verdict, from the holdout's predictions; writes ``metrics.json`` next to them."""
    folder, champion, time = Path(made["folder"]), made["champion"], spec.data.event_time
    holdout = pd.read_parquet(folder / HOLDOUT)
    candidate = evaluation.evaluate(holdout, spec, time=time, seed=0)
    previous = comparison = None
    if champion:
        previous = evaluation.evaluate(holdout, spec, time=time, prediction="champion", seed=0)
        comparison = evaluation.compare(holdout, spec, time=time, seed=0)
    verdict = judge_promotion(spec, candidate, previous, comparison, incomparable=made.get("incomparable"))
    figures = {
        **candidate.as_dict(),
        "champion": previous.as_dict() if previous else None,
        "difference": comparison.as_dict() if comparison else None,
        "verdict": verdict.as_dict(),
    }
    write_atomically(folder / "metrics.json", json.dumps(figures, indent=1).encode())
    return verdict


def complete_bundle(spec: ModelSpec, folder: Path, snapshot: Snapshot, lineage: Lineage) -> Path:
    """Add reference profile, estimator, golden examples and lineage, and copy the bundle's files to ``bundle/``.

    Also what people look at: the model card, pictures, and the MLmodel file.
    """
    holdout = pd.read_parquet(folder / HOLDOUT)
    training = read_training_report(folder / REPORT)
    reference = pd.concat([pd.read_parquet(path) for path in snapshot.paths], ignore_index=True)
    reference = reference[reference[spec.data.event_time] <= pd.Timestamp(training["trained_until"])]
    golden = holdout.sample(min(spec.deployment.golden_examples, len(holdout)), random_state=0)
    inputs = golden[spec.feature_names].astype(object).where(golden[spec.feature_names].notna(), None)
    examples = inputs.to_dict("records")
    lineage = replace(lineage, trained_until=training["trained_until"], training=training)
    contents = {
        "profile.json": build_profile(reference, spec, holdout["prediction"].to_numpy(), holdout),
        "estimator.json": build_estimator(holdout, spec),
        "golden.json": {"inputs": examples, "predictions": golden["prediction"].tolist()},
        "lineage.json": lineage.as_dict(),
    }
    for name, values in contents.items():
        indent = None if name == "profile.json" else 1  # its counts by day would be a line each
        write_atomically(folder / name, json.dumps(values, indent=indent, default=_plain_number).encode())
    presentation.present(spec, folder, reference, holdout, examples, lineage)
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir()
    for name in (*BUNDLE, *compiled.files(folder)):
        shutil.copy2(folder / name, bundle / name)
    if (folder / presentation.PICTURES).exists():
        shutil.copytree(folder / presentation.PICTURES, bundle / presentation.PICTURES)
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
    """Register the candidate, promoted or not, as the model's next version.

    A promoted one gets the alias ``challenger``, since it is offered for deployment; a refused one does not.
    Returns the version. Registering the same run's candidate again returns the same version.
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
    report = read_training_report(folder / REPORT)
    figures: JsonObject = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    version = installation.registry.register(
        spec.name,
        bundle,
        candidate=run_id,
        metrics=presentation.run_metrics(figures),
        parameters=presentation.run_parameters(spec, parameters, snapshot, report),
        tags=presentation.version_tags(verdict, lineage, report),
        description=description((bundle / presentation.CARD).read_text(encoding="utf-8")),
        data=presentation.training_data(spec, snapshot),
        about=About(spec.owner, registered_description(spec)),
    )
    installation.registry.offer(spec.name, version if verdict.passed else None)
    quality = quality_from_dict(figures["quality"])
    record = CandidateRecord.of(spec, version, verdict, lineage, quality, report.get("importances", {}))
    installation.store.record_candidate(spec.name, record)
    renew_choices(installation, spec.name, "versions")
    return version


def _newest_time(snapshot: Snapshot, column: str) -> datetime:
    newest = pd.read_parquet(snapshot.paths[-1], columns=[column])[column].max()
    return pd.Timestamp(newest).to_pydatetime()


def _plain_number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
