"""Health: quality, drift and service figures of one window, from its predictions and their ground truth.

Pure: predictions, ground truth, reference and current time are passed in. A window's ``status`` is

* ``empty``: it has no predictions;
* ``waiting``: no prediction has ground truth yet;
* ``partial``: some have, and more is expected: the window or the delay of its ground truth has not passed, or fewer
  predictions than ``monitoring.truth_share_at_least`` have ground truth;
* ``complete``: the window is over and every prediction has ground truth, or the delay has passed and enough have.

``due`` says whether the delay has passed: until then, missing ground truth is not late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import pandas as pd

from include.core.drift.columns import drift
from include.core.drift.counts import WindowCount, count_frame
from include.core.drift.distribution import Profile
from include.core.drift.figures import MultivariateFigure
from include.core.health.data_quality import ServedRows, data_quality, keys_as_text
from include.core.health.record import DataQuality, HealthRow, ServiceFigures, Skew, VersionTraffic, WindowStatus
from include.core.health.row_count import judge_row_count
from include.core.quality.estimation import Estimator, against_truth, estimate, with_measured_errors
from include.core.quality.evaluation import evaluate
from include.core.quality.figures import Estimate, Evaluation, Quality
from include.core.spec import ModelSpec
from include.core.windows import window_bounds

ROWS_TO_JOIN = 20
"""From this many keys on both sides, ground truth that does not join is reported."""
SHARE_JOINED = 0.01
"""Share of the smaller side's keys up to which (almost) none has joined."""


def live_version_of(predictions: pd.DataFrame) -> str | None:
    """The version that made most of these predictions (the newest if tied); None without predictions."""
    counts = {str(version): rows for version, rows in predictions["version"].astype(str).value_counts().items()}
    return max(counts, key=lambda version: (counts[version], _by_number(version)), default=None)


def count_once(predictions: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Each row of a request once, and the number of repeats.

    The gateway retries a request when a server fails to respond, so a row may be in two logs; the client received the
    prediction that was logged last. The key is part of the identity, since clients may reuse a request id.
    """
    once = predictions.sort_values("received", kind="stable").drop_duplicates(["request_id", "row", "key"], keep="last")
    return once.reset_index(drop=True), len(predictions) - len(once)


def predictions_before(window: str, spec: ModelSpec, history: Sequence[HealthRow]) -> list[int]:
    """The number of predictions of each earlier window of the same grain, oldest first, without empty windows.

    ``history`` is oldest first. Windows before one that has ended have ended too.
    """
    same = [row for row in history if row.window < window and row.grain == spec.monitoring.window]
    return [row.predictions for row in same if row.predictions]


@dataclass(frozen=True)
class Truth:
    """Ground truth of a window."""

    values: pd.DataFrame | None = None
    """A frame with the spec's truth key and column; None if there is none yet."""
    problem: str | None = None
    """Why there is no ground truth."""


@dataclass(frozen=True)
class Reference:
    """The reference in the live version's bundle; fields are empty or None if the bundle lacks them."""

    quality: Quality = field(default_factory=dict)
    """Quality on its holdout."""
    profile: Profile | None = None
    estimator: Estimator | None = None
    """Without an estimator, nothing is estimated."""


@dataclass(frozen=True)
class WindowInputs:
    """The inputs of a window's health."""

    window: str
    as_of: datetime
    """Naive UTC."""
    predictions: pd.DataFrame
    """request_id, row, received, version, key, event_time, prediction, and the features used by slices and by the
    estimator (all features if ``counted`` is not given). Repeats are counted once."""
    truth: Truth = field(default_factory=Truth)
    reference: Reference = field(default_factory=Reference)
    duplicates: int = 0
    """Repeated rows that have already been removed."""
    counted: WindowCount | None = None
    """The live version's rows counted with ``reference.profile``, if already done."""
    multivariate: MultivariateFigure | None = None
    skew: Skew | None = None
    """Both for the live version's rows."""
    earlier: Sequence[int] = ()
    """Number of predictions in each earlier window, oldest first (:func:`predictions_before`)."""
    estimate_errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Metric → errors of the estimates of earlier windows, oldest first (``record.estimate_errors_before``)."""
    truncated_lines: int = 0
    malformed_lines: int = 0
    """Lines of the prediction log, from the preceding gathering."""


def measure(inputs: WindowInputs, spec: ModelSpec, *, seed: int = 0) -> HealthRow:
    """The health of one window; the same inputs give the same row."""
    predictions, repeats = count_once(inputs.predictions)
    repeats += inputs.duplicates
    live = live_version_of(predictions)
    joined = _join(predictions, inputs.truth.values, spec)
    known, rows = joined.frame, int(joined.frame[spec.target].notna().sum())
    versions = {str(version): rows for version, rows in known.groupby(known["version"].astype(str))}
    whole, by_version = _evaluate(known, versions, spec, seed)
    served = versions[live] if live else known
    reference, days = inputs.reference, served["event_time"].dt.floor("D").nunique()
    count = inputs.counted or count_frame(served, reference.profile, spec)
    return HealthRow(
        window=inputs.window,
        grain=spec.monitoring.window,
        versions=tuple(sorted(versions, key=_by_number)),
        live_version=live,
        predictions=len(known),
        rows=rows,
        truth_share=rows / len(known) if len(known) else 0.0,
        truth_problem=inputs.truth.problem or joined.problem,
        status=_status(inputs.window, spec, len(known), rows, inputs.as_of),
        due=_due(inputs.window, spec, inputs.as_of),
        metric=spec.metrics.primary,
        quality=whole.quality,
        by_version=by_version,
        slices=whole.slices,
        reference={name: figure.value for name, figure in reference.quality.items()},
        holdout=reference.quality,
        estimate=_estimate(inputs, served, spec, by_version.get(live or "", {}), seed),
        drift=drift(reference.profile, count, spec, inputs.multivariate, days=int(days)),
        data_quality=_data_quality(inputs, spec, count, served, predictions=len(known), repeats=repeats, joined=joined),
        service=ServiceFigures(
            requests=_requests(known),
            duplicates=repeats,
            truth_unknown=joined.unmatched,
            truth_conflicts=joined.conflicts,
            versions={name: VersionTraffic(_requests(frame), len(frame)) for name, frame in versions.items()},
            truncated_lines=inputs.truncated_lines,
            malformed_lines=inputs.malformed_lines,
        ),
    )


def _evaluate(
    known: pd.DataFrame, versions: Mapping[str, pd.DataFrame], spec: ModelSpec, seed: int
) -> tuple[Evaluation, dict[str, Quality]]:
    """Quality on all rows, and on each version's rows."""
    if known.empty:
        return Evaluation(), {}
    measured = partial(evaluate, spec=spec, time="event_time", seed=seed)
    whole = measured(known)
    if len(versions) == 1:
        return whole, dict.fromkeys(versions, whole.quality)
    return whole, {version: measured(rows).quality for version, rows in versions.items()}


def _data_quality(
    inputs: WindowInputs,
    spec: ModelSpec,
    count: WindowCount,
    served: pd.DataFrame,
    *,
    predictions: int,
    repeats: int,
    joined: _Joined,
) -> DataQuality:
    """Check the live version's rows, the total number of predictions, and whether ground truth belongs to them."""
    end = window_bounds(inputs.window, spec.monitoring.window)[1]
    rows = ServedRows(
        repeats=repeats,
        repeated_keys=int(served["key"].duplicated().sum()),
        newest=served["event_time"].max().to_pydatetime() if len(served) else None,
        until=min(inputs.as_of, end),
    )
    row_count = judge_row_count(predictions, inputs.earlier, over=inputs.as_of >= end)
    checked = data_quality(count, spec, inputs.reference.profile, rows, skew=inputs.skew, row_count=row_count)
    return replace(checked, findings=(*checked.findings, joined.problem)) if joined.problem else checked


def _estimate(
    inputs: WindowInputs, served: pd.DataFrame, spec: ModelSpec, measured: Quality, seed: int
) -> Estimate | None:
    """The live version's estimated metrics, and the actual values on the rows with ground truth."""
    estimator, errors = inputs.reference.estimator, inputs.estimate_errors
    if estimator is None or served.empty:
        return None
    estimated, made_of = with_measured_errors(estimate(estimator, served, spec, seed=seed), errors)
    known = served[served[spec.target].notna()]
    same = estimated
    if len(known) < len(served):
        same, _ = with_measured_errors(estimate(estimator, known, spec, seed=seed), errors)
    return Estimate(estimator["method"], estimated, against_truth(same, measured), made_of)


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
    """Predictions with their ground truth, if known."""

    frame: pd.DataFrame
    unmatched: int = 0
    """Ground truth values of unknown keys."""
    conflicts: int = 0
    """Keys with contradictory ground truth; the last value counts."""
    problem: str | None = None
    """Why (almost) none of the ground truth belongs to a prediction, with examples of both sides' keys."""


def _join(predictions: pd.DataFrame, truth: pd.DataFrame | None, spec: ModelSpec) -> _Joined:
    known = predictions.drop(columns=spec.target, errors="ignore")
    if truth is None or truth.empty:
        return _Joined(known.assign(**{spec.target: pd.Series(dtype="object")}))
    values = pd.Series(truth[spec.truth.column].to_numpy(), index=keys_as_text(truth[spec.truth.key])).dropna()
    conflicts = int((values.groupby(level=0).nunique() > 1).sum())
    values = values[~values.index.duplicated(keep="last")]
    keys = keys_as_text(known["key"])
    places = values.index.get_indexer(pd.Index(keys))  # much faster than pandas' isin on text
    used = len(pd.unique(places[places >= 0]))
    problem = _keys_differ(list(values.index), keys.dropna().unique().tolist(), used)
    return _Joined(known.assign(**{spec.target: keys.map(values).to_numpy()}), len(values) - used, conflicts, problem)


def _keys_differ(truth: Sequence[str], predicted: Sequence[str], joined: int) -> str | None:
    """A finding if there is ground truth enough to join, and almost none of it does: the keys are written differently.

    Where ground truth of some predictions is missing or early, or covers more than was predicted, more than a
    hundredth of the smaller side joins.
    """
    smaller = min(len(truth), len(predicted))
    if smaller < ROWS_TO_JOIN or joined > smaller * SHARE_JOINED:
        return None
    theirs, ours = (", ".join(map(repr, sorted(keys)[:3])) for keys in (truth, predicted))
    return (
        f"{joined} of {len(predicted)} predicted keys have ground truth: its {len(truth)} keys, such as {theirs}, are "
        f"not those of the predictions, such as {ours}. Write the same key in requests and in the ground truth"
    )


def _requests(frame: pd.DataFrame) -> int:
    return int(frame[["request_id", "received"]].drop_duplicates().shape[0])


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
