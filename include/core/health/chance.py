"""Whether a live version's windows are worse than its reference by more than chance explains.

Compared are means: of the newest windows, over a few lookbacks, with each of two references:

* the version's *holdout*. It was measured on the days before training ended, and the version was chosen because it did
  well there, so it flatters a little (the winner's curse);
* its *first windows* after the release, once there are enough of them. Nothing was chosen by them. They never replace
  the holdout, they are added to it: a version that is bad from its first day on is only worse than its holdout.

How much a mean varies follows from the standard errors of its windows, which know that rows of a day belong together
(``data.dependence``). A model's metric varies more from week to week than the rows of a week say, so all variances are
multiplied by one dispersion, as R. T. Birge ("The Calculation of Errors by the Method of Least Squares", Physical
Review 40, 1932) did with measurements that differ more than their errors. It is estimated from how the version's own
windows differ, and begins with :data:`DISPERSION`, which counts as :data:`PRIOR_DEGREES` windows (a moderated variance:
G. K. Smyth, "Linear Models and Empirical Bayes Methods", Statistical Applications in Genetics and Molecular Biology 3,
2004). Student's t with as many degrees of freedom then says what chance explains. Successive windows resemble each
other too: their first-order autocorrelation widens the error of a mean.

A window of a single day has no standard error of its own. It gets that of the holdout's days; if the holdout has none
either, only the version's other windows say how much a window varies, from :data:`FEWEST_DEGREES` + 1 of them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log, sqrt
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from include.core.windows import Grain

Source = Literal["holdout", "first windows"]

DISPERSION = 2.0
"""Variance between windows relative to what their rows say, before the windows themselves can say: about that of a
week's or month's AUC on flights (``make trust``)."""
PRIOR_DEGREES = 8
"""How many windows this assumption counts as."""
FEWEST_DEGREES = 3
"""With fewer degrees of freedom, nothing is said."""
STRONGEST_MEMORY = 0.7
"""Autocorrelation of successive windows that is assumed at most."""
WINDOWS_A_YEAR: dict[Grain, int] = {"month": 12, "week": 52, "day": 365}
FIRST_WINDOWS: dict[Grain, int] = {"month": 3, "week": 8, "day": 56}
"""How many of a version's first windows are its reference."""
LONGEST: dict[Grain, int] = {"month": 6, "week": 26, "day": 182}
"""Lookbacks are at most this many windows, half a year."""


@dataclass(frozen=True)
class Measured:
    """One figure: of a window, or of the holdout."""

    window: str
    value: float
    """How bad it is: larger is worse, whatever the metric's direction."""
    error: float | None
    """Its standard error by its own rows; None if unknown."""


@dataclass(frozen=True)
class Compared:
    """The mean of the newest windows compared with a reference."""

    source: Source
    reference: float
    """How bad the reference is, as :attr:`Measured.value`."""
    reference_error: float
    of: tuple[str, ...]
    """The windows of the reference; none for the holdout."""
    windows: tuple[str, ...]
    """The windows whose mean is compared."""
    value: float
    """Their mean."""
    error: float
    """Its standard error."""
    limit: float
    """How much worse chance alone may be."""

    @property
    def worse_by(self) -> float:
        """How much worse the mean is than the reference."""
        return self.value - self.reference

    @property
    def difference_error(self) -> float:
        """The standard error of :attr:`worse_by`."""
        return sqrt(self.error**2 + self.reference_error**2)


def lookbacks(grain: Grain, shortest: int) -> list[int]:
    """How many of the newest windows are averaged: ``shortest``, twice as many and so on, up to half a year."""
    found = [shortest]
    while found[-1] * 2 <= LONGEST[grain]:
        found.append(found[-1] * 2)
    return found


def tail(grain: Grain, shortest: int, length: int, confidence: float) -> float:
    """The probability of seeming worse by chance that one comparison of ``length`` windows may have.

    A year without a change has no false incident with probability ``confidence``, so it may have -log(confidence) of
    them on average. Lookbacks share these equally, and the comparisons of a year share those of a lookback.
    """
    share = -log(confidence) / len(lookbacks(grain, shortest))
    return min(share / comparisons_a_year(grain, length), 0.5)


def comparisons_a_year(grain: Grain, length: int) -> float:
    """About how many independent comparisons a year has: twice as many as there are means without a common window.

    Means that are one window apart hardly differ. Simulation chose the factor (``make trust``).
    """
    return WINDOWS_A_YEAR[grain] * min(1.0, 2 / length)


def compare_windows(
    windows: Sequence[Measured], holdout: Measured, *, oldest: str, grain: Grain, shortest: int, confidence: float
) -> list[Compared]:
    """All comparisons of a version's windows (in order) that can be made, with what chance explains in each.

    Lookbacks have ``shortest`` windows at least, and none before the window ``oldest``. The windows just before one,
    as many again less one, count neither as changed nor as unchanged: wherever a change began, one lookback has it
    between its newest windows and those that say how much the version varies. With the first windows they are
    compared if half of these are known, and not among the newest themselves; a lookback longer than these, and than
    twice the shortest, is compared with them only, since the holdout's own error then decides, and remains the same.
    """
    found = []
    for length in lookbacks(grain, shortest):
        tested, rest = windows[-length:], windows[: max(len(windows) - 2 * length + 1, 0)]
        if len(tested) < length or tested[0].window < oldest:
            break
        first = rest[: FIRST_WINDOWS[grain]]
        enough = 2 * len(first) >= FIRST_WINDOWS[grain]
        spread = Spread.of([first, rest[len(first) :]] if enough else [rest], [*tested, holdout])
        if spread is None:
            continue
        chance = tail(grain, shortest, length, confidence)
        if length <= max(FIRST_WINDOWS[grain], 2 * shortest):
            found.append(_compared("holdout", [holdout], tested, spread, chance))
        if enough:
            found.append(_compared("first windows", first, tested, spread, chance))
    return found


def _compared(
    source: Source, reference: Sequence[Measured], tested: Sequence[Measured], spread: Spread, chance: float
) -> Compared:
    held_out = source == "holdout"
    errors = spread.of_holdout(reference[0]) if held_out else spread.of_mean(reference), spread.of_mean(tested)
    degrees = min(spread.degrees, PRIOR_DEGREES) if held_out else spread.degrees
    flattery = (reference[0].error or spread.usual) if held_out else 0.0
    return Compared(
        source,
        _mean([one.value for one in reference]),
        errors[0],
        () if held_out else tuple(one.window for one in reference),
        tuple(one.window for one in tested),
        _mean([one.value for one in tested]),
        errors[1],
        limit=flattery + _quantile(chance, degrees) * sqrt(errors[0] ** 2 + errors[1] ** 2),
    )


@dataclass(frozen=True)
class Spread:
    """How much a version's windows vary."""

    dispersion: float
    """Variance of windows relative to the squares of their errors."""
    degrees: int
    """Degrees of freedom of this estimate."""
    memory: float
    """Autocorrelation of successive windows."""
    usual: float
    """Error of figures that have none of their own."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[Measured]], others: Sequence[Measured]) -> Spread | None:
        """The spread of windows around the mean of their group; None if nothing says how much they vary.

        ``others`` are figures that say nothing about the spread themselves, but whose errors do.
        """
        errors = [one.error for group in (*groups, others) for one in group]
        known = [error for error in errors if error]
        usual = sqrt(_mean([error**2 for error in known])) if known else 1.0
        squares = products = 0.0
        degrees = 0
        for group in groups:
            if len(group) > 1:
                values = np.array([one.value for one in group])
                residuals = (values - values.mean()) / np.array([one.error or usual for one in group])
                squares += float(residuals @ residuals)
                products += float(residuals[:-1] @ residuals[1:])
                degrees += len(group) - 1
        prior = PRIOR_DEGREES if known else 0
        if prior + degrees < FEWEST_DEGREES:
            return None
        memory = products / squares + 1 / (degrees + 1) if squares else 0.0
        memory *= degrees / (degrees + PRIOR_DEGREES)
        dispersion = (prior * DISPERSION + squares) / (prior + degrees)
        if not known:
            dispersion, usual = 1.0, sqrt(dispersion)
        return cls(dispersion, prior + degrees, min(max(memory, 0.0), STRONGEST_MEMORY), usual)

    def of_mean(self, figures: Sequence[Measured]) -> float:
        """The standard error of the mean of successive figures."""
        count, memory = len(figures), self.memory
        variance = self.dispersion * sum((one.error or self.usual) ** 2 for one in figures) / count**2
        shared = 2 * memory / (1 - memory) * (1 - (1 - memory**count) / (count * (1 - memory)))
        return sqrt(variance * (1 + shared))

    def of_holdout(self, holdout: Measured) -> float:
        """The standard error of the holdout's figure, never less than :data:`DISPERSION` says."""
        return sqrt(max(self.dispersion, DISPERSION)) * (holdout.error or self.usual)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@lru_cache(maxsize=4096)
def _quantile(chance: float, degrees: int) -> float:
    return -float(stdtrit(degrees, chance)) if chance > 0 else inf
