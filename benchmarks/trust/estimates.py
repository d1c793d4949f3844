"""How often estimates before ground truth hold the actual value, on the weeks of real flights and of simulated wind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from benchmarks.trust.table import Row
from include.adapters.spec_file import load_spec
from include.core.quality.estimation import ERRORS_AT_MOST, build_estimator, estimate, with_measured_errors
from include.core.quality.evaluation import figures
from include.core.quality.figures import QualityFigure
from include.core.quality.metrics import Array
from include.core.spec import ModelSpec
from include.settings import PROJECT
from tests.support.specs import columns, model_spec

NOMINAL = ERRORS_AT_MOST / (ERRORS_AT_MOST + 1)
FARMS, YEAR, HOURS = 12, 52, 7 * 24
"""Simulated wind farms, weeks of each, and rows of a week."""


def weeks_inside(holdout: pd.DataFrame, weeks: Sequence[pd.DataFrame], spec: ModelSpec) -> dict[str, list[list[bool]]]:
    """Metric → for each week with an interval of measured errors, whether either interval holds the actual value.

    First the one that counts chance only, then the one that is reported.
    """
    estimator = build_estimator(holdout, spec)
    assert estimator, "the holdout has ground truth"
    errors: dict[str, list[float]] = defaultdict(list)
    inside: dict[str, list[list[bool]]] = defaultdict(list)
    for week in weeks:
        plain = estimate(estimator, week, spec)
        reported, made_of = with_measured_errors(plain, errors)
        actual = figures(
            week[spec.target], week["prediction"], spec.metrics.names, threshold=spec.metrics.threshold, resamples=0
        )
        for name in spec.metrics.names:
            value, estimated = actual[name].value, plain[name].value
            if value is None or estimated is None:
                continue
            if made_of.get(name) == ERRORS_AT_MOST:
                inside[name].append([_holds(each[name], value) for each in (plain, reported)])
            errors[name].append(value - estimated)
    return inside


def _holds(figure: QualityFigure, value: float) -> bool:
    return figure.low is not None and figure.high is not None and figure.low <= value <= figure.high


def flights() -> Iterator[Row]:
    """Models of the first months, on each of the weeks that follow two weeks of holdout."""
    from demo.flights_data import read_year
    from include.models.flights.model import estimator

    own = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    spec = own.model_copy(
        update={"metrics": own.metrics.model_copy(update={"also": ["log_loss", "brier", "precision", "recall"]})}
    )
    year = read_year()
    day = (year[spec.data.event_time] - year[spec.data.event_time].min()).dt.days
    inside: dict[str, list[list[bool]]] = defaultdict(list)
    for trained in (28, 42, 56, 70, 84):
        known = year[day < trained].sample(15_000, random_state=trained)
        fitted = estimator().fit(known[spec.feature_names], known[spec.target])
        later = year[day >= trained]
        later = later.assign(prediction=fitted.predict_proba(later[spec.feature_names])[:, 1])
        parts = [week for _, week in later.groupby((day[later.index] - trained) // 7) if len(week) > 2000]
        _add(inside, weeks_inside(pd.concat(parts[:2]), parts[2:], spec))
    yield from _rows("flights, 5 models", inside)


def autoregressive(count: int, memory: float, random: np.random.Generator) -> Array:
    """A standardized autoregressive series."""
    return np.asarray(lfilter([np.sqrt(1 - memory**2)], [1, -memory], random.standard_normal(count)))


def wind_year(random: np.random.Generator) -> pd.DataFrame:
    """Hourly power of a farm: a curve of the wind; the error is autoregressive, its scale changes by week."""
    count = YEAR * HOURS
    wind = 8 + 3 * autoregressive(count, 0.97, random)
    scale = np.exp(0.35 * autoregressive(YEAR, 0.7, random)).repeat(HOURS)
    curve = 20 / (1 + np.exp(-(wind - 8) / 2))
    error = autoregressive(count, 0.9, random) * scale * (0.5 + curve / 20)
    return pd.DataFrame({"wind": wind, "prediction": curve, "power": curve + error})


def wind() -> Iterator[Row]:
    """Farms of their own weather; the model is the true curve."""
    spec = model_spec(
        task="regression",
        target="power",
        features=columns(wind="number"),
        metrics={"primary": "mae", "also": ["rmse"]},
    )
    inside: dict[str, list[list[bool]]] = defaultdict(list)
    for seed in range(FARMS):
        year = wind_year(np.random.default_rng(seed))
        weeks = [week.reset_index(drop=True) for _, week in year.groupby(np.arange(len(year)) // HOURS)]
        _add(inside, weeks_inside(pd.concat(weeks[:2], ignore_index=True), weeks[2:], spec))
    yield from _rows(f"simulated wind, {FARMS} farms", inside)


def _add(whole: dict[str, list[list[bool]]], more: dict[str, list[list[bool]]]) -> None:
    for name, weeks in more.items():
        whole[name] += weeks


def _rows(what: str, inside: dict[str, list[list[bool]]]) -> Iterator[Row]:
    for name, weeks in inside.items():
        shares = np.mean(weeks, axis=0)
        yield Row(
            f"{what}: {name} of {len(weeks)} weeks inside (by chance only: 0.95)",
            f"{NOMINAL:.2f}",
            *(f"{share:.2f}" for share in shares),
        )


def rows() -> Iterator[Row]:
    """The lines about estimates."""
    yield from flights()
    yield from wind()
