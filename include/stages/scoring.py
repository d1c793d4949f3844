"""Predictions of registered versions for rows of data: each from its own features, in its own build's environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from include.adapters.data.snapshots import Snapshot
from include.adapters.engines.job_results import read_rows
from include.adapters.engines.jobs import run_job
from include.adapters.engines.runtime_config import ArtifactBlock, ScoreJob, model_block
from include.core.errors import NotRegisteredError, TrainingError
from include.core.spec import ModelSpec, SpecChange
from include.core.windows import window_bounds
from include.stages.installation import Installation

SCORED = "scored.parquet"
"""The file that a scoring job writes."""


class IncomparableError(Exception):
    """The champion can't predict what the candidate predicts; the message says why."""


def score_champion(
    installation: Installation,
    spec: ModelSpec,
    champion: str,
    change: SpecChange,
    snapshot: Snapshot,
    folder: Path,
    since: datetime,
    until: datetime,
) -> None:
    """Add the champion's predictions to the holdout.

    Raises IncomparableError if the specification has changed so that the champion can't predict these rows.
    """
    grain = spec.monitoring.window
    paths = [path for window, path in snapshot.partitions.items() if window_bounds(window, grain)[1] > since]
    if change.meaning:
        raise IncomparableError(f"version {champion} predicts something else ({'; '.join(change.meaning)})")
    gone = sorted({name for path in paths for name in set(change.removed) - set(pq.read_schema(path).names)})
    if gone:
        raise IncomparableError(f"the data no longer has the features of version {champion}: {', '.join(gone)}")
    try:
        scored = score(installation, spec, champion, paths, folder, since=since, until=until)
    except TrainingError as error:
        if not change.features_changed:
            raise
        raise IncomparableError(f"version {champion} could not predict the new data ({change}): {error}") from error
    holdout = pd.read_parquet(folder / "holdout.parquet")
    champion_scores = scored.rename(columns={"prediction": "champion"})
    joined = holdout.merge(champion_scores, on=spec.data.key, how="left", validate="1:1")
    joined.to_parquet(folder / "holdout.parquet", index=False)


@dataclass(frozen=True)
class Champion:
    """The version in production."""

    version: str
    spec: ModelSpec
    """The specification that it was made with."""


def find_champion(installation: Installation, spec: ModelSpec) -> Champion | None:
    """The version in production; None if there is none.

    Raises IncomparableError if the registry has lost it.
    """
    version = installation.store.release(spec.name, "production").champion
    if not version:
        return None
    try:
        return Champion(version, installation.registry.spec(spec, version))
    except NotRegisteredError as error:
        raise IncomparableError(f"version {version} is in production, but no longer in the registry") from error


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
    """A version's predictions for rows of ``data`` from ``since`` until before ``until``: key and ``prediction``.

    They are made from the version's own features, in the environment of its own build; ``folder`` receives the job's
    file, log and result. ``data`` has the key and event time that ``spec`` names.
    """
    build_id = installation.registry.lineage(spec.name, version).build
    own = installation.registry.spec(spec, version).model_copy(update={"data": spec.data})
    artifact = artifact_of(installation, spec, version)
    job: ScoreJob = {
        "model": model_block(own, installation.engine.code(spec, build_id)),
        **artifact,
        "data": list(data),
        "from": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "out": SCORED,
    }
    readable = [Path(path) for path in (artifact["artifact"], *data)]
    run_job(installation.engine, spec, build_id, "score", job, folder, leaves=[SCORED], readable=readable)
    most = sum(pq.read_metadata(path).num_rows for path in data)
    return read_rows(folder / SCORED, [spec.data.key, "prediction"], most)


def artifact_of(installation: Installation, spec: ModelSpec, version: str) -> ArtifactBlock:
    """The version's bundle and the registered hashes of the models in it."""
    registry = installation.registry
    return {
        "artifact": str(registry.fetch(spec.name, version)),
        "sha256": registry.sha256(spec.name, version),
        "compiled": registry.compiled(spec.name, version),
    }
