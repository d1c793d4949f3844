"""Data quality of a window as it was served: what the spec and the reference say values should be, and what came.

Unlike drift this is a rule and not a statistic: one value out of range is one too many, and is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.counts import ColumnCount, WindowCount, reference_of
from include.core.drift.profile import Array, as_numbers
from include.core.spec import Feature, ModelSpec

SKEW_ROWS = 100_000
"""So many rows of a window are compared with their source, which bounds memory and time."""
TOLERANCE = 1e-6
"""Numbers that differ by less than this share of themselves are equal: a request may carry single precision."""


def data_quality(
    window: WindowCount,
    spec: ModelSpec,
    profile: Mapping[str, Any] | None = None,
    *,
    repeats: int = 0,
    repeated_keys: int = 0,
    newest: datetime | None = None,
    until: datetime | None = None,
    skew: Mapping[str, Any] | None = None,
    row_count: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The checks of a counted window; JSON values only.

    ``repeats`` are rows that were logged twice and counted once, ``repeated_keys`` rows whose key had an answer
    before; ``newest`` is the newest event and ``until`` the window's end, or now if that is earlier. ``skew`` is what
    :func:`skew` found, ``row_count`` what :func:`include.core.health.row_count.judge_row_count` did.

    Returns ``{"rows", "row_count", "repeats", "repeated_keys", "newest", "hours_old", "features": {name: {"missing",
    "type_errors", "out_of_range", "new_categories"}}, "skew", "findings"}``: rows, and in ``findings`` a sentence for
    each check that does not hold.
    """
    features = {feature.name: _feature(feature, window, profile) for feature in spec.features}
    hours = (until - newest).total_seconds() / 3600 if newest and until else None
    findings = [f"{name}: {text}" for name, figure in features.items() for text in figure.pop("findings")]
    if row_count and row_count["finding"]:
        findings.insert(0, row_count["finding"])
    allowed = spec.data.newest_at_most_days_old
    if hours is not None and allowed is not None and hours > allowed * 24:
        findings.append(f"the newest event is {hours / 24:.1f} days old, {allowed:g} are allowed")
    if hours is not None and hours < 0:
        findings.append(f"events lie up to {-hours:.1f} hours in the future; look at the clocks of those who ask")
    for name, figure in ((skew or {}).get("features") or {}).items():
        if figure["different"]:
            findings.append(f"{name}: {figure['different']} of {figure['rows']} rows differ from the source")
    return {
        "rows": window.rows,
        "row_count": dict(row_count) if row_count else None,
        "repeats": repeats,
        "repeated_keys": repeated_keys,
        "newest": newest.isoformat() if newest else None,
        "hours_old": hours,
        "features": features,
        "skew": dict(skew) if skew else None,
        "findings": findings,
    }


def skew(served: pd.DataFrame, source: pd.DataFrame, spec: ModelSpec) -> dict[str, Any]:
    """Features as they were served against the same rows, by key, of the data that training reads.

    ``served`` has ``key`` and features, ``source`` has ``data.key`` and features, both of as many rows as are to be
    compared (:func:`sampled`). Returns ``{"rows", "features":
    {name: {"rows", "different"}}}``: how many served rows the source has, and how many of these differ. Numbers may
    differ by a millionth; missing on both sides is equal. A key that the source has twice is left out.
    """
    known = source.assign(**{spec.data.key: keys_as_text(source[spec.data.key])})
    known = known.dropna(subset=spec.data.key).drop_duplicates(spec.data.key, keep=False).set_index(spec.data.key)
    keys = keys_as_text(served["key"])
    common = keys.isin(known.index).to_numpy()
    ours, theirs = served[common], known.loc[keys[common]]
    features = {
        feature.name: {"rows": len(ours), "different": _different(ours[feature.name], theirs[feature.name], feature)}
        for feature in spec.features
        if feature.name in ours and feature.name in theirs
    }
    return {"rows": len(ours), "features": features}


def sampled(rows: Array, *, seed: int = 0) -> Array:
    """At most SKEW_ROWS of these positions, drawn without repetition and in their order; the same seed, the same ones.

    A difference in one row of 10,000 is missed by so many with probability exp(-10).
    """
    if len(rows) <= SKEW_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, SKEW_ROWS, replace=False))


def keys_as_text(keys: pd.Series) -> pd.Series:
    """Keys as text by the rule of categories: 3, 3.0 and "3" are the same key. Index from 0, None where missing."""
    return category_texts(keys, "category").reset_index(drop=True)


def _feature(feature: Feature, window: WindowCount, profile: Mapping[str, Any] | None) -> dict[str, Any]:
    count = window.columns.get(feature.name, ColumnCount())
    reference = reference_of(profile, feature.name)
    found = []
    share = count.missing / count.rows if count.rows else 0.0
    if share > feature.missing_at_most:
        found.append(f"{count.missing} of {count.rows} values are missing, {feature.missing_at_most:.1%} may be")
    if count.type_errors:
        found.append(f"{count.type_errors} values are not of type {feature.type}")
    if count.out_of_range:
        found.append(f"{count.out_of_range} values are outside of what model.yaml allows")
    complete = reference is not None and reference["kind"] == "category" and not reference["other"]
    new = count.bins[-1] if complete and count.bins else 0
    if new:
        found.append(f"{new} values are of categories that the reference does not have ({', '.join(count.new)})")
    return {
        "missing": count.missing,
        "type_errors": count.type_errors,
        "out_of_range": count.out_of_range,
        "new_categories": new,
        "findings": found,
    }


def _different(ours: pd.Series, theirs: pd.Series, feature: Feature) -> int:
    if feature.type in ("category", "boolean"):
        left, right = (category_texts(side, feature.type).to_numpy() for side in (ours, theirs))
        return int((left != right).sum())
    left, right = as_numbers(ours), as_numbers(theirs)
    close = abs(left - right) <= TOLERANCE * abs(right)
    return int((~(close | (left == right) | ((left != left) & (right != right)))).sum())
