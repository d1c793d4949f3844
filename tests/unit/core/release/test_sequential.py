"""Sequential tests: Wald's boundaries to the digit, and error rates that hold however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.release.sequential import log_excess, log_likelihood_ratio

GOOD, BAD, ALPHA, BETA = 0.1, 0.3, 0.02, 0.03
"""A lot with 10 % or with 30 % of bad items, as in A. Wald, Sequential Analysis, section 5.3."""


@pytest.mark.parametrize("total", [10, 14, 40, 100])
def test_a_ratio_crosses_a_boundary_where_walds_straight_lines_do(total: int) -> None:
    """Rejection from h1 + s n bad items on, acceptance down to -h0 + s n."""
    each = math.log(BAD / GOOD) - math.log((1 - BAD) / (1 - GOOD))
    slope = math.log((1 - GOOD) / (1 - BAD)) / each
    upper, lower = math.log((1 - BETA) / ALPHA), math.log(BETA / (1 - ALPHA))
    assert (slope, lower / each, upper / each) == pytest.approx((0.186169, -2.582626, 2.875389), abs=1e-6)
    for count in range(total + 1):
        ratio = log_likelihood_ratio(count, total, GOOD, BAD)
        assert (ratio >= upper) == (count >= upper / each + slope * total)
        assert (ratio <= lower) == (count <= lower / each + slope * total)


def test_the_default_canary_accepts_after_as_many_clean_requests_as_walds_formula_says() -> None:
    clean = math.log(0.05) / 2 / math.log(0.97 / 0.995)
    assert clean == pytest.approx(58.9, abs=0.1)
    assert log_likelihood_ratio(0, 59, 0.005, 0.03) <= math.log(0.05) / 2 < log_likelihood_ratio(0, 58, 0.005, 0.03)


def test_evidence_of_more_errors_is_the_mean_of_likelihood_ratios() -> None:
    """By hand: 3 errors of the one server, none of the other, each with half of the requests."""
    ratios = [(r / (r + 1) / 0.5) ** 3 for r in (1.5, 2, 4, 8)] + [8.0]
    assert log_excess(3, 100, 0, 100) == pytest.approx(math.log(sum(ratios) / 5))
    assert log_excess(0, 100, 0, 100) == 0.0
    assert log_excess(5, 100, 0, 0) == log_excess(0, 0, 5, 100) == 0.0, "nothing to compare with"


@given(st.integers(0, 50), st.integers(50, 500), st.integers(0, 50), st.integers(50, 500))
def test_more_errors_are_more_evidence_and_errors_of_the_other_server_are_less(
    count: int, total: int, other: int, other_total: int
) -> None:
    now = log_excess(count, total, other, other_total)
    assert log_excess(count + 1, total, other, other_total) > now
    assert log_excess(count, total, other + 1, other_total) < now + 1e-12


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_looking_after_each_request_finds_a_difference_of_equal_servers_as_rarely_as_promised(weight: float) -> None:
    """Of 400 pairs with 5 % errors each; a test for one look at 5 % would find one in most of them."""
    found = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        first, wrong = random.random(600) < weight, random.random(600) < 0.05
        counts = [np.cumsum(each) for each in (first & wrong, first, ~first & wrong, ~first)]
        at = np.flatnonzero(wrong)  # evidence only grows with an error
        found += any(log_excess(*(int(each[place]) for each in counts)) >= -math.log(0.05) for place in at)
    assert found <= 0.05 * 400
