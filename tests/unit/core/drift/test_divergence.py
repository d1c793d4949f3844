"""Our distances are the ones that everybody means: held against scipy and tables worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from include.core.drift import divergence

counts = st.lists(st.integers(0, 1000), min_size=6, max_size=6).filter(lambda values: sum(values) > 0)


def test_psi_is_the_sum_worked_out_by_hand() -> None:
    # 29.5, 49.5, 19.5 and 39.5, 39.5, 19.5 become 30, 50, 20 and 40, 40, 20 of a hundred:
    # (0.4 - 0.3) ln(4/3) + (0.4 - 0.5) ln(4/5) + 0 = 0.0287682 + 0.0223144
    expected, found = np.array([29.5, 49.5, 19.5]), np.array([39.5, 39.5, 19.5])
    assert divergence.psi(expected, found) == pytest.approx(0.0510826, abs=1e-7)


@given(counts, counts)
def test_psi_is_scipys_relative_entropy_both_ways_and_no_worse_than_finite(before: Any, now: Any) -> None:
    expected, found = np.array(before, dtype=float), np.array(now, dtype=float)
    used = expected + found > 0
    left, right = expected[used] + 0.5, found[used] + 0.5
    psi = divergence.psi(expected, found)
    assert psi == pytest.approx(stats.entropy(left, right) + stats.entropy(right, left), abs=1e-9)
    assert psi >= -1e-12
    assert divergence.psi(expected, expected) == pytest.approx(0)


@given(counts, counts)
def test_jensen_shannon_is_scipys(before: Any, now: Any) -> None:
    ours = divergence.jensen_shannon(np.array(before, dtype=float), np.array(now, dtype=float))
    theirs = np.nan_to_num(distance.jensenshannon(before, now, base=2))  # rounding below 0 gives scipy a nan
    assert ours == pytest.approx(theirs, abs=1e-6)


@given(counts, counts)
def test_chi_square_is_scipys(before: Any, now: Any) -> None:
    table = np.array([before, now], dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    theirs = stats.chi2_contingency(table, correction=False).statistic
    assert divergence.chi_square(np.array(before, dtype=float), np.array(now, dtype=float)) == pytest.approx(theirs)


@given(counts, counts)
def test_distances_of_few_values_are_scipys_of_the_rows(before: Any, now: Any) -> None:
    values = np.array([0, 1, 2, 5, 7, 11])
    expected, found = np.array(before, dtype=float), np.array(now, dtype=float)
    ks = divergence.kolmogorov_smirnov(expected, found)
    # Without its exact p-value, which takes scipy longer than hypothesis' deadline on a busy machine.
    theirs = stats.ks_2samp(np.repeat(values, before), np.repeat(values, now), method="asymp").statistic
    assert ks == pytest.approx(theirs)
    earth = divergence.wasserstein(expected, found, values, steps=True)
    assert earth == pytest.approx(stats.wasserstein_distance(values, values, before, now), abs=1e-9)


@given(counts, counts)
def test_wasserstein_between_edges_is_the_area_between_straight_lines(before: Any, now: Any) -> None:
    edges = np.array([0, 1, 2, 4, 8, 8.5, 9])
    expected, found = np.array(before, dtype=float), np.array(now, dtype=float)
    x = np.linspace(0, 9, 200_001)
    lines = [np.interp(x, edges, np.concatenate([[0], np.cumsum(c) / c.sum()])) for c in (expected, found)]
    area = np.trapezoid(np.abs(lines[0] - lines[1]), x)
    assert divergence.wasserstein(expected, found, edges, steps=False) == pytest.approx(area, abs=1e-4)


def test_moved_is_the_share_of_rows_in_another_bin() -> None:
    assert divergence.total_variation(np.array([5e6, 5e6, 0]), np.array([4e6, 4e6, 2e6])) == pytest.approx(0.2)


def test_moved_is_corrected_for_what_chance_moves() -> None:
    before, now = np.array([50.0, 50.0, 0.0]), np.array([4.0, 4.0, 2.0])
    explained = 2 / divergence.chi_square(before, now)
    assert divergence.total_variation(before, now) == pytest.approx(0.2 * np.sqrt(1 - explained))
    assert divergence.total_variation(before, now, effect=100) == 0
    assert divergence.total_variation(before, before) == 0


def test_many_windows_are_scored_at_once() -> None:
    expected = np.array([5.0, 9.0, 2.0])
    windows = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]])
    for score in (divergence.psi, divergence.jensen_shannon, divergence.chi_square, divergence.kolmogorov_smirnov):
        assert score(expected, windows) == pytest.approx([score(expected, window) for window in windows])
