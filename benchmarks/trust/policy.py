"""How often the retraining policy starts a training of a model that does not change, and how soon it finds a drop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from statistics import median

import numpy as np
import pandas as pd

from benchmarks.trust.table import Row
from include.adapters.spec_file import load_spec
from include.core.health.chance import WINDOWS_A_YEAR
from include.core.health.degradation import Judged, find_degradation, judge_window
from include.core.health.false_incidents import at_most, by_point
from include.core.health.summary import WindowSummary
from include.core.quality.blocks import blocks_of
from include.core.quality.evaluation import figures
from include.core.quality.figures import QualityFigure
from include.core.spec import Degradation, ModelSpec
from include.core.windows import Grain, windows_before
from include.settings import PROJECT
from tests.support.health_rows import health_row
from tests.support.specs import model_spec

YEARS: dict[Grain, int] = {"month": 200, "week": 40, "day": 10}
"""Simulated years of each kind."""
EIGHT_WEEKS: dict[Grain, int] = {"month": 2, "week": 8, "day": 56}
NAMES: dict[Grain, str] = {"month": "monthly", "week": "weekly", "day": "daily"}
ROWS, AUC, DROP = 2000, 0.7, 0.03
NEVER = 10**6
METRIC = "roc_auc"
NEWEST: dict[Grain, str] = {"month": "2014-12", "week": "2014-W50", "day": "2014-12-31"}
DROPS = ((0.05, True), (0.05, False), (0.2, False))
"""How much worse the model becomes; after half a year, or from its first day on."""


@dataclass(frozen=True)
class Kind:
    """How windows of a model that does not change differ: figures to draw from, in the order of time."""

    name: str
    windows: Sequence[QualityFigure]
    holdouts: Sequence[QualityFigure]
    together: int
    """So many successive windows are drawn together, since they resemble each other."""

    def draw(self, count: int, random: np.random.Generator) -> tuple[list[QualityFigure], QualityFigure]:
        """Successive windows and a holdout, both of the same model."""
        starts = random.integers(0, len(self.windows), -(-count // self.together))
        places = (starts[:, None] + np.arange(self.together)).ravel()[:count] % len(self.windows)
        return [self.windows[int(place)] for place in places], self.holdouts[int(random.integers(len(self.holdouts)))]


def independent(grain: Grain) -> Kind:
    """AUC of 2,000 independent rows a window and on the holdout, a quarter of them positive.

    The standard error is that of J. A. Hanley, B. J. McNeil, Radiology 143 (1982).
    """
    random, positives = np.random.default_rng(0), ROWS // 4
    one, two = AUC / (2 - AUC), 2 * AUC**2 / (1 + AUC)
    variance = AUC * (1 - AUC) + (positives - 1) * (one - AUC**2) + (ROWS - positives - 1) * (two - AUC**2)
    error = sqrt(variance / positives / (ROWS - positives))

    def drawn(days: int) -> QualityFigure:
        told = error * sqrt(random.chisquare(max(days - 1, 1)) / max(days - 1, 1)) if days > 1 else None
        return QualityFigure(AUC + error * random.standard_normal(), n=ROWS, error=told, blocks=days)

    days = {"month": 30, "week": 7, "day": 1}[grain]
    return Kind("independent rows", [drawn(days) for _ in range(3000)], [drawn(14) for _ in range(3000)], 1)


@cache
def scored() -> tuple[ModelSpec, pd.DataFrame]:
    """The flights of March to December with the probabilities of a model of January and February."""
    from demo.flights_data import read_year
    from include.models.flights.model import estimator

    spec, year = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml"), read_year()
    early, late = year[year["window"] <= "2013-02"], year[year["window"] >= "2013-03"]
    fitted = estimator(seed=0).fit(early[spec.feature_names], early[spec.target])
    return spec, late.assign(score=fitted.predict_proba(late[spec.feature_names])[:, 1])


def real(grain: Grain) -> Kind:
    """Real flights: the AUC of each window, and of each fortnight as a holdout, around their own means.

    A dip of three weeks in autumn is among them, which a year of weeks then has about once.
    """
    spec, late = scored()
    moment = late[spec.data.event_time]
    fortnight = (moment - moment.min()).dt.days // 14
    key = moment.dt.strftime({"month": "%Y-%m", "week": "%G-W%V", "day": "%Y-%m-%d"}[grain])
    windows, holdouts = (_measured(spec, late, by) for by in (key, fortnight))
    return Kind("flights' own", windows, holdouts, together={"month": 1, "week": 2, "day": 7}[grain])


def spread(grain: Grain) -> Kind:
    """Windows and holdouts that vary independently by the standard deviation of the real ones, with their errors."""
    kind, random = real(grain), np.random.default_rng(0)

    def redrawn(figures_: Sequence[QualityFigure]) -> list[QualityFigure]:
        deviation = float(np.std([one.value for one in figures_ if one.value is not None], ddof=1))
        drawn = [figures_[int(place)] for place in random.integers(0, len(figures_), 3000)]
        return [replace(one, value=AUC + deviation * random.standard_normal()) for one in drawn]

    return Kind("flights' spread", redrawn(kind.windows), redrawn(kind.holdouts), 1)


def _measured(spec: ModelSpec, late: pd.DataFrame, by: pd.Series[str]) -> list[QualityFigure]:
    """The AUC of each part with at least 200 flights, moved so that their mean is 0.7."""
    found = []
    for _, part in late.groupby(by):
        if len(part) >= 200:
            blocks = blocks_of(part, spec, spec.data.event_time)
            found.append(figures(part[spec.target], part["score"], [METRIC], blocks=blocks, resamples=100)[METRIC])
    mean = float(np.mean([one.value for one in found if one.value is not None]))
    return [replace(one, value=one.value - mean + AUC) for one in found if one.value is not None]


def spec_for(grain: Grain, confidence: float | str) -> ModelSpec:
    """The default settings with a drop of 0.03, and this confidence."""
    return model_spec(monitoring={"window": grain}, degradation={"drop": DROP, "confidence": confidence})


DEFAULT = Degradation(drop=DROP).confidence


def judged_year(spec: ModelSpec, kind: Kind, seed: int, *, flattery: float, drop: float, at: int) -> list[Judged]:
    """The windows of a year, as the policy judges them; from the window ``at`` on, the model is worse by ``drop``."""
    grain = spec.monitoring.window
    count = WINDOWS_A_YEAR[grain]
    drawn, holdout = kind.draw(count, np.random.default_rng(seed))
    base = WindowSummary.of(health_row("2014-12", AUC))
    found = []
    for place, key in enumerate(windows_before(NEWEST[grain], grain, count)):
        figure = drawn[place]
        value = (figure.value or 0.0) - (drop if place >= at else 0.0)
        reference = (holdout.value or 0.0) + flattery
        window = replace(base, window=key, rows=ROWS, value=value, error=figure.error, reference=reference)
        judged = judge_window(spec, replace(window, holdout=replace(holdout, value=reference)))
        assert isinstance(judged, Judged), judged
        found.append(judged)
    return found


def incidents(
    spec: ModelSpec, judged: Sequence[Judged], *, begin: int = 0, end: int = NEVER, most: int = NEVER
) -> list[int]:
    """The places of the windows that open an incident, with the cooldown but without a budget."""
    opened: list[int] = []
    for place in range(begin, min(end, len(judged))):
        cooling = opened and place - opened[-1] <= spec.degradation.cooldown_windows
        if cooling or len(opened) >= most:
            continue
        found = find_degradation(spec, judged[: place + 1])
        if not found.within and not found.doubt:
            opened.append(place)
    return opened


def unchanged(spec: ModelSpec, kind: Kind, flattery: float) -> tuple[float, float]:
    """Incidents a year of a model that does not change, and the share of years with any."""
    grain = spec.monitoring.window
    found = [
        len(incidents(spec, judged_year(spec, kind, seed, flattery=flattery, drop=0.0, at=NEVER)))
        for seed in range(YEARS[grain])
    ]
    return float(np.mean(found)), float(np.mean([one > 0 for one in found]))


def detection(spec: ModelSpec, kind: Kind, drop: float, at: int) -> str:
    """The share of drops that are found within eight weeks, and after how many weeks half of these are."""
    grain = spec.monitoring.window
    end, weeks = at + EIGHT_WEEKS[grain], []
    for seed in range(YEARS[grain]):
        judged = judged_year(spec, kind, seed, flattery=0.0, drop=drop, at=at)
        opened = incidents(spec, judged, begin=at, end=end, most=1)
        weeks += [(opened[0] - at + 1) * 8 / EIGHT_WEEKS[grain]] if opened else []
    share = len(weeks) / YEARS[grain]
    return f"{share:.2f}" + (f" (half of these by week {median(weeks):.0f})" if weeks else "")


def rows_of(kind: Kind, grain: Grain) -> Iterator[Row]:
    """The lines about windows of one kind and length."""
    plain, default = spec_for(grain, "none"), spec_for(grain, DEFAULT)
    about = f"{kind.name}, {NAMES[grain]} windows"
    for flattery in (0.0, 0.02, 0.03):
        found = [unchanged(spec, kind, flattery) for spec in (plain, default)]
        if flattery:
            what, nominal = f"{about}: the same, if the holdout is too good by {flattery:g}", "–"
        else:
            what = f"{about}: incidents a year without a change (share of years with any)"
            nominal = f"{at_most(default.degradation):.2f}"
        yield Row(what, nominal, *(f"{mean:.2f} ({years:.2f})" for mean, years in found))
    for drop, later in DROPS:
        at, when = (WINDOWS_A_YEAR[grain] // 2, "after half a year") if later else (0, "from the first day on")
        what = f"{about}: a drop of {drop:g} {when} is found within 8 weeks"
        yield Row(what, "–", detection(plain, kind, drop, at), detection(default, kind, drop, at))


def rows() -> Iterator[Row]:
    """The lines about the policy."""
    for make in (spread, real, independent):
        for grain in NAMES:
            yield from rows_of(make(grain), grain)
    weekly, plain = independent("week"), spec_for("week", "none")
    error = float(np.std([one.value for one in weekly.windows if one.value is not None]))
    formula = by_point(plain.degradation, "week", DROP, error, error)
    what = "incidents a year without a change by the formula of core/health/false_incidents, weekly, independent rows"
    yield Row(what, f"{formula:.2f}", f"{unchanged(plain, weekly, 0.0)[0]:.2f}", "–")
