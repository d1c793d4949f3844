"""Who may go on with a rollout, and when another run may take it over."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from include.core.release.rollout import Rollout
from include.core.release.server_figures import ServerFigures

ROLLOUT = Rollout("owner", "2", lease=100.0, step=1, since=40.0)


@given(now=st.floats(0, 200))
def test_the_owner_is_never_blocked_and_another_run_until_the_lease_is_over(now: Any) -> None:
    assert ROLLOUT.is_of("owner") and not ROLLOUT.blocks("owner", now)
    assert not ROLLOUT.is_of("other")
    assert ROLLOUT.blocks("other", now) == (now < 100.0)


def test_the_figures_that_a_step_begins_with_change_nothing_else() -> None:
    figures = {"1": ServerFigures(3), "2": ServerFigures(1)}
    measured = ROLLOUT.measured(figures)
    assert measured.baseline == figures
    assert measured.measured(None) == ROLLOUT  # type: ignore[arg-type]
