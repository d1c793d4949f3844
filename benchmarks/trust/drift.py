"""How often drift is reported that is none, and how often real drift is found: by simulation and on real flights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.trust.table import Row
from include.adapters.spec_file import load_spec
from include.core.drift.columns import drift
from include.core.drift.counts import WindowCount, count_column, count_frame, reference_of
from include.core.drift.distribution import Array, CategoryDistribution, Profile
from include.core.drift.multivariate import Sample, compare
from include.core.drift.profile import build_profile
from include.core.spec import ModelSpec
from include.settings import PROJECT
from tests.support.specs import columns, model_spec

RATE, CLASSIFIER_RATE = 0.05, 0.025
DEPENDENCES = ("none", "day")
CATEGORY_REFERENCES = 12
CLUSTER_REPEATS = 40
WIND_YEARS = 3
Changes = Mapping[str, Callable[[pd.Series], pd.Series]]
CHANGES: Changes = {
    "times 1.6": lambda values: values * 1.6,
    "a third missing": lambda values: values.where(np.arange(len(values)) % 3 > 0),
    "+0.1 sd": lambda values: values + 0.1 * values.std(),
    "+0.2 sd": lambda values: values + 0.2 * values.std(),
    "+0.3 sd": lambda values: values + 0.3 * values.std(),
}


def with_dependence(spec: ModelSpec, dependence: str, **monitoring: float) -> ModelSpec:
    """The spec with other rules."""
    return spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"dependence": dependence}),
            "monitoring": spec.monitoring.model_copy(update=monitoring),
        }
    )


def profile_of(frame: pd.DataFrame, spec: ModelSpec) -> Profile:
    """The profile of a reference whose predictions are a column."""
    return build_profile(frame, spec, frame["prediction"].to_numpy(), frame)


def days_of(frame: pd.DataFrame, spec: ModelSpec) -> int:
    """The number of days with rows."""
    return int(frame[spec.data.event_time].dt.floor("D").nunique())


def own_windows(
    what: str, reference: pd.DataFrame, windows: Sequence[pd.DataFrame], spec: ModelSpec, effects: Sequence[float]
) -> Iterator[Row]:
    """The share of windows that are reported; the reference may contain them."""
    for effect in effects:
        shares = []
        for dependence in DEPENDENCES:
            own = with_dependence(spec, dependence, drift_effect_at_least=effect)
            profile = profile_of(reference, own)
            found = [
                bool(drift(profile, count_frame(one, profile, own), own, days=days_of(one, own)).drifted)
                for one in windows
            ]
            shares.append(f"{np.mean(found):.2f}")
        yield Row(f"{what} ({len(windows)}), effect from {effect:g}", f"{RATE:g}", *shares)


def power(what: str, reference: pd.DataFrame, windows: Sequence[pd.DataFrame], names: Sequence[str]) -> Iterator[Row]:
    """How often changes of a single column are found in it, column by column, at the smallest effect 0.02."""
    shares: dict[str, list[str]] = {f"{change} of {name}": [] for name in names for change in CHANGES}
    for dependence in DEPENDENCES:
        spec = with_dependence(flights_spec(), dependence, drift_effect_at_least=0.02)
        profile = profile_of(reference, spec)
        hits = dict.fromkeys(shares, 0)
        for window in windows:
            count, days = count_frame(window, profile, spec), days_of(window, spec)
            for name in names:
                for change, apply in CHANGES.items():
                    changed = _with_column(count, name, apply(window[name]), profile, spec)
                    hits[f"{change} of {name}"] += name in drift(profile, changed, spec, days=days).drifted
        for label, number in hits.items():
            shares[label].append(f"{number / len(windows):.2f}")
    for label, found in shares.items():
        yield Row(f"power: {what} ({len(windows)}), {label}", "–", *found)


def _with_column(count: WindowCount, name: str, values: pd.Series, profile: Profile, spec: ModelSpec) -> WindowCount:
    feature = next(one for one in spec.features if one.name == name)
    counted = count_column(values, feature, reference_of(profile, name))
    return replace(count, columns={**count.columns, name: counted})


@cache
def flights_spec() -> ModelSpec:
    """The specification of flights."""
    return load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")


@cache
def flights_year() -> pd.DataFrame:
    """All flights of 2013, with the scores of a model that has seen a tenth of them."""
    from demo.flights_data import read_year
    from include.models.flights.model import estimator

    year, spec = read_year(), flights_spec()
    some = year.sample(frac=0.1, random_state=0)
    fitted = estimator(seed=0).fit(some[spec.feature_names], some[spec.target])
    return year.assign(prediction=fitted.predict_proba(year[spec.feature_names])[:, 1])


def flights() -> Iterator[Row]:
    """Windows of the year against the year, every second week against the others, and what is found."""
    year, spec = flights_year(), flights_spec()
    day = (year[spec.data.event_time] - pd.Timestamp("2013-01-01")).dt.days
    months, weeks = (_groups(year, key) for key in (year["window"], day // 7))
    yield from own_windows("flights: months against their year", year, months, spec, (0.02, 0.1))
    yield from own_windows("flights: weeks against their year", year, weeks, spec, (0.02, 0.1))
    yield from own_windows("flights: days against their year", year, _groups(year, day)[::9], spec, (0.02,))
    odd = pd.concat(weeks[1::2])
    yield from own_windows("flights: every second week against the others", odd, weeks[::2], spec, (0.02,))
    times = {spec.data.event_time: year[spec.data.event_time].to_numpy()}
    shuffled = year.sample(frac=1, random_state=0).assign(**times)
    some = _groups(shuffled, day.to_numpy() // 7)[::3]
    yield from own_windows("flights: weeks of the year with rows shuffled", shuffled, some, spec, (0.02,))
    yield from power("flights' months against their year", year, months[::3], ("distance", "temperature"))


def _groups(frame: pd.DataFrame, key: Any) -> list[pd.DataFrame]:
    return [part for _, part in frame.groupby(key) if len(part) >= 500]


def wind(days: int, random: np.random.Generator) -> pd.DataFrame:
    """Ten-minute measurements that resemble their predecessors, with a season of a year."""
    count = days * 144
    noise = random.standard_normal((3, count))
    for place in range(1, count):
        noise[:, place] = 0.995 * noise[:, place - 1] + (1 - 0.995**2) ** 0.5 * noise[:, place]
    at = pd.Timestamp("2013-01-01") + pd.to_timedelta(np.arange(count) * 10, unit="min")
    season = np.sin(2 * np.pi * np.arange(count) / (365 * 144))
    speed = np.exp(1.8 + 0.4 * noise[0] + 0.2 * season)
    return pd.DataFrame(
        {"speed": speed, "temperature": 10 + 8 * season + 3 * noise[1], "direction": noise[2], "at": at}
    ).assign(prediction=speed**2)


def wind_windows() -> Iterator[Row]:
    """Weeks and months of simulated wind, against their own year."""
    spec = model_spec(
        task="regression", target="y", features=columns(speed="number", temperature="number", direction="number")
    )
    for name, length, every in (("weeks", 7, 4), ("months", 30, 1)):
        shares: list[list[bool]] = [[] for _ in DEPENDENCES]
        for seed in range(WIND_YEARS):
            year = wind(365, np.random.default_rng(seed))
            windows = _groups(year, (year["at"] - year["at"].min()).dt.days // length)[::every]
            for found, dependence in zip(shares, DEPENDENCES, strict=True):
                own = with_dependence(spec, dependence)
                profile = profile_of(year, own)
                for one in windows:
                    summary = drift(profile, count_frame(one, profile, own), own, days=days_of(one, own))
                    found.append(bool(summary.drifted))
        texts = [f"{np.mean(found):.2f}" for found in shares]
        yield Row(f"simulated wind: {name} against their year ({len(shares[0])}), effect from 0.02", "0.05", *texts)


def clustered(rows: int, size: int, alike: float, random: np.random.Generator, start: int) -> pd.DataFrame:
    """Rows of sessions: of ``size`` rows each, with an intra-class correlation of ``alike`` in every column."""
    session = np.arange(rows) // size

    def column() -> Array:
        shared, own = random.standard_normal(session.max() + 1)[session], random.standard_normal(rows)
        values: Array = np.sqrt(alike) * shared + np.sqrt(1 - alike) * own
        return values

    frame = pd.DataFrame({f"x{number}": column() for number in range(4)})
    at = pd.Timestamp("2013-05-01") + pd.to_timedelta(random.integers(0, 30, session.max() + 1)[session], unit="D")
    return frame.assign(session=[f"s{start + number}" for number in session], at=at, prediction=column())


def clusters() -> Iterator[Row]:
    """Windows of the same sessions as the reference, by columns and by the classifier."""
    features = [*columns(x0="number", x1="number", x2="number", x3="number"), *columns(session="category")]
    spec = model_spec(task="regression", target="y", features=features)
    for size, alike in ((3, 1.0), (10, 0.5)):
        by_column, by_classifier, found = [0, 0], [0, 0], [0, 0]
        for seed in range(CLUSTER_REPEATS):
            random = np.random.default_rng(seed)
            before, now = clustered(3000, size, alike, random, 0), clustered(1500, size, alike, random, 10_000)
            turned = now.assign(x1=np.where(np.arange(1500) % 2 > 0, now["x1"], now["x0"]))
            for number, dependence in enumerate(("none", "session")):
                own = with_dependence(spec, dependence, drift_effect_at_least=0.0)
                numbers = own.model_copy(update={"features": own.features[:4]})
                profile = profile_of(before, numbers)
                summary = drift(profile, count_frame(now, profile, numbers), numbers, days=30)
                by_column[number] += bool(summary.drifted)
                by_classifier[number] += told_apart(before, now, numbers, seed)
                found[number] += seed < CLUSTER_REPEATS // 4 and told_apart(before, turned, numbers, seed)
        what = f"sessions of {size} rows, correlation {alike:g}"
        yield Row(f"{what}: a column is reported", f"{RATE:g}", *(f"{n / CLUSTER_REPEATS:.3f}" for n in by_column))
        shares = (f"{n / CLUSTER_REPEATS:.3f}" for n in by_classifier)
        yield Row(f"{what}: the classifier reports", f"{CLASSIFIER_RATE:g}", *shares)
        shares = (f"{n / (CLUSTER_REPEATS // 4):.2f}" for n in found)
        yield Row(f"power: {what}, half of one column copied to another, the classifier", "–", *shares)


def told_apart(before: pd.DataFrame, now: pd.DataFrame, spec: ModelSpec, seed: int) -> bool:
    """Whether the classifier reports a window; it may draw all rows of the reference."""
    time = spec.data.event_time

    def sample(frame: pd.DataFrame) -> Sample:
        names = [*spec.feature_names, *({spec.data.dependence} & {"session"})]
        frame = frame.reset_index(drop=True)
        return Sample(frame[names], len(frame), frame[time])

    def run(start: pd.Timestamp, end: pd.Timestamp, rows: int) -> Sample:
        inside = before[(before[time] >= start) & (before[time] < end)]
        return sample(inside.sample(min(rows, len(inside)), random_state=seed))

    return compare(sample(before), sample(now), spec, seed=seed, draw_run=run).status == "drifted"


def categories() -> Iterator[Row]:
    """Twenty columns of 5,000 categories each, against a reference of 2,000 rows."""
    names = [f"c{number}" for number in range(20)]
    spec = model_spec(task="regression", target="y", features=columns(**dict.fromkeys(names, "category")))
    own = with_dependence(spec, "none")
    evenly, steeply = np.full(5000, 1 / 5000), 1 / np.arange(1, 5001)
    for what, weights in (("equally frequent", evenly), ("of falling frequency", steeply / steeply.sum())):
        for rows in (500, 2000):
            alarms = [0, 0]
            for seed in range(CATEGORY_REFERENCES):
                random = np.random.default_rng(seed)
                before, now = (
                    pd.DataFrame({name: random.choice(5000, count, p=weights).astype(str) for name in names}).assign(
                        prediction=random.random(count)
                    )
                    for count in (2000, rows)
                )
                profile = profile_of(before, own)
                of_itself: Profile = {**profile, "features": {name: _listed_on_itself(before[name]) for name in names}}
                for number, known in enumerate((of_itself, profile)):
                    alarms[number] += bool(drift(known, count_frame(now, known, own), own).drifted)
            text = f"20 columns of 5,000 {what} categories, {rows} rows against 2,000"
            yield Row(text, f"{RATE:g}", *(f"{one / CATEGORY_REFERENCES:.2f}" for one in alarms))


def _listed_on_itself(values: pd.Series) -> CategoryDistribution:
    """The 50 most frequent categories, chosen and counted on the same rows, as profiles had it."""
    counts = {str(value): int(count) for value, count in values.value_counts().head(50).items()}
    rows = len(values)
    return {"kind": "category", "counts": counts, "other": rows - sum(counts.values()), "missing": 0, "rows": rows}


def rows() -> Iterator[Row]:
    """The lines about drift."""
    yield from flights()
    yield from wind_windows()
    yield from clusters()
    yield from categories()
