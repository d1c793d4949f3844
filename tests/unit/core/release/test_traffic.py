"""Requests a minute: the growth of the counters of all servers, whatever starts and stops between two looks."""

from __future__ import annotations

from include.core.release.server_figures import ServerFigures
from include.core.release.traffic import Traffic, traffic


def counters(requests: int, rows: int, started: float = 1.0) -> ServerFigures:
    return ServerFigures(requests=requests, rows=rows, started=started)


def test_the_growth_of_all_servers_counts_by_the_minute() -> None:
    before = {"1": counters(100, 1000), "2": counters(10, 10)}
    after = {"1": counters(160, 1900), "2": counters(20, 20)}
    assert traffic(before, after, 120.0, 5.0) == Traffic(5.0, 35.0, 455.0)


def test_a_server_that_started_or_started_again_counts_from_zero_and_one_that_is_gone_not() -> None:
    before = {"1": counters(100, 100), "2": counters(50, 50)}
    after = {"1": counters(6, 6, started=2.0), "3": counters(4, 4)}
    assert traffic(before, after, 60.0, 5.0).requests == 10.0


def test_old_figures_are_not_current() -> None:
    assert Traffic(1000.0, 1.0, 1.0).current(1300.0)
    assert not Traffic(1000.0, 1.0, 1.0).current(1301.0)
