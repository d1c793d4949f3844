"""What the figures on the pages are conditional on, in sentences."""

from __future__ import annotations

from include.core.release.canary import BAD_SHARE, FALSE_ALARMS, MISSED
from include.core.spec import ModelSpec


def of_intervals(spec: ModelSpec) -> str:
    """What the intervals of measured figures assume about rows, and what they do not say."""
    blocks = spec.data.dependence
    if blocks == "none":
        assumed = "rows to be independent of each other"
    else:
        together, apart = ("of one day", "days") if blocks == "day" else (f"with the same {blocks}", "those of others")
        assumed = f"rows {together} to depend on each other and {apart} to be independent"
    return (
        f"Intervals (95 %) take {assumed} (data.dependence: {blocks}). They are about chance within a window, not "
        "about how much one window differs from the next."
    )


def of_canary(spec: ModelSpec) -> str:
    """What the verdicts on a canary's steps may get wrong by chance."""
    limit = 100 * spec.deployment.canary.error_rate_at_most
    return (
        "Canary and production get random shares of the same traffic at the same time. By chance, each comparison of "
        f"errors or latency rolls back {100 * FALSE_ALARMS:g} % of the canaries that are as good as production, and "
        f"{100 * MISSED:g} % of those with {BAD_SHARE * limit:g} % errors pass (the limit is {limit:g} %). A canary "
        "that can't be judged yet waits."
    )
