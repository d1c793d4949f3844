"""The counts of a model server: many values at once are counted as each of them would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.runtime.server_metrics import SHORT, Buckets

BOUNDS = (0.0, 0.1, 0.5, 0.5, 1.0)


@given(st.lists(st.sampled_from([*BOUNDS, -1.0, 0.3, 0.7, 2.0]) | st.floats(-2, 2), max_size=3 * SHORT))
def test_values_counted_together_are_counted_as_one_by_one(values: list[float]) -> None:
    together, single = Buckets(BOUNDS), Buckets(BOUNDS)
    together.add_all(values)
    for value in values:
        single.add(value)
    assert together.counts == single.counts
    assert together.sum == pytest.approx(single.sum)
