"""Whether windows are worse than the live version's references, by more than the allowed drop and more than chance.

:func:`judge_window` and :func:`standing` look at one window by itself, which is what lists, charts and alerts show;
:func:`find_degradation` looks at all windows of a version, and the policy decides by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from typing import Literal

from include.core.health.chance import FEWEST_DEGREES, Compared, Measured, compare_windows
from include.core.health.record import HealthRow
from include.core.health.summary import WindowSummary
from include.core.json_types import Signal
from include.core.quality.figures import QualityFigure
from include.core.quality.resampling import standard_error
from include.core.spec import ModelSpec
from include.core.windows import window_bounds, window_of, windows_before

HALF_A_YEAR = timedelta(days=182)
"""No window is averaged that is older than this."""
Standing = Literal["within", "uncertain", "beyond"]
"""A window's figure is within the allowed drop; is beyond it, which may be chance; or is beyond it for sure."""


@dataclass(frozen=True)
class Judged:
    """A window that can be judged."""

    window: str
    value: float
    """The live version's primary metric."""
    reference: float
    """The metric on its holdout."""
    worse_by: float
    error: float | None
    """Standard error of the value; None if nothing says how much it varies."""
    reference_error: float | None
    """Standard error of the holdout's value."""


def judge_window(spec: ModelSpec, window: WindowSummary) -> Judged | str:
    """How the live version did in this window, or why that can't be judged."""
    if window.problem:
        return f"could not be measured: {window.problem}"
    if window.status != "complete":
        return window.truth_problem or f"is {window.status}"
    if window.value is None or window.metric != spec.metrics.primary:
        return window.reason or f"has no {spec.metrics.primary}"
    needed = spec.monitoring.rows_at_least
    if window.rows < needed:
        return f"has {window.rows} predictions with ground truth; {needed} are required"
    fewest, of_class = window.fewest, spec.monitoring.class_rows_at_least
    if fewest is not None and fewest < of_class:
        return f"has {fewest} predictions of the rarer class; {of_class} are required"
    if window.reference is None:
        return f"version {window.version} has no {spec.metrics.primary} on its holdout to compare with"
    drop = spec.worse_by(window.value, window.reference)
    return Judged(window.window, window.value, window.reference, drop, *_errors(spec, window, window.value))


def _errors(spec: ModelSpec, window: WindowSummary, value: float) -> tuple[float | None, float | None]:
    """The standard errors of the window's figure and of the holdout's, as far as either says something of both.

    Records of earlier releases have intervals only. A window of a single day has no interval, but the holdout says how
    much its days vary. A holdout without an interval is taken for no more certain than the window.
    """
    confidence, holdout = spec.metrics.confidence, window.holdout or QualityFigure(None)
    own = window.error or standard_error(value, (window.low, window.high), None, confidence)
    of_holdout = holdout.error
    if not of_holdout and holdout.value is not None:
        of_holdout = standard_error(holdout.value, (holdout.low, holdout.high), None, confidence)
    if not own and of_holdout:
        days = holdout.blocks or spec.training.holdout_days
        own = of_holdout * sqrt(max(days, holdout.n / max(window.rows, 1)))
    return own or None, of_holdout or own or None


def standing(spec: ModelSpec, window: WindowSummary) -> Standing | None:
    """How this window by itself compares with the holdout; None if it can't be judged."""
    judged = judge_window(spec, window)
    if isinstance(judged, str):
        return None
    if judged.worse_by <= spec.degradation.allowed(judged.reference):
        return "within"
    limit = _limit_alone(spec, judged)
    return "beyond" if limit is not None and judged.worse_by > limit else "uncertain"


def threshold(row: HealthRow, spec: ModelSpec) -> float | None:
    """The value of the primary metric beyond which this window by itself is degraded, compared with its holdout.

    None if the window can't be judged, or nothing says how much it varies.
    """
    judged = judge_window(spec, WindowSummary.of(row, spec.metrics.primary))
    limit = None if isinstance(judged, str) else _limit_alone(spec, judged)
    if limit is None or isinstance(judged, str):
        return None
    return judged.reference - limit if spec.higher_is_better else judged.reference + limit


def _limit_alone(spec: ModelSpec, judged: Judged) -> float | None:
    """How much worse than its holdout a single window must be to be degraded."""
    found = _compare(spec, [judged], 1)
    allowed = spec.degradation.allowed(judged.reference)
    return max(allowed, found[0].limit) if found else None


@dataclass(frozen=True)
class Degradation:
    """What the windows of a version say together."""

    within: bool
    """Whether the newest one is within the allowed drop of its references."""
    found: str
    """What they show, in words; empty if it is."""
    doubt: str
    """Why that is no degradation (yet); empty if it is one."""
    worse_by: float
    """How much worse the live version is than its reference, in the comparison that shows it most clearly."""
    limit: float | None
    """What this must exceed; None if unknown."""
    signals: Mapping[str, Signal]


def find_degradation(spec: ModelSpec, judged: Sequence[Judged]) -> Degradation:
    """What these windows of one version say, in order; the last one is the one to judge."""
    now, policy = judged[-1], spec.degradation
    span = windows_before(now.window, spec.monitoring.window, policy.windows)
    recent = [one for one in judged if one.window in span]
    by_point = Finding.of(spec, _by_point(spec, now), recent)
    findings = [Finding.of(spec, one, recent) for one in _compare(spec, judged, policy.breaches)]
    beyond = [one for one in findings if now.window in one.beyond]
    best = max(beyond, key=lambda one: (one.shown, one.worse_by - one.limit), default=by_point)
    signals: dict[str, Signal] = {
        "value": now.value,
        "reference": now.reference,
        "drop": policy.drop,
        "judged": [one.window for one in recent],
        "beyond": list(best.beyond),
    }
    if not best.beyond or best.beyond[-1] != now.window:
        return Degradation(True, "", "", now.worse_by, policy.allowed(now.reference), signals)
    found = (
        f"is beyond the allowed drop of {policy.drop} in {len(best.beyond)} of the newest {policy.windows} windows "
        f"({', '.join(best.beyond)})"
    )
    signals |= best.signals(spec)
    if len(best.beyond) < policy.breaches:
        doubt = f"{policy.breaches} are required"
    elif not findings:
        doubt = (
            "that may be chance: neither the windows nor the holdout say how much it varies (one day has no interval), "
            f"and {FEWEST_DEGREES + 1} earlier windows of this version are needed to see it"
        )
    elif not best.shown:
        doubt = f"that may be chance: {best.in_words(spec)}"
    else:
        return Degradation(False, f"{found}: {best.in_words(spec)}", "", best.worse_by, best.limit, signals)
    return Degradation(False, found, doubt, best.worse_by, best.limit if findings else None, signals)


@dataclass(frozen=True)
class Finding:
    """A comparison with a reference, and the newest windows that are beyond the allowed drop from it."""

    compared: Compared
    beyond: tuple[str, ...]
    limit: float
    """What the drop must exceed: the allowed one, or what chance explains."""
    shown: bool
    """Whether it shows degradation."""

    @classmethod
    def of(cls, spec: ModelSpec, compared: Compared, recent: Sequence[Judged]) -> Finding:
        """What a comparison shows, with the newest windows."""
        allowed = spec.degradation.allowed(compared.reference)
        beyond = tuple(one.window for one in recent if _badness(spec, one.value) - compared.reference > allowed)
        limit = max(allowed, compared.limit)
        shown = compared.worse_by > limit and len(beyond) >= spec.degradation.breaches
        return cls(compared, beyond, limit, shown)

    @property
    def worse_by(self) -> float:
        """How much worse the mean of the newest windows is than the reference."""
        return self.compared.worse_by

    def signals(self, spec: ModelSpec) -> dict[str, Signal]:
        """The figures of the comparison."""
        one = self.compared
        if not one.error:
            return {}
        return {
            "compared_with": one.source,
            "mean": _badness(spec, one.value),
            "mean_error": one.error,
            "mean_of": len(one.windows),
            "reference": _badness(spec, one.reference),
            "reference_error": one.reference_error,
            "chance_explains": one.limit,
        }

    def in_words(self, spec: ModelSpec) -> str:
        """The comparison in a sentence."""
        one = self.compared
        mean, reference = _badness(spec, one.value), _badness(spec, one.reference)
        where = "its holdout" if one.source == "holdout" else f"its first {len(one.of)} windows"
        if not one.error:
            return f"{mean:.4g} in {one.windows[-1]}, {reference:.4g} on {where}; degradation.confidence is none"
        span = one.windows[0] if len(one.windows) == 1 else f"{one.windows[0]} to {one.windows[-1]}"
        return (
            f"{mean:.4g} on average of {span} (standard error {one.error:.2g}) is {one.worse_by:.3g} worse than "
            f"{reference:.4g} {'on' if one.source == 'holdout' else 'in'} {where} (standard error "
            f"{one.reference_error:.2g}), and chance explains up to {one.limit:.3g}"
        )


def _compare(spec: ModelSpec, judged: Sequence[Judged], shortest: int) -> list[Compared]:
    """The comparisons of these windows of one version; ``shortest``: how many are averaged at least."""
    now, grain, confidence = judged[-1], spec.monitoring.window, spec.degradation.confidence
    if confidence == "none":
        return [_by_point(spec, now)]
    return compare_windows(
        [Measured(one.window, _badness(spec, one.value), one.error) for one in judged],
        Measured("", _badness(spec, now.reference), now.reference_error),
        oldest=window_of(window_bounds(now.window, grain)[0] - HALF_A_YEAR, grain),
        grain=grain,
        shortest=shortest,
        confidence=confidence,
    )


def _by_point(spec: ModelSpec, now: Judged) -> Compared:
    """The newest window compared with its holdout as if both were exact."""
    reference, value = _badness(spec, now.reference), _badness(spec, now.value)
    return Compared("holdout", reference, 0.0, (), (now.window,), value, 0.0, limit=0.0)


def _badness(spec: ModelSpec, value: float) -> float:
    """The metric, such that larger is worse; and back."""
    return spec.worse_by(value, 0.0)
