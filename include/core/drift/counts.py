"""A window's rows counted in the bins of a reference: counts are small, and they add up exactly.

The count of two files is the sum of their counts, however the rows are split and in whatever order they arrive, so each
file of a window is read only once. The size of a count does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.distribution import Array, Distribution, Profile, as_numbers, bin_counts
from include.core.json_types import JsonObject
from include.core.spec import PREDICTION, Feature, ModelSpec

NEW_VALUES = 20
"""How many new categories are listed, in alphabetical order: unlike 'the most frequent', this adds up exactly.
"""


@dataclass(frozen=True)
class ColumnCount:
    """The counts of one column of a window, or of some of its rows."""

    rows: int = 0
    missing: int = 0
    """Rows without a usable value: null, not a number, or infinite."""
    type_errors: int = 0
    """Present values of the wrong type: text or infinity for a number, 2.5 for an integer."""
    out_of_range: int = 0
    """Values outside the spec's minimum, maximum or categories."""
    bins: tuple[int, ...] = ()
    """Rows by bin of the reference, in the order of its ``counts``; for categories the last bin is 'other'."""
    low: float | None = None
    high: float | None = None
    """Smallest and largest number."""
    new: dict[str, int] = field(default_factory=dict)
    """Categories missing from the reference → rows; at most NEW_VALUES of them."""

    def __add__(self, other: ColumnCount) -> ColumnCount:
        """The combined count."""
        if self.rows and other.rows and len(self.bins) != len(other.bins):
            raise ValueError("counts were made with different references; count both with the same profile")
        longest = max(len(self.bins), len(other.bins))
        pairs = zip(self.bins or (0,) * longest, other.bins or (0,) * longest, strict=True)
        lows = [value for value in (self.low, other.low) if value is not None]
        highs = [value for value in (self.high, other.high) if value is not None]
        new = {value: self.new.get(value, 0) + other.new.get(value, 0) for value in {*self.new, *other.new}}
        return ColumnCount(
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            type_errors=self.type_errors + other.type_errors,
            out_of_range=self.out_of_range + other.out_of_range,
            bins=tuple(left + right for left, right in pairs),
            low=min(lows, default=None),
            high=max(highs, default=None),
            new=_first_values(new),
        )


@dataclass(frozen=True)
class WindowCount:
    """The counts of a window's features and predictions, or of some of its rows."""

    rows: int = 0
    columns: dict[str, ColumnCount] = field(default_factory=dict)
    """Feature, or ``prediction`` → its count."""

    def __add__(self, other: WindowCount) -> WindowCount:
        """The combined count."""
        names = list(dict.fromkeys([*self.columns, *other.columns]))
        return WindowCount(
            self.rows + other.rows,
            {name: self.columns.get(name, ColumnCount()) + other.columns.get(name, ColumnCount()) for name in names},
        )

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> WindowCount:
        """The count from the output of :meth:`as_dict`."""
        columns = {name: ColumnCount(**{**v, "bins": tuple(v["bins"])}) for name, v in values["columns"].items()}
        return cls(values["rows"], columns)


def counted_columns(spec: ModelSpec) -> list[Feature]:
    """The columns of a window that are counted: the features, and the prediction as a number."""
    return [*spec.features, PREDICTION]


def reference_of(profile: Profile | None, column: str) -> Distribution | None:
    """The distribution of a feature or of the prediction in a profile; None if missing or without rows."""
    if not profile:
        return None
    reference = profile["prediction"] if column == PREDICTION.name else profile["features"].get(column)
    return reference if reference and reference["rows"] else None


def count_frame(frame: pd.DataFrame, profile: Profile | None, spec: ModelSpec) -> WindowCount:
    """Count rows in memory; the values of an absent column count as missing."""
    columns = {}
    for feature in counted_columns(spec):
        values = frame[feature.name] if feature.name in frame else pd.Series([None] * len(frame), dtype="object")
        columns[feature.name] = count_column(values, feature, reference_of(profile, feature.name))
    return WindowCount(len(frame), columns)


def count_column(values: pd.Series, feature: Feature, reference: Distribution | None) -> ColumnCount:
    """Count one column of any dtype."""
    if feature.type in ("category", "boolean"):
        text = category_texts(values, feature.type).dropna()
        tally = {str(value): int(count) for value, count in text.value_counts().items()}
        unreadable = int(values.notna().sum()) - len(text)
        return replace(count_categories(tally, len(values), feature, reference), type_errors=unreadable)
    numbers = as_numbers(values)
    unreadable = int(np.isnan(numbers).sum() - values.isna().sum())
    return count_numbers(numbers, feature, reference, unreadable=unreadable)


def count_numbers(
    values: Array, feature: Feature, reference: Distribution | None, *, unreadable: int = 0
) -> ColumnCount:
    """Count floats, shape [n]; NaN is missing. ``unreadable`` NaNs were present but not numbers.

    A single sort gives all counts, and is faster than looking up the bin of each value.
    """
    ordered = np.sort(values)  # NaN sorts last
    first, last = np.searchsorted(ordered, -np.inf, side="right"), np.searchsorted(ordered, np.inf, side="left")
    infinite = int(first + np.searchsorted(ordered, np.inf, side="right") - last)
    present = ordered[first:last]
    outside = 0
    if feature.minimum is not None:
        outside += int(np.searchsorted(present, feature.minimum, side="left"))
    if feature.maximum is not None:
        outside += len(present) - int(np.searchsorted(present, feature.maximum, side="right"))
    fractional = int(np.count_nonzero(present != np.floor(present))) if feature.type == "integer" else 0
    bins: tuple[int, ...] = ()
    if reference and reference["kind"] == "numeric":
        bins = tuple(bin_counts(present, np.asarray(reference["edges"], dtype=float)).tolist())
    return ColumnCount(
        rows=len(values),
        missing=len(values) - len(present),
        type_errors=unreadable + infinite + fractional,
        out_of_range=outside,
        bins=bins,
        low=float(present[0]) if len(present) else None,
        high=float(present[-1]) if len(present) else None,
    )


def count_categories(
    tally: Mapping[str, int], rows: int, feature: Feature, reference: Distribution | None
) -> ColumnCount:
    """Count categories from the frequency of each value in ``rows`` rows; the rest is missing."""
    present = sum(tally.values())
    bins: tuple[int, ...] = ()
    new: dict[str, int] = {}
    if reference and reference["kind"] == "category":
        known = tuple(tally.get(value, 0) for value in reference["counts"])
        bins = (*known, present - sum(known))
        new = _first_values({value: count for value, count in tally.items() if value not in reference["counts"]})
    allowed = feature.categories
    outside = 0 if allowed is None else present - sum(tally.get(value, 0) for value in set(allowed))
    return ColumnCount(rows=rows, missing=rows - present, out_of_range=outside, bins=bins, new=new)


def _first_values(counts: dict[str, int]) -> dict[str, int]:
    """The NEW_VALUES first values; each is also among the first of every addend that contains it."""
    return {value: counts[value] for value in sorted(counts)[:NEW_VALUES]}
