"""May the candidate replace the champion? Decided on a holdout that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from include.core.spec import ModelSpec
from include.core.verdict import Verdict


def holdout_start(newest: datetime, holdout_days: float, champion_trained_until: datetime | None) -> datetime:
    """First moment of the holdout: the newest days of the data, and nothing that the champion was trained on.

    Times are naive UTC; ``newest`` is the event time of the newest row.
    """
    start = newest - timedelta(days=holdout_days)
    if champion_trained_until is not None and champion_trained_until >= start:
        start = champion_trained_until + timedelta(microseconds=1)
    return start


def judge_promotion(
    spec: ModelSpec,
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    difference: Mapping[str, Any] | None,
) -> Verdict:
    """The verdict on a candidate.

    ``candidate`` and ``champion`` hold ``quality`` and ``slices`` as :func:`core.quality.evaluation.evaluate` gives
    them; ``difference`` is how much better the candidate is in the primary metric (value, low, high; paired
    bootstrap on the same rows). To be promoted, the lower end of that interval must reach ``promotion.improvement``,
    so that a worse model, or one that only looks better by chance, never replaces the champion.
    """
    metric, policy = spec.metrics.primary, spec.promotion
    figure = candidate["quality"].get(metric) or {}
    value, rows = figure.get("value"), figure.get("n") or 0
    signals: dict[str, Any] = {metric: value, "low": figure.get("low"), "high": figure.get("high"), "rows": rows}
    if value is None:
        return Verdict("fail", f"{metric} could not be measured: {figure.get('reason', 'no holdout rows')}", signals)
    if rows < policy.holdout_rows_at_least:
        return Verdict(
            "fail", f"only {rows} unseen holdout rows, at least {policy.holdout_rows_at_least} are needed", signals
        )
    if policy.threshold is not None and spec.worse_by(value, policy.threshold) > 0:
        return Verdict("fail", f"{metric} {value:.4f} is worse than the threshold {policy.threshold}", signals)
    if champion is None:
        return Verdict("pass", "first model: there is no champion to compare with", signals)
    before = (champion["quality"].get(metric) or {}).get("value")
    signals["champion"] = before
    if before is None or difference is None or difference.get("low") is None:
        return Verdict("fail", "the champion could not be measured on the same rows", signals)
    signals |= {"better_by": difference["value"], "better_low": difference["low"], "better_high": difference["high"]}
    if difference["low"] < policy.improvement:
        return Verdict(
            "fail",
            f"not shown to be better than the champion: {metric} {value:.4f} against {before:.4f}, "
            f"difference {difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}], "
            f"needed {policy.improvement:+.4f} at its lower end",
            signals,
        )
    worse_slice = _worse_slice(spec, candidate["slices"], champion["slices"])
    if worse_slice:
        return Verdict("fail", worse_slice, signals)
    return Verdict("pass", f"better than the champion by {difference['value']:+.4f} {metric}", signals)


def _worse_slice(spec: ModelSpec, candidate: Mapping[str, Any], champion: Mapping[str, Any]) -> str | None:
    """Why the first slice, by name, that is large enough to judge speaks against the candidate; None if none does."""
    metric, policy = spec.metrics.primary, spec.promotion
    for name, figures in sorted(candidate.items()):
        mine, theirs = figures.get(metric) or {}, (champion.get(name) or {}).get(metric) or {}
        if (mine.get("n") or 0) < policy.slice_rows_at_least:
            continue
        if mine.get("value") is None or theirs.get("value") is None:
            return f"slice {name} could not be measured"
        drop = spec.worse_by(mine["value"], theirs["value"])
        if drop > policy.slice_drop_at_most:
            return f"slice {name} is worse by {drop:.4f} than with the champion"
    return None
