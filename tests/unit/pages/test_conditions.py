"""Pages say what their figures are conditional on."""

from __future__ import annotations

import pytest

from include.pages.conditions import of_canary, of_intervals
from tests.support.specs import model_spec


@pytest.mark.parametrize(
    ("dependence", "assumed"),
    [
        ("day", "take rows of one day to depend on each other and days to be independent (data.dependence: day)"),
        ("none", "take rows to be independent of each other (data.dependence: none)"),
        ("origin", "take rows with the same origin to depend on each other and those of others to be independent"),
    ],
)
def test_intervals_name_the_rows_that_they_take_for_dependent(dependence: str, assumed: str) -> None:
    sentence = of_intervals(model_spec(data={"dependence": dependence}))
    assert assumed in sentence
    assert "not about how much one window differs from the next" in sentence


def test_a_canary_s_errors_by_chance_follow_from_its_limit() -> None:
    spec = model_spec(deployment={"canary": {"error_rate_at_most": 0.02}})
    assert "rolls back 1 % of the canaries that are as good" in of_canary(spec)
    assert "5 % of those with 6 % errors pass (the limit is 2 %)" in of_canary(spec)
