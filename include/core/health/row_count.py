"""Whether a window has an unusual number of predictions, compared with earlier windows.

Pure: counts are passed in. They are compared on a logarithmic scale, since traffic grows by factors, with the modified
z-score of B. Iglewicz, D. C. Hoaglin, *How to Detect and Handle Outliers* (ASQC, 1993): distance from the median in
units of the median absolute deviation (MAD), which a single outlier can't affect; 3.5 is their limit. The MAD of few
values is corrected upwards (C. Croux, P. J. Rousseeuw, "Time-efficient algorithms for two highly robust estimators of
scale", 1992), and is at least the effect of chance on a count (Poisson: 1 / sqrt(median)). As with drift, a significant
difference may still not matter, so the count must also be at most half or at least double the median. In simulations
with counts that vary by 20 % (log-normal), 1 of 700 windows is reported as unusual after five earlier windows; with
50 %, 1 of 20, and 1 of 55 after twelve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from include.core.health.record import RowCount

WINDOWS_AT_LEAST = 5
"""With fewer earlier windows, the usual count is not known well enough."""
NEWEST_WINDOWS = 12
"""How many earlier windows are considered at most, since traffic changes over the years."""
MAX_SCORE = 3.5
MAX_FACTOR = 2.0

_SMALL_SAMPLES = {5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


def judge_row_count(rows: int, earlier: Sequence[int], *, over: bool) -> RowCount:
    """Compare a window's ``rows`` with those of ``earlier`` windows (each 1 or more, oldest first).

    ``over``: whether the window has ended; until then, few rows mean nothing.
    """
    considered = list(earlier)[-NEWEST_WINDOWS:]
    count = RowCount(rows=rows, windows=len(considered))
    if not over:
        return replace(count, not_judged="the window is not over")
    if len(considered) < WINDOWS_AT_LEAST:
        return replace(count, not_judged=f"fewer than {WINDOWS_AT_LEAST} earlier windows with predictions")
    logs = [math.log(one) for one in considered]
    middle = median(logs)
    few = _SMALL_SAMPLES.get(len(logs), len(logs) / (len(logs) - 0.8))
    spread = max(1.4826 * few * median(abs(value - middle) for value in logs), math.exp(-middle / 2))
    reach = math.exp(max(MAX_SCORE * spread, math.log(MAX_FACTOR)))
    usual = math.exp(middle)
    low, high = usual / reach, usual * reach
    count = replace(count, median=usual, low=low, high=high)
    if low <= rows <= high:
        return count
    word = "few" if rows < usual else "many"
    return replace(
        count,
        finding=f"unusually {word} predictions: {rows}; the median of {len(considered)} earlier windows is "
        f"{usual:.0f} (usual: {math.ceil(low)} to {math.floor(high)})",
    )
