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
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from include.core.drift.columns import drift
from include.core.drift.counts import WindowCount, count_frame
from include.core.drift.figures import MultivariateFigure
from include.core.drift.profile import Profile
from include.core.health.data_quality import ServedRows, data_quality, keys_as_text
from include.core.health.record import DataQuality, HealthRow, ServiceFigures, Skew, VersionTraffic, WindowStatus
from include.core.health.row_count import judge_row_count
from include.core.quality.estimation import Estimator, against_truth, estimate
from include.core.quality.evaluation import evaluate
from include.core.quality.figures import Estimate, Evaluation, Quality
from include.core.spec import ModelSpec
from include.core.windows import window_bounds


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
    once = predictions.sort_values("received", kind="stable").drop_duplicates(["request_id", "row", "key"], keep="last")
    return once.reset_index(drop=True), len(predictions) - len(once)


def predictions_before(window: str, spec: ModelSpec, history: Sequence[HealthRow]) -> list[int]:
    """How many predictions each window of the same grain before ``window`` had, oldest first; empty ones left out.

    ``history`` is oldest first. Windows before one that is over are over themselves.
    """
    same = [row for row in history if row.window < window and row.grain == spec.monitoring.window]
    return [row.predictions for row in same if row.predictions]


@dataclass(frozen=True)
class Truth:
    """Ground truth of a window, as it was read."""

    values: pd.DataFrame | None = None
    """Has the spec's truth key and column; None when there is none yet."""
    problem: str | None = None
    """Why there is none."""


@dataclass(frozen=True)
class Reference:
    """What the live version's bundle says of it: each part is empty or None where the bundle lacks it."""

    quality: Quality = field(default_factory=dict)
    """On its holdout."""
    profile: Profile | None = None
    estimator: Estimator | None = None
    """Without it nothing is estimated."""


@dataclass(frozen=True)
class WindowInputs:
    """What the health of a window is made of."""

    window: str
    as_of: datetime
    """Naive UTC."""
    predictions: pd.DataFrame
    """request_id, row, received, version, key, event_time, prediction, and of the features the slices, those that the
    estimator needs, and all of them where ``counted`` is not given. Repeats are counted once."""
    truth: Truth = field(default_factory=Truth)
    reference: Reference = field(default_factory=Reference)
    duplicates: int = 0
    """Rows that were left out as repeats before."""
    counted: WindowCount | None = None
    """The live version's rows counted with ``reference.profile``, where that is done already."""
    multivariate: MultivariateFigure | None = None
    skew: Skew | None = None
    """Both of the live version's rows."""
    earlier: Sequence[int] = ()
    """Predictions of each earlier window, oldest first (:func:`predictions_before`)."""
    torn_lines: int = 0
    broken_lines: int = 0
    """Of the log, in the gathering before."""


def measure(inputs: WindowInputs, spec: ModelSpec, *, seed: int = 0) -> HealthRow:
    """The health of one window; the same inputs give the same row."""
    predictions, repeats = count_once(inputs.predictions)
    repeats += inputs.duplicates
    live = live_version_of(predictions)
    joined = _join(predictions, inputs.truth.values, spec)
    known, rows = joined.frame, int(joined.frame[spec.target].notna().sum())
    versions = {str(version): part for version, part in known.groupby(known["version"].astype(str))}
    whole, by_version = _evaluate(known, versions, spec, seed)
    served = versions[live] if live else known
    reference = inputs.reference
    count = inputs.counted or count_frame(served, reference.profile, spec)
    return HealthRow(
        window=inputs.window,
        grain=spec.monitoring.window,
        versions=tuple(sorted(versions, key=_by_number)),
        live_version=live,
        predictions=len(known),
        rows=rows,
        truth_share=rows / len(known) if len(known) else 0.0,
        truth_problem=inputs.truth.problem,
        status=_status(inputs.window, spec, len(known), rows, inputs.as_of),
        due=_due(inputs.window, spec, inputs.as_of),
        metric=spec.metrics.primary,
        quality=whole.quality,
        by_version=by_version,
        slices=whole.slices,
        reference={name: figure.value for name, figure in reference.quality.items()},
        estimate=_estimate(reference.estimator, served, spec, by_version.get(live or "", {}), seed),
        drift=drift(reference.profile, count, spec, inputs.multivariate),
        data_quality=_data_quality(inputs, spec, count, served, predictions=len(known), repeats=repeats),
        service=ServiceFigures(
            requests=_requests(known),
            duplicates=repeats,
            truth_unknown=joined.unmatched,
            truth_conflicts=joined.conflicts,
            versions={name: VersionTraffic(_requests(part), len(part)) for name, part in versions.items()},
            torn_lines=inputs.torn_lines,
            broken_lines=inputs.broken_lines,
        ),
    )


def _evaluate(
    known: pd.DataFrame, versions: Mapping[str, pd.DataFrame], spec: ModelSpec, seed: int
) -> tuple[Evaluation, dict[str, Quality]]:
    """Quality of all rows, and of each version's."""
    if known.empty:
        return Evaluation(), {}
    whole = evaluate(known, spec, seed=seed)
    if len(versions) == 1:
        return whole, dict.fromkeys(versions, whole.quality)
    return whole, {version: evaluate(part, spec, seed=seed).quality for version, part in versions.items()}


def _data_quality(
    inputs: WindowInputs,
    spec: ModelSpec,
    count: WindowCount,
    served: pd.DataFrame,
    *,
    predictions: int,
    repeats: int,
) -> DataQuality:
    """The checks of the live version's rows, and of the number of all predictions."""
    end = window_bounds(inputs.window, spec.monitoring.window)[1]
    rows = ServedRows(
        repeats=repeats,
        repeated_keys=int(served["key"].duplicated().sum()),
        newest=served["event_time"].max().to_pydatetime() if len(served) else None,
        until=min(inputs.as_of, end),
    )
    row_count = judge_row_count(predictions, inputs.earlier, over=inputs.as_of >= end)
    return data_quality(count, spec, inputs.reference.profile, rows, skew=inputs.skew, row_count=row_count)


def _estimate(
    estimator: Estimator | None, served: pd.DataFrame, spec: ModelSpec, measured: Quality, seed: int
) -> Estimate | None:
    """The live version's metrics as estimated, and the outcome on the rows that have truth."""
    if estimator is None or served.empty:
        return None
    estimated = estimate(estimator, served, spec, seed=seed)
    known = served[served[spec.target].notna()]
    same = estimated if len(known) == len(served) else estimate(estimator, known, spec, seed=seed)
    return Estimate(estimator["method"], estimated, against_truth(same, measured))


def _status(window: str, spec: ModelSpec, predictions: int, rows: int, as_of: datetime) -> WindowStatus:
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


@dataclass(frozen=True)
class _Joined:
    """Predictions with their truth, which is missing where it is not known."""

    frame: pd.DataFrame
    unmatched: int = 0
    """Truths of unknown keys."""
    conflicts: int = 0
    """Keys with two different truths; the last one counts."""


def _join(predictions: pd.DataFrame, truth: pd.DataFrame | None, spec: ModelSpec) -> _Joined:
    known = predictions.drop(columns=spec.target, errors="ignore")
    if truth is None or truth.empty:
        return _Joined(known.assign(**{spec.target: pd.Series(dtype="object")}))
    values = pd.Series(truth[spec.truth.column].to_numpy(), index=keys_as_text(truth[spec.truth.key])).dropna()
    conflicts = int((values.groupby(level=0).nunique() > 1).sum())
    values = values[~values.index.duplicated(keep="last")]
    keys = keys_as_text(known["key"])
    places = values.index.get_indexer(pd.Index(keys))  # pandas' isin of text goes through it value by value
    used = len(pd.unique(places[places >= 0]))
    return _Joined(known.assign(**{spec.target: keys.map(values).to_numpy()}), len(values) - used, conflicts)


def _requests(frame: pd.DataFrame) -> int:
    return int(frame[["request_id", "received"]].drop_duplicates().shape[0])


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
