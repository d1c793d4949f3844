"""Decides whether a candidate may replace the champion, on a holdout that neither has seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from include.core.json_types import Signal
from include.core.quality.figures import Difference, Evaluation, QualityFigure
from include.core.spec import ModelSpec
from include.core.verdict import Verdict

NOT_MEASURED = QualityFigure(None, reason="no holdout rows")

ROUNDING = 1e-9
"""Relative difference up to which two models are equally good."""


def holdout_start(newest: datetime, holdout_days: float, champion_trained_until: datetime | None) -> datetime:
    """Start of the holdout: the newest days of the data, excluding everything that the champion was trained on.

    Times are naive UTC; ``newest`` is the event time of the newest row.
    """
    start = newest - timedelta(days=holdout_days)
    if champion_trained_until is not None and champion_trained_until >= start:
        start = champion_trained_until + timedelta(microseconds=1)
    return start


def judge_promotion(
    spec: ModelSpec,
    candidate: Evaluation,
    champion: Evaluation | None,
    difference: Difference | None,
    *,
    incomparable: str | None = None,
) -> Verdict:
    """The verdict on a candidate.

    ``candidate`` and ``champion`` are evaluated on the same rows; ``difference`` is how much better the candidate is in
    the primary metric (paired bootstrap). A candidate is promoted only if the lower bound of its interval exceeds
    ``promotion.improvement``, so that a model that is worse, as good, or better by chance never replaces the champion.

    ``incomparable`` says why there is a champion that can't be measured on these rows: the specification has changed.
    The candidate is then judged by ``promotion.threshold`` alone, and without one it is not promoted.
    """
    metric = spec.metrics.primary
    figure = candidate.quality.get(metric, NOT_MEASURED)
    signals: dict[str, Signal] = {metric: figure.value, "low": figure.low, "high": figure.high, "rows": figure.n}
    problem = _unfit(spec, figure)
    if problem:
        return Verdict("fail", problem, signals)
    if incomparable:
        return _without_comparison(spec, incomparable, signals)
    if champion is None:
        return Verdict("pass", "first model: there is no champion to compare with", signals)
    before = champion.quality.get(metric, NOT_MEASURED)
    signals["champion"] = before.value
    if before.value is None or difference is None or difference.value is None or difference.low is None:
        return Verdict("fail", "the champion could not be measured on the same rows", signals)
    signals |= {"better_by": difference.value, "better_low": difference.low, "better_high": difference.high}
    if _no_difference(difference, before):
        return Verdict(
            "fail", f"predicts as well as the champion ({metric} {before.value:.4f}): no difference", signals
        )
    if difference.low <= spec.promotion.improvement:
        return Verdict("fail", _not_better(spec, figure, before, difference), signals)
    problem = _worse_slice(spec, candidate, champion)
    if problem:
        return Verdict("fail", problem, signals)
    return Verdict("pass", f"better than the champion by {difference.value:+.4f} {metric}", signals)


def _without_comparison(spec: ModelSpec, incomparable: str, signals: dict[str, Signal]) -> Verdict:
    """The verdict on a candidate that is fit, but that can't be compared with the champion."""
    signals["incomparable"] = incomparable
    if spec.promotion.threshold is None:
        remedy = "Set promotion.threshold, by which such a candidate is judged, or deploy its version by hand"
        return Verdict("fail", f"the champion can't be compared: {incomparable}. {remedy}", signals)
    reason = f"reaches promotion.threshold {spec.promotion.threshold:g}; the champion can't be compared: {incomparable}"
    return Verdict("pass", reason, signals)


def _unfit(spec: ModelSpec, figure: QualityFigure) -> str | None:
    """Why a candidate with this figure can't be promoted, regardless of the champion; None if it can."""
    metric, policy = spec.metrics.primary, spec.promotion
    if figure.value is None:
        return f"{metric} could not be measured: {figure.reason}"
    if figure.n < policy.holdout_rows_at_least:
        return f"only {figure.n} unseen holdout rows; at least {policy.holdout_rows_at_least} are required"
    if policy.threshold is not None and spec.worse_by(figure.value, policy.threshold) > 0:
        return f"{metric} {figure.value:.4f} is worse than the threshold {policy.threshold}"
    return None


def _no_difference(difference: Difference, before: QualityFigure) -> bool:
    """Whether the two differ by rounding at most: trained again from the same data by the same code, say."""
    rounding = ROUNDING * max(1.0, abs(before.value or 0.0))
    return all(abs(bound or 0.0) <= rounding for bound in (difference.value, difference.low, difference.high))


def _not_better(spec: ModelSpec, figure: QualityFigure, before: QualityFigure, difference: Difference) -> str:
    return (
        f"not shown to be better than the champion: {spec.metrics.primary} {figure.value:.4f} against "
        f"{before.value:.4f}, difference {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
        f"its lower bound must exceed {spec.promotion.improvement:+.4f}"
    )


def _worse_slice(spec: ModelSpec, candidate: Evaluation, champion: Evaluation) -> str | None:
    """The first judged slice that is much worse than with the champion, or that could not be measured."""
    metric, policy = spec.metrics.primary, spec.promotion
    for name, quality in sorted(candidate.slices.items()):
        candidate_figure = quality.get(metric, NOT_MEASURED)
        champion_figure = champion.slices.get(name, {}).get(metric, NOT_MEASURED)
        if candidate_figure.n < policy.slice_rows_at_least:
            continue
        if candidate_figure.value is None or champion_figure.value is None:
            return f"slice {name} could not be measured"
        drop = spec.worse_by(candidate_figure.value, champion_figure.value)
        if drop > policy.slice_drop_at_most:
            return f"slice {name} is worse by {drop:.4f} than with the champion"
    return None
