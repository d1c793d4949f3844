"""What production is asked: requests a minute, from the counters of its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from include.core.release.server_figures import ServerFigures

STALE_SECONDS = 300.0
"""Traffic that was counted longer ago is not shown: nothing has counted since."""


@dataclass(frozen=True)
class Traffic:
    """What a model's production servers answered lately."""

    counted: float
    """When (epoch seconds)."""
    requests: float
    """A minute, with those that were refused."""
    rows: float
    """Predictions a minute."""

    def current(self, now: float) -> bool:
        """Whether it was counted so lately that it says what happens now."""
        return now - self.counted <= STALE_SECONDS


def traffic(
    before: Mapping[str, ServerFigures], after: Mapping[str, ServerFigures], seconds: float, counted: float
) -> Traffic:
    """The traffic of all servers (version → counters) in the ``seconds`` between two looks at them."""
    growth = [figures.since(before.get(version)) for version, figures in after.items()]
    minutes = seconds / 60
    return Traffic(counted, sum(one.requests for one in growth) / minutes, sum(one.rows for one in growth) / minutes)
