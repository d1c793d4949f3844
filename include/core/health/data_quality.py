"""Data quality of a window as served: compares values with what the spec and the reference require.

Unlike drift, these are rules and not statistics: a single value out of range is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.counts import ColumnCount, WindowCount, reference_of
from include.core.drift.distribution import Array, Profile, as_numbers
from include.core.health.record import DataQuality, FeatureChecks, RowCount, Skew, SkewFigure
from include.core.spec import Feature, ModelSpec

SKEW_ROWS = 100_000
"""How many rows of a window are compared with their source at most, which limits memory and time."""
TOLERANCE = 1e-6
"""Relative difference up to which numbers are equal: requests may use single precision."""


@dataclass(frozen=True)
class ServedRows:
    """Facts about the live version's rows other than their values."""

    repeats: int = 0
    """Rows that were logged more than once; each is counted once."""
    repeated_keys: int = 0
    """Rows whose key had already been predicted."""
    newest: datetime | None = None
    """Timestamp of the newest event."""
    until: datetime | None = None
    """The window's end, or now if that is earlier."""

    @property
    def hours_old(self) -> float | None:
        """Age of the newest event at ``until``, in hours."""
        return (self.until - self.newest).total_seconds() / 3600 if self.newest and self.until else None


def data_quality(
    window: WindowCount,
    spec: ModelSpec,
    profile: Profile | None = None,
    served: ServedRows = ServedRows(),
    *,
    skew: Skew | None = None,
    row_count: RowCount | None = None,
) -> DataQuality:
    """The checks of a counted window."""
    checks = {feature.name: _checks(feature, window, profile) for feature in spec.features}
    features = [
        f"{feature.name}: {text}"
        for feature in spec.features
        for text in _findings(feature, checks[feature.name], window.columns.get(feature.name, ColumnCount()))
    ]
    findings = [*_of_row_count(row_count), *features, *_of_age(served.hours_old, spec), *_of_skew(skew)]
    return DataQuality(
        rows=window.rows,
        row_count=row_count,
        repeats=served.repeats,
        repeated_keys=served.repeated_keys,
        newest=served.newest.isoformat() if served.newest else None,
        hours_old=served.hours_old,
        features=checks,
        skew=skew,
        findings=tuple(findings),
    )


def skew(served: pd.DataFrame, source: pd.DataFrame, spec: ModelSpec, *, drawn_from: int | None = None) -> Skew:
    """Compare served features with the same rows, by key, of the data that training reads.

    ``served`` has ``key`` and features, a sample of ``drawn_from`` rows (:func:`sampled`); ``source`` has ``data.key``
    and features. Numbers may differ by a millionth; values missing on both sides are equal. Keys that occur more than
    once in the source are ignored.
    """
    known = source.assign(**{spec.data.key: keys_as_text(source[spec.data.key])})
    known = known.dropna(subset=spec.data.key).drop_duplicates(spec.data.key, keep=False).set_index(spec.data.key)
    keys = keys_as_text(served["key"])
    common = keys.isin(known.index).to_numpy()
    as_served, in_source = served[common], known.loc[keys[common]]
    features = {
        feature.name: SkewFigure(len(as_served), _different(as_served[feature.name], in_source[feature.name], feature))
        for feature in spec.features
        if feature.name in as_served and feature.name in in_source
    }
    return Skew(len(as_served), features, asked=len(served), of=len(served) if drawn_from is None else drawn_from)


def sampled(rows: Array, *, seed: int = 0) -> Array:
    """At most SKEW_ROWS of these positions, drawn without replacement, in order; reproducible by seed.

    This many rows miss a difference that affects 1 row in 10,000 with probability exp(-10).
    """
    if len(rows) <= SKEW_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, SKEW_ROWS, replace=False))


def keys_as_text(keys: pd.Series) -> pd.Series:
    """Keys as text, by the rule for categories: 3, 3.0 and "3" are the same key. Index from 0, None if missing."""
    return category_texts(keys, "category").reset_index(drop=True)


def _checks(feature: Feature, window: WindowCount, profile: Profile | None) -> FeatureChecks:
    count = window.columns.get(feature.name, ColumnCount())
    reference = reference_of(profile, feature.name)
    complete = reference is not None and reference["kind"] == "category" and not reference["other"]
    new = count.bins[-1] if complete and count.bins else 0
    return FeatureChecks(count.missing, count.type_errors, count.out_of_range, new)


def _findings(feature: Feature, checks: FeatureChecks, count: ColumnCount) -> Iterator[str]:
    share = checks.missing / count.rows if count.rows else 0.0
    if share > feature.missing_at_most:
        yield f"{checks.missing} of {count.rows} values are missing (allowed: {feature.missing_at_most:.1%})"
    if checks.type_errors:
        yield f"{checks.type_errors} values are not of type {feature.type}"
    if checks.out_of_range:
        yield f"{checks.out_of_range} values are outside the range or categories allowed in model.yaml"
    if checks.new_categories:
        new = ", ".join(count.new)
        yield f"{checks.new_categories} values have categories that are not in the reference ({new})"


def _of_row_count(count: RowCount | None) -> list[str]:
    return [count.finding] if count and count.finding else []


def _of_age(hours: float | None, spec: ModelSpec) -> Iterator[str]:
    allowed = spec.data.newest_at_most_days_old
    if hours is not None and allowed is not None and hours > allowed * 24:
        yield f"the newest event is {hours / 24:.1f} days old (allowed: {allowed:g})"
    if hours is not None and hours < 0:
        yield f"events are up to {-hours:.1f} hours in the future; check the clients' clocks"


def _of_skew(skew: Skew | None) -> Iterator[str]:
    for name, figure in skew.features.items() if skew else ():
        if figure.different:
            yield f"{name}: {figure.different} of {figure.rows} rows differ from the source"


def _different(served: pd.Series, source: pd.Series, feature: Feature) -> int:
    if feature.type in ("category", "boolean"):
        left, right = (category_texts(side, feature.type).to_numpy() for side in (served, source))
        return int((left != right).sum())
    left, right = as_numbers(served), as_numbers(source)
    close = abs(left - right) <= TOLERANCE * abs(right)
    return int((~(close | (left == right) | ((left != left) & (right != right)))).sum())
