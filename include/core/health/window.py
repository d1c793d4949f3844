"""Health: quality, drift and service figures of one window, from its predictions and what became of them.

Pure: predictions, truth, reference and the moment come in as values. A window's ``status`` is

* ``empty``: nothing was predicted;
* ``waiting``: no prediction has truth yet;
* ``partial``: some have, and more is to come: the window or the truth's delay has not passed, or fewer
  predictions than ``monitoring.truth_share_at_least`` have truth;
* ``complete``: the window is over and every prediction has truth, or the delay has passed and enough have.

``due`` says whether the delay has passed: until then, truth that has not come is not late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import pandas as pd

from include.core.drift.columns import drift
from include.core.drift.counts import WindowCount, count_frame
from include.core.health.data_quality import data_quality, keys_as_text
from include.core.health.row_count import judge_row_count
from include.core.quality.estimation import against_truth, estimate
from include.core.quality.evaluation import evaluate
from include.core.spec import ModelSpec
from include.core.windows import window_bounds

Status = Literal["complete", "partial", "waiting", "empty"]


def live_version_of(predictions: pd.DataFrame) -> str | None:
    """The version that answered most of these predictions (the newest of several); None when there are none."""
    counts = {str(version): rows for version, rows in predictions["version"].astype(str).value_counts().items()}
    return max(counts, key=lambda version: (counts[version], _by_number(version)), default=None)


def count_once(predictions: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Each row of a request once, and how many repeats there were.

    The gateway sends a request again when a server fails to answer, so one row may stand in two logs; the
    answer that was logged last is the one that the client got. The key is part of the identity, since clients may use
    a request id twice.
    """
    kept = predictions.sort_values("received", kind="stable").drop_duplicates(["request_id", "row", "key"], keep="last")
    return kept.reset_index(drop=True), len(predictions) - len(kept)


def predictions_before(window: str, spec: ModelSpec, history: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many predictions each window of the same grain before ``window`` had, oldest first; empty ones left out.

    ``history`` are health rows, oldest first. Windows before one that is over are over themselves.
    """
    same = [row for row in history if row["window"] < window and row.get("grain") == spec.monitoring.window]
    return [row["predictions"] for row in same if row["predictions"]]


def measure(
    window: str,
    spec: ModelSpec,
    predictions: pd.DataFrame,
    truth: pd.DataFrame | None,
    *,
    reference: Mapping[str, Any] | None,
    profile: Mapping[str, Any] | None,
    estimator: Mapping[str, Any] | None = None,
    as_of: datetime,
    duplicates: int = 0,
    truth_problem: str | None = None,
    service: Mapping[str, Any] | None = None,
    counted: WindowCount | None = None,
    multivariate: Mapping[str, Any] | None = None,
    skew: Mapping[str, Any] | None = None,
    earlier: Sequence[int] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The health row of one window; JSON values only.

    ``predictions`` has request_id, row, received, version, key, event_time, prediction, and of the features the slices,
    those that the estimator needs, and all of them where ``counted`` is not given; repeats are counted once and added
    to ``duplicates``. ``truth`` has the spec's truth key and column, or is None when there is none yet
    (``truth_problem`` says why). ``reference`` (``{"quality": {metric: figure}}``) and ``profile`` belong to the live
    version, as does ``estimator`` (:func:`include.core.quality.estimation.build_estimator`), without which nothing is
    estimated. ``as_of`` is a naive UTC moment. ``service`` is added to the service figures.
    ``counted`` are the live version's rows counted with ``profile``, where that is done already; ``skew`` is what
    :func:`core.health.data_quality.skew` found. ``earlier`` are the predictions of each earlier window, oldest first
    (:func:`predictions_before`). ``multivariate`` is what :func:`core.drift.multivariate.compare` found of the live
    version's rows.
    """
    predictions, repeats = count_once(predictions)
    live = live_version_of(predictions)
    known, unmatched, conflicts = _join(predictions, truth, spec)
    rows = int(known[spec.target].notna().sum())
    share = rows / len(known) if len(known) else 0.0
    whole = evaluate(known, spec, seed=seed) if len(known) else {"quality": {}, "slices": {}}
    versions = {str(version): part for version, part in known.groupby(known["version"].astype(str))}
    by_version = (
        {version: evaluate(part, spec, seed=seed)["quality"] for version, part in versions.items()}
        if len(versions) > 1
        else dict.fromkeys(versions, whole["quality"])
    )
    served = versions.get(live, known) if live else known
    count = counted or count_frame(served, profile, spec)
    end = window_bounds(window, spec.monitoring.window)[1]
    return {
        "window": window,
        "grain": spec.monitoring.window,
        "versions": sorted(versions, key=_by_number),
        "live_version": live,
        "predictions": len(known),
        "rows": rows,
        "truth_share": share,
        "truth_problem": truth_problem,
        "status": _status(window, spec, len(known), rows, as_of),
        "due": _due(window, spec, as_of),
        "metric": spec.metrics.primary,
        "quality": whole["quality"],
        "by_version": by_version,
        "slices": whole["slices"],
        "reference": {name: figure["value"] for name, figure in ((reference or {}).get("quality") or {}).items()},
        "estimate": _estimate(estimator, served, spec, by_version.get(live or "", {}), seed),
        "drift": drift(profile, count, spec, multivariate),
        "data_quality": data_quality(
            count,
            spec,
            profile,
            repeats=duplicates + repeats,
            repeated_keys=int(served["key"].duplicated().sum()),
            newest=served["event_time"].max().to_pydatetime() if len(served) else None,
            until=min(as_of, end),
            skew=skew,
            row_count=judge_row_count(len(known), earlier, over=as_of >= end),
        ),
        "service": {
            "requests": _requests(known),
            "duplicates": duplicates + repeats,
            "truth_unknown": unmatched,
            "truth_conflicts": conflicts,
            "versions": {v: {"requests": _requests(part), "rows": len(part)} for v, part in versions.items()},
            **(service or {}),
        },
    }


def _estimate(
    estimator: Mapping[str, Any] | None, served: pd.DataFrame, spec: ModelSpec, measured: Mapping[str, Any], seed: int
) -> dict[str, Any] | None:
    """What the live version's metrics were to be expected, and beside it what came true of the rows that have truth."""
    if estimator is None or served.empty:
        return None
    expected = estimate(estimator, served, spec, seed=seed)
    known = served[served[spec.target].notna()]
    same = expected if len(known) == len(served) else estimate(estimator, known, spec, seed=seed)
    return {"method": estimator["method"], "quality": expected, "truth": against_truth(same, measured)}


def _status(window: str, spec: ModelSpec, predictions: int, rows: int, as_of: datetime) -> Status:
    _, end = window_bounds(window, spec.monitoring.window)
    if not predictions:
        return "empty"
    if not rows:
        return "waiting"
    if as_of >= end and rows == predictions:
        return "complete"
    enough = rows / predictions >= spec.monitoring.truth_share_at_least
    return "complete" if enough and _due(window, spec, as_of) else "partial"


def _due(window: str, spec: ModelSpec, as_of: datetime) -> bool:
    """Whether the window is over and the truth's delay has passed."""
    _, end = window_bounds(window, spec.monitoring.window)
    return as_of >= end + timedelta(hours=spec.truth.delay_hours)


def _join(predictions: pd.DataFrame, truth: pd.DataFrame | None, spec: ModelSpec) -> tuple[pd.DataFrame, int, int]:
    """Predictions with their truth (missing where unknown); truths of unknown keys; keys with two different truths."""
    known = predictions.drop(columns=spec.target, errors="ignore")
    if truth is None or truth.empty:
        return known.assign(**{spec.target: pd.Series(dtype="object")}), 0, 0
    values = pd.Series(truth[spec.truth.column].to_numpy(), index=keys_as_text(truth[spec.truth.key])).dropna()
    conflicts = int((values.groupby(level=0).nunique() > 1).sum())
    values = values[~values.index.duplicated(keep="last")]
    keys = keys_as_text(known["key"])
    places = values.index.get_indexer(pd.Index(keys))  # pandas' isin of text goes through it value by value
    used = len(pd.unique(places[places >= 0]))
    return known.assign(**{spec.target: keys.map(values).to_numpy()}), len(values) - used, conflicts


def _requests(frame: pd.DataFrame) -> int:
    return int(frame[["request_id", "received"]].drop_duplicates().shape[0])


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
