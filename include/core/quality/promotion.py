"""Decides whether a candidate may replace the champion, on a holdout that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import NormalDist

from include.core.json_types import Signal
from include.core.quality.figures import Comparison, Difference, Evaluation, QualityFigure
from include.core.spec import ModelSpec
from include.core.verdict import Verdict

NOT_MEASURED = QualityFigure(None, reason="no holdout rows")

SHOWN_SLICES = 20
"""At most this many slices that could not be judged are named."""
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
    comparison: Comparison | None,
    *,
    incomparable: str | None = None,
) -> Verdict:
    """The verdict on a candidate.

    ``candidate`` and ``champion`` are evaluated on the same rows; ``comparison`` is how much better the candidate is in
    the primary metric (paired bootstrap), on all of them and by slice. A candidate is promoted only if the lower bound
    of its interval exceeds ``promotion.improvement``, so that a model that is worse, as good, or better by chance never
    replaces the champion.

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
    difference = comparison.overall if comparison else None
    if before.value is None or comparison is None or difference is None or difference.value is None:
        return Verdict("fail", "the champion could not be measured on the same rows", signals)
    if difference.low is None:
        return Verdict("fail", _no_interval(difference), signals)
    signals |= {"better_by": difference.value, "better_low": difference.low, "better_high": difference.high}
    if _no_difference(difference, before):
        return Verdict(
            "fail", f"predicts as well as the champion ({metric} {before.value:.4f}): no difference", signals
        )
    if difference.low <= spec.promotion.improvement:
        return Verdict("fail", _not_better(spec, figure, before, difference), signals)
    judged = _judged_slices(spec, comparison)
    signals["slices_not_judged"] = sorted(set(comparison.slices) - set(judged))[:SHOWN_SLICES]
    worse = _worse_slices(spec, judged)
    if worse:
        return Verdict("fail", _slice_problem(spec, worse[0], judged[worse[0]]), signals)
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
    if figure.fewest is not None and figure.fewest < policy.holdout_class_rows_at_least:
        return (
            f"only {figure.fewest} holdout rows of the rarer class; at least {policy.holdout_class_rows_at_least} of "
            "each class are required"
        )
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


def _no_interval(difference: Difference) -> str:
    why = difference.reason or "too few rows of one class"
    return f"the difference to the champion has no interval: {why}. Raise training.holdout_days, or add windows"


def _judged_slices(spec: ModelSpec, comparison: Comparison) -> dict[str, Difference]:
    """The slices that are large enough and in which both versions could be measured, with an interval."""
    return {
        name: difference
        for name, difference in comparison.slices.items()
        if difference.n >= spec.promotion.slice_rows_at_least and difference.low is not None
    }


def _worse_slices(spec: ModelSpec, judged: Mapping[str, Difference]) -> list[str]:
    """The slices that are shown to be worse by more than ``promotion.slice_drop_at_most``, the clearest first.

    The level of confidence holds for all slices together: S. Holm, "A Simple Sequentially Rejective Multiple Test
    Procedure", Scandinavian Journal of Statistics 6 (1979). Otherwise a candidate that is better in each of thirty
    small slices would mostly be refused by chance in one of them.
    """
    normal, level = NormalDist(), (1 - spec.metrics.confidence) / 2
    z = normal.inv_cdf(1 - level)
    chances = {}
    for name, one in judged.items():
        drop, error = -(one.value or 0.0), ((one.high or 0.0) - (one.low or 0.0)) / 2 / z
        beyond = drop - spec.promotion.slice_drop_at_most
        chances[name] = 1 - normal.cdf(beyond / error) if error > 0 else float(beyond <= 0)
    worse: list[str] = []
    for name in sorted(chances, key=lambda one: (chances[one], one)):
        if chances[name] > level / (len(chances) - len(worse)):
            break
        worse.append(name)
    return worse


def _slice_problem(spec: ModelSpec, name: str, one: Difference) -> str:
    return (
        f"slice {name} is worse than with the champion by {-(one.value or 0.0):.4f} "
        f"[{-(one.high or 0.0):+.4f}, {-(one.low or 0.0):+.4f}], which is shown to be more than "
        f"promotion.slice_drop_at_most {spec.promotion.slice_drop_at_most:g}"
    )
