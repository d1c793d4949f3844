"""Judges the replay of logged requests into a new release: no failures, and predictions like production's.

Both releases predict the same rows, so that a difference of their predictions is none of the traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from include.core.json_types import Signal
from include.core.quality.metrics import Array
from include.core.spec import Canary, Deployment, PredictionLimits
from include.core.verdict import Verdict

ROWS_TO_COMPARE = 20
"""Fewer rows than this say nothing about how alike predictions are."""


@dataclass(frozen=True)
class Replay:
    """The result of sending logged requests to a new release."""

    requests: int
    failures: Sequence[str]
    """Why each request without predictions has none."""
    recorded: Sequence[float]
    """Production's predictions for the rows of the answered requests."""
    predicted: Sequence[float]
    """The new release's predictions for the same rows."""
    missing: Sequence[str] = ()
    """Features of the new release that production's log lacks; they were sent as missing."""


@dataclass(frozen=True)
class Agreement:
    """How alike two releases' predictions for the same rows are."""

    correlation: float
    """Spearman's rank correlation; 0 if the new release predicts a single value."""
    mean_shift: float
    """Difference of the means, in standard deviations of production's predictions."""
    spread_ratio: float
    """The larger standard deviation, divided by the smaller one; infinite for a single value."""


def judge_replay(limits: Deployment, replay: Replay) -> Verdict:
    """The verdict on a replay, by the limits of the canary.

    Production answered all of these requests, so each failure is the new release's own. With fewer requests and rows
    than a canary needs, or if production's predictions are all the same, the verdict is hold: the replay proves too
    little to replace traffic, or to say that predictions are alike.
    """
    canary = limits.canary
    distance = sample_shift(replay.predicted, replay.recorded)
    alike = agreement(replay.recorded, replay.predicted)
    signals: dict[str, Signal] = {
        "replayed_requests": replay.requests,
        "replayed_rows": len(replay.recorded),
        "failed_requests": len(replay.failures),
        "prediction_shift": distance,
        "prediction_correlation": alike.correlation if alike else None,
        "prediction_mean_shift": alike.mean_shift if alike else None,
        "prediction_spread_ratio": alike.spread_ratio if alike and np.isfinite(alike.spread_ratio) else None,
    }
    problem = _problem(canary, replay, distance, alike)
    if problem:
        lacking = f"; production's log lacks {', '.join(replay.missing)}" if replay.missing else ""
        return Verdict("fail", problem + lacking, signals)
    few = nothing_to_compare(canary, replay.requests, replay.recorded)
    if few:
        return Verdict("hold", few, signals)
    return Verdict("pass", "replayed requests were answered, with predictions like production's", signals)


def nothing_to_compare(canary: Canary, requests: int, recorded: Sequence[float]) -> str | None:
    """Why these logged requests, with production's predictions, are too little for a replay; None if they are not."""
    if requests < canary.requests_at_least and len(recorded) < canary.rows_at_least:
        needed = f"{canary.requests_at_least} requests, or {canary.rows_at_least} rows,"
        return f"fewer than {needed} are in production's prediction log"
    if not canary.predictions.required:
        return None
    if len(recorded) < ROWS_TO_COMPARE:
        return f"fewer than {ROWS_TO_COMPARE} rows of production's prediction log can be compared"
    if not _varies(np.asarray(recorded, dtype=float)):
        return (
            f"production's predictions for {len(recorded)} logged rows are all the same, so that nothing can be "
            "compared. Send varied requests, or set deployment.canary.predictions.required in model.yaml to false"
        )
    return None


def agreement(recorded: Sequence[float], predicted: Sequence[float]) -> Agreement | None:
    """How alike the predictions for the same rows are; None with too few, or if production's are all the same."""
    theirs, own = np.asarray(recorded, dtype=float), np.asarray(predicted, dtype=float)
    if len(theirs) < ROWS_TO_COMPARE or not _varies(theirs):
        return None
    shift = float((own.mean() - theirs.mean()) / theirs.std())
    if not _varies(own):
        return Agreement(0.0, shift, float("inf"))
    from scipy.stats import rankdata  # 70 MB, for which whoever only shows verdicts has no use

    ranks = rankdata(theirs), rankdata(own)
    ratio = float(own.std() / theirs.std())
    return Agreement(float(np.corrcoef(*ranks)[0, 1]), shift, max(ratio, 1 / ratio))


def sample_shift(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kolmogorov-Smirnov distance (0 to 1) of two samples; None if one is empty."""
    if not len(first) or not len(second):
        return None
    one, two = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    values = np.concatenate([one, two])
    shares = [np.searchsorted(sample, values, side="right") / len(sample) for sample in (one, two)]
    return float(np.abs(shares[0] - shares[1]).max())


def _varies(values: Array) -> bool:
    """Whether values differ by more than rounding."""
    return bool(np.ptp(values) > 1e-9 * max(1e-300, float(np.abs(values).max())))


def _problem(canary: Canary, replay: Replay, distance: float | None, alike: Agreement | None) -> str | None:
    if replay.requests and len(replay.failures) > canary.error_rate_at_most * replay.requests:
        of = f"{len(replay.failures)} of {replay.requests} replayed requests failed, the first with: "
        return of + replay.failures[0]
    if distance is not None and distance > canary.prediction_shift_at_most:
        return f"predictions of replayed requests differ from production's by {distance:.2f}"
    return _disagreement(canary.predictions, alike) if alike and canary.predictions.required else None


def _disagreement(limits: PredictionLimits, alike: Agreement) -> str | None:
    if not np.isfinite(alike.spread_ratio):
        return "the new release predicts the same value for all replayed rows, and production does not"
    remedy = ". If that is meant, set wider limits in deployment.canary.predictions of model.yaml"
    if alike.correlation < limits.correlation_at_least:
        return (
            f"predictions for the same rows hardly correlate with production's ({alike.correlation:.2f}, at least "
            f"{limits.correlation_at_least:g}){remedy}"
        )
    if abs(alike.mean_shift) > limits.mean_shift_at_most:
        return (
            f"predictions for the same rows are shifted by {alike.mean_shift:.2f} standard deviations of "
            f"production's (at most {limits.mean_shift_at_most:g}){remedy}"
        )
    if alike.spread_ratio > limits.spread_ratio_at_most:
        return (
            f"the spread of predictions for the same rows differs from production's by a factor of "
            f"{alike.spread_ratio:.2f} (at most {limits.spread_ratio_at_most:g}){remedy}"
        )
    return None
